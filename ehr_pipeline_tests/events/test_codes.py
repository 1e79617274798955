from pathlib import Path

import pyarrow as pa

from ehr_pipeline import schemas
from ehr_pipeline.events import codes


def shard(path: Path, names: list[str]) -> Path:
    schemas.write(path, pa.table({"code": pa.array(sorted(names)).dictionary_encode()}))
    return path


def test_distinct_codes_of_all_shards_in_order_of_text(tmp_path: Path) -> None:
    shards = [shard(tmp_path / "a", ["9", "10", "M1"]), shard(tmp_path / "b", ["10", "007", "med:5"])]
    assert codes.distinct(shards).to_list() == ["007", "10", "9", "M1", "med:5"]


def test_places_of_codes() -> None:
    everything = pa.array(["007", "10", "9", "99999999999999999999", "M1"])
    assert codes.Places(everything).of(pa.array(["M1", "9", "007", "10", "99999999999999999999"])).tolist() == [
        4,
        2,
        0,
        1,
        3,
    ]
    assert codes.Places(pa.array([], pa.string())).of(pa.array([], pa.string())).tolist() == []
