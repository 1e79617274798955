from pathlib import Path

import numpy as np
import pyarrow as pa

from ehr_pipeline.records import codes
from ehr_pipeline.tables import schemas


def listed(out: Path) -> list[str]:
    return schemas.read(out / codes.FILE).column("code").to_pylist()


def test_codes_that_occur_in_any_bucket_are_listed_in_order(tmp_path: Path) -> None:
    names = pa.chunked_array([pa.array([f"{number:03d}" for number in range(20)])])
    for bucket, used in enumerate(([1, 19], [1, 7])):
        np.save(tmp_path / f"{bucket}.npy", np.packbits(np.isin(np.arange(20), used)))
    codes.write_used(names, sorted(tmp_path.glob("*.npy")), tmp_path)
    assert listed(tmp_path) == ["001", "007", "019"]


def test_codes_are_listed_again_from_what_is_left_and_the_old_file_is_not_written_through(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    codes.write_used(pa.chunked_array([pa.array(["10", "9", "A"])]), [], old)
    kept = listed(old)
    for bucket, names in enumerate((["9", "M1"], ["10", "M1"])):
        table = pa.table({"code": pa.array(sorted(names)).dictionary_encode()})
        schemas.write(new / "events" / f"{bucket}.arrow", table)
    (new / codes.FILE).parent.mkdir()
    (new / codes.FILE).hardlink_to(old / codes.FILE)
    codes.rewrite(new)
    assert (listed(old), listed(new)) == (kept, ["10", "9", "M1"])
