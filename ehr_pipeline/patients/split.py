"""Build `data_split`: each patient is in the training, validation or test set, and new extracts do not change that.

A keyed hash of the patient id (BLAKE2b, RFC 7693; keyed as in its section 2.5) is compared with the shares in the settings, so
neither the vocabulary nor the machine has any influence. If there may be a test set, the split was already made with the catalog
(`train_test_sides`), and this stage only copies it."""

import hashlib
from pathlib import Path

import polars as pl
import pyarrow as pa

from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.patients.settings import EVERY_SIDE, LEARNED_FROM, TEST, TRAIN, VALIDATION, SplitSettings
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import schemas


def side(patient_id: str, settings: SplitSettings) -> str:
    """Return 'train', 'validation' or 'test', by the hash. The settings must have a key: see `identity.split_settings`.

    Validation patients have the lowest hashes, test patients the highest, so changing a share moves no patient between the two.
    """
    number = _hash(patient_id, settings)
    if settings.test_share and number >= (1 - settings.test_share) * 2**64:
        return TEST
    return VALIDATION if number < settings.validation_share * 2**64 else TRAIN


def side_by_hash(patient_id: str, settings: SplitSettings) -> str:
    """Return 'train' or 'validation', by the hash, for a patient in the training set of a column."""
    return VALIDATION if _hash(patient_id, settings) < settings.validation_share * 2**64 else TRAIN


def _hash(patient_id: str, settings: SplitSettings) -> int:
    assert settings.key, "a split without a key would be the same in every store"
    digest = hashlib.blake2b(patient_id.encode(), digest_size=8, key=settings.key.encode()[:64]).digest()
    return int.from_bytes(digest, "big")


def build(dataset: Artifact, settings: SplitSettings, out: Path, folder: Path | None = None) -> Counts:
    """Write the set of every patient into `out/split`: one shard per shard of the data set, with rows in the same order.

    `folder` has the split made with the catalog; without it, the hash is used. Raises InputError if the training or the validation
    set is empty.
    """
    counted = dict.fromkeys(LEARNED_FROM if folder is None else EVERY_SIDE, 0)
    for shard in dataset.files("patients"):
        ids = schemas.read(shard, ["patient_id"]).column("patient_id").to_pylist()
        sides = _look_up(ids, folder / shard.name) if folder else [side(patient_id, settings) for patient_id in ids]
        for name in counted:
            counted[name] += sides.count(name)
        schemas.write(
            out / "split" / shard.name,
            pa.table([pa.array(ids, pa.string()), pa.array(sides, pa.string())], schema=schemas.SPLIT),
        )
    if not all(counted[name] for name in LEARNED_FROM):
        counts_text = f"{count_text(counted[TRAIN])} training and {count_text(counted[VALIDATION])} validation patients"
        raise InputError(
            f"The split leaves {counts_text}; both need at least one."
            " Raise patients.split.validation_share for so small a data set."
        )
    return {"rows_in": sum(counted.values()), "kept": sum(counted.values()), **counted}


def _look_up(ids: list[str], sides: Path) -> list[str]:
    """Look up the sets of patients in the folder `sides`. Raises UserError for a patient without one."""
    known = pl.DataFrame(schemas.read(sides))
    found_sides: list[str] = (
        pl.DataFrame({"patient_id": pl.Series(ids, dtype=pl.String)})
        .join(known, on="patient_id", how="left", maintain_order="left")["side"]
        .to_list()
    )
    if None in found_sides:
        raise UserError("extract_catalog has changed since patient_dataset was built. Rebuild patient_dataset first.")
    return found_sides
