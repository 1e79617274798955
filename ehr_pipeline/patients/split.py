"""`data_split`: which patients are held out, by a keyed hash of the patient id. A patient keeps its side for ever.

The side is a function of the id, the key and the share alone: new extracts, other vocabularies and other machines give the
same one (BLAKE2b, RFC 7693; keyed as in its section 2.5).
"""

import hashlib
from pathlib import Path

import pyarrow as pa

from ehr_pipeline.disclosure.figures import told
from ehr_pipeline.errors import InputError
from ehr_pipeline.patients.settings import SplitSettings
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import schemas

TRAIN, VALIDATION = "train", "validation"


def side(patient_id: str, settings: SplitSettings) -> str:
    """'train' or 'validation'. The settings must have a key: see `identity.split_settings`."""
    assert settings.key, "a split without a key would be the same for everybody"
    digest = hashlib.blake2b(patient_id.encode(), digest_size=8, key=settings.key.encode()[:64]).digest()
    return VALIDATION if int.from_bytes(digest, "big") < settings.validation_share * 2**64 else TRAIN


def build(dataset: Artifact, settings: SplitSettings, out: Path) -> Counts:
    """Write the side of every patient into `out/split`, one shard for each of the data set, in the same order of rows."""
    counted = {TRAIN: 0, VALIDATION: 0}
    for shard in dataset.files("patients"):
        ids = schemas.read(shard, ["patient_id"]).column("patient_id").to_pylist()
        sides = [side(patient_id, settings) for patient_id in ids]
        for name in counted:
            counted[name] += sides.count(name)
        schemas.write(
            out / "split" / shard.name,
            pa.table([pa.array(ids, pa.string()), pa.array(sides, pa.string())], schema=schemas.SPLIT),
        )
    if not all(counted.values()):
        held = f"{told(counted[TRAIN])} training and {told(counted[VALIDATION])} validation patients"
        raise InputError(
            f"The split leaves {held}; both need at least one."
            " Raise patients.split.validation_share for so small a data set."
        )
    return {"rows_in": sum(counted.values()), "kept": sum(counted.values()), **counted}
