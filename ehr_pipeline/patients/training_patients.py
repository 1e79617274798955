"""The training patients of an artifact, as keyed hashes: evidence that it was not trained on test patients.

    notes/learned_from.arrow     patient_hash, sorted, each once; its schema names the store's key (`secret_key.marked`)
    notes/learned_elsewhere.txt  if the artifact started from another encoder with unknown training patients: why they are unknown

The Arrow file is written only if there may be a test set. Only hashes with the same key can be compared. To check a checkpoint from
another store, import that store's key and copy this file, which is not part of a published model.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.store import secret_key
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.hashing import hash_of

FILE = "notes/learned_from.arrow"
UNKNOWN = "notes/learned_elsewhere.txt"
"""Why some training patients are unknown, such as those of another study's encoder; `FILE` then has only the others."""
_SCHEMA = pa.schema([("patient_hash", pa.uint64())])


def write(out: Path, key: Key, plain: Iterable[NDArray[np.uint64]], earlier: Path | None = None) -> None:
    """Write keyed hashes of the training patients: those in `plain` (unkeyed hashes), and those of an `earlier` artifact.

    This artifact starts from the `earlier` one. If the training patients of that are unknown, so are some of this one, and the
    reason is written down.
    """
    hashes = key.hashes(np.concatenate([np.zeros(0, np.uint64), *plain]))
    (out / FILE).parent.mkdir(parents=True, exist_ok=True)
    if earlier is not None and (why := cannot_be_checked(earlier, key)):
        (out / UNKNOWN).write_text(f"the one that it began from: {why}\n", encoding="utf-8")
    elif earlier is not None:
        hashes = np.concatenate([hashes, read(earlier)])
    schemas.write(out / FILE, pa.table([np.unique(hashes)], schema=secret_key.marked(_SCHEMA, key)))


def read(artifact: Path) -> NDArray[np.uint64]:
    """Read the keyed hashes of an artifact's training patients."""
    hashes: NDArray[np.uint64] = schemas.read(artifact / FILE).column("patient_hash").to_numpy()
    return hashes


def cannot_be_checked(artifact: Path, key: Key | None) -> str:
    """Return why an artifact's training patients cannot be checked, and which file is needed; empty if they can."""
    if (artifact / UNKNOWN).is_file():
        return (artifact / UNKNOWN).read_text(encoding="utf-8").strip()
    if not (artifact / FILE).is_file():
        return (
            f"its training patients are unknown: it has no {FILE}, which is written if patients.split has a test set. Copy this"
            " file from the store where it was trained, or train it again"
        )
    key_name = secret_key.name_in(artifact / FILE)
    if key is None or key_name != key.name:
        return (
            f"its training patients are unknown: {FILE} was hashed with the key {key_name} of another store. Run"
            " `ehr-pipeline key export` there, and `ehr-pipeline key import` here"
        )
    return ""


def overlap(artifact: Path, key: Key, patient_ids: pl.Series) -> int:
    """Count the patients in `patient_ids` who are training patients of an artifact."""
    return int(np.isin(key.hashes(hash_of(patient_ids)), read(artifact)).sum())
