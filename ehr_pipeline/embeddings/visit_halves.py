"""Divide each patient's visits into random halves: one division for the split-half test, and an independent one to learn from."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.tables import schemas


def first_half(path: Path, shard: Shard, patients: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Flag the visits in the first half of the split-half test, for some patients (rows of the file `path`).

    Returns one flag for each visit of the shard; the flags of other patients' visits are meaningless. A flag depends only on the
    seed, the patient's id and the day, so an unchanged record keeps its halves when patients are added to the shard.
    """
    ids = schemas.read(path, ["patient_id"]).column("patient_id").take(pa.array(patients)).to_pylist()
    salts = np.zeros(len(shard.birth_day), np.uint64)
    salts[patients] = np.fromiter((_hash(patient, seed) for patient in ids), np.uint64, len(ids))
    owner = np.repeat(np.arange(len(salts)), np.diff(shard.patient_start))
    mixed = _mixed(salts[owner] + shard.visit_day.astype(np.int64).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    first: NDArray[np.bool_] = mixed >> np.uint64(63) == 0
    return first


def half_to_learn_from(visits: int, shard: int, seed: int) -> NDArray[np.bool_]:
    """Flag the visits (visits,) in one half of a second random split, used for fitting and independent of `first_half`. It depends
    only on the seed and the shard's index."""
    return np.random.default_rng([seed, shard, 0x4A20]).random(visits) < 0.5


def _hash(patient: str, seed: int) -> int:
    return int.from_bytes(
        hashlib.blake2b(patient.encode(), digest_size=8, salt=seed.to_bytes(16, "big")).digest(), "big"
    )


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix bits by the finalizer of SplitMix64 (Steele, Lea & Flood 2014): each bit of the result depends on all bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
