"""`data_split`: which patients are held out. Once a patient has a side (training, validation or test), new extracts do not change
it.

The side is a keyed hash of the patient id (BLAKE2b, RFC 7693; keyed as in its section 2.5), compared with the shares in the
settings. So the vocabulary and the machine have no influence on it. If the settings allow a test side, sides were already
determined when the catalog was made (`train_test_sides`), and this stage only copies them."""

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

    Validation patients have the lowest hashes, test patients the highest: so changing a share moves no patient between these two
    sides.
    """
    number = _hash(patient_id, settings)
    if settings.test_share and number >= (1 - settings.test_share) * 2**64:
        return TEST
    return VALIDATION if number < settings.validation_share * 2**64 else TRAIN


def side_by_hash(patient_id: str, settings: SplitSettings) -> str:
    """Return 'train' or 'validation', by the hash, for a patient whom a column puts on the training side."""
    return VALIDATION if _hash(patient_id, settings) < settings.validation_share * 2**64 else TRAIN


def _hash(patient_id: str, settings: SplitSettings) -> int:
    assert settings.key, "a split without a key would be the same for everybody"
    digest = hashlib.blake2b(patient_id.encode(), digest_size=8, key=settings.key.encode()[:64]).digest()
    return int.from_bytes(digest, "big")


def build(dataset: Artifact, settings: SplitSettings, out: Path, known: Path | None = None) -> Counts:
    """Write the side of every patient into `out/split`: one shard for each shard of the data set, with rows in the same order.

    `known` is the folder of the sides that were made with the catalog; without it, the hash decides. Raises InputError if the
    training or the validation side is empty.
    """
    counted = dict.fromkeys(LEARNED_FROM if known is None else EVERY_SIDE, 0)
    for shard in dataset.files("patients"):
        ids = schemas.read(shard, ["patient_id"]).column("patient_id").to_pylist()
        sides = _looked_up(ids, known / shard.name) if known else [side(patient_id, settings) for patient_id in ids]
        for name in counted:
            counted[name] += sides.count(name)
        schemas.write(
            out / "split" / shard.name,
            pa.table([pa.array(ids, pa.string()), pa.array(sides, pa.string())], schema=schemas.SPLIT),
        )
    if not all(counted[name] for name in LEARNED_FROM):
        held = f"{count_text(counted[TRAIN])} training and {count_text(counted[VALIDATION])} validation patients"
        raise InputError(
            f"The split leaves {held}; both need at least one."
            " Raise patients.split.validation_share for so small a data set."
        )
    return {"rows_in": sum(counted.values()), "kept": sum(counted.values()), **counted}


def _looked_up(ids: list[str], sides: Path) -> list[str]:
    """Look up the sides of patients in the folder `sides`. Raises UserError for a patient without one."""
    known = pl.DataFrame(schemas.read(sides))
    found: list[str] = (
        pl.DataFrame({"patient_id": pl.Series(ids, dtype=pl.String)})
        .join(known, on="patient_id", how="left", maintain_order="left")["side"]
        .to_list()
    )
    if None in found:
        raise UserError("patient_dataset was made of another extract_catalog than there is now. Make it again first.")
    return found
