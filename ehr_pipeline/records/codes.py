"""The distinct codes of an extract in one small file, so that they can be read without reading all shards."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas

FILE = "codes/codes.arrow"
SHARDS_AT_ONCE = 64  # shards whose codes are read at once


def write_used(names: pa.ChunkedArray, used: list[Path], out: Path) -> None:
    """Write those of the sorted codes `names` that occur in any bucket. Each file in `used` has one bit per name for a bucket."""
    occurs = np.zeros(len(names), bool)
    for path in used:
        occurs |= np.unpackbits(np.load(path), count=len(names)).astype(bool)
    schemas.write(out / FILE, pa.table({"code": names.filter(pa.array(occurs))}))


def rewrite(out: Path) -> None:
    """Rewrite the codes of an extract from its shards, after rows were removed."""
    all_codes, shards = pl.Series("code", [], pl.String), sorted((out / "events").iterdir())
    for first in range(0, len(shards), SHARDS_AT_ONCE):
        dictionaries = [_codes(path).dictionary.cast(pa.string()) for path in shards[first : first + SHARDS_AT_ONCE]]
        all_codes = pl.concat([all_codes, *(pl.Series("code", codes) for codes in dictionaries)]).unique()
    (out / FILE).unlink(missing_ok=True)
    schemas.write(out / FILE, pa.table({"code": all_codes.sort().to_arrow().cast(pa.string())}))


def _codes(shard: Path) -> pa.DictionaryArray:
    return schemas.read(shard, ["code"]).column("code").combine_chunks()


def distinct(records: list[Artifact]) -> pl.Series:
    """Return the codes that occur in any of the extracts, as sorted texts."""
    parts = [pl.Series("code", schemas.read(record.file(FILE)).column("code").combine_chunks()) for record in records]
    return pl.concat(parts).unique().sort() if len(parts) > 1 else parts[0]
