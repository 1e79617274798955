"""Token sequences for the benchmarks of training, as the encoder reads them: an Arrow data set, a split, a vocabulary.

Needs numpy and pyarrow only, so that it runs on GPU workers.
"""

import csv
import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.encoder.objectives.masked import Masked
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.store.artifacts import hash_of
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Concept, Vocabulary

BIRTH = 1900
HELD_OUT = 200
SHARD_TOKENS = 4_000_000


@dataclass(frozen=True)
class Tokens:
    """Patient p owns tokens[offsets[p]:offsets[p + 1]], recorded at ages in years that never fall."""

    tokens: NDArray[np.int32]
    ages: NDArray[np.int16]
    offsets: NDArray[np.int64]

    @classmethod
    def load(cls, path: Path) -> "Tokens":
        """Read what make_sequences.py of the shared benchmarks wrote."""
        data = np.load(path)
        return cls(data["tokens"], data["ages"], data["offsets"])

    @classmethod
    def drawn(cls, patients: int, concepts: int, seed: int = 0) -> "Tokens":
        """Histories like those of make_sequences.py: log-normal lengths, frequencies by Zipf, hidden profiles to learn."""
        rng = np.random.default_rng(seed)
        cdf = np.cumsum(1 / np.arange(1, concepts + 1) ** 1.05)
        lengths = np.clip(rng.lognormal(np.log(400), 1.0, patients).astype(int), 6, 8000)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        total, owner = int(offsets[-1]), np.repeat(np.arange(patients), lengths)
        tokens = np.minimum(np.searchsorted(cdf / cdf[-1], rng.random(total)), concepts - 1)
        profiles = rng.choice(np.arange(concepts // 10, concepts), (50, 40))
        profile, own = rng.integers(0, 50, patients)[owner], rng.random(total) < 0.35
        tokens[own] = profiles[profile[own], rng.integers(0, 40, int(own.sum()))]
        ages = rng.integers(0, 60, patients)[owner] + rng.integers(0, 30, total)
        ages = ages[np.lexsort((ages, owner))]
        return cls((tokens + FIRST_CONCEPT).astype(np.int32), ages.astype(np.int16), offsets)


def write(data: Tokens, vocabulary_size: int, folder: Path, held_out: int = HELD_OUT) -> dict[str, Any]:
    """Lay the data out as artifacts. Concepts of one age make one visit; the last patients are the validation set."""
    patients = len(data.offsets) - 1
    sides = np.where(np.arange(patients) < patients - held_out, "train", "validation")
    per_shard = max(1, int(SHARD_TOKENS / max(len(data.tokens) / patients, 1)))
    for number, begin in enumerate(range(0, patients, per_shard)):
        end, name = min(begin + per_shard, patients), f"{number:05d}.arrow"
        schemas.write(folder / "patients" / name, _shard(data, begin, end))
        split = pa.table(
            [pa.array([str(p) for p in range(begin, end)]), pa.array(sides[begin:end])], schema=schemas.SPLIT
        )
        schemas.write(folder / "split" / name, split)
    vocabulary = folder / "vocabulary"
    vocabulary.mkdir(parents=True)
    concepts = [f"C{token}" for token in range(FIRST_CONCEPT, vocabulary_size)]
    with (vocabulary / "vocabulary.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("token_id", "concept", "name", "semantic_types"))
        writer.writerows(
            (token, concept, f"concept {token}", "T047") for token, concept in enumerate(concepts, start=FIRST_CONCEPT)
        )
    (vocabulary / "hash.txt").write_text(hash_of(concepts) + "\n")
    return {"dataset": folder / "patients", "split": folder / "split", "vocabulary": vocabulary}


def _shard(data: Tokens, begin: int, end: int) -> pa.Table:
    first, last = data.offsets[begin], data.offsets[end]
    tokens, ages = data.tokens[first:last], data.ages[first:last].astype(np.int64)
    offsets = data.offsets[begin : end + 1] - first
    owner = np.repeat(np.arange(end - begin), np.diff(offsets))
    new = np.r_[True, (np.diff(ages) != 0) | (np.diff(owner) != 0)]
    starts = np.flatnonzero(new)
    days = (ages[starts] + BIRTH - 1970).astype("datetime64[Y]").astype("datetime64[D]")
    concepts = pa.ListArray.from_arrays(pa.array(np.r_[starts, len(tokens)], pa.int32()), pa.array(tokens))
    visits = pa.StructArray.from_arrays([pa.array(days, pa.date32()), concepts], ["date", "concepts"])
    visit_offsets = np.searchsorted(starts, offsets)
    schema = schemas.patient_dataset(())
    columns = {
        "patient_id": pa.array([str(p) for p in range(begin, end)]),
        "birth_date": pa.array([datetime.date(BIRTH, 7, 1)] * (end - begin)),
        "birth_precision": pa.array(["year"] * (end - begin)),
        "sex": pa.array(["F"] * (end - begin)),
        "visits": pa.ListArray.from_arrays(pa.array(visit_offsets, pa.int32()), visits),
    }
    return pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)


def opened(paths: dict[str, Path], settings: EncoderSettings, side: str) -> Sequences:
    """One side of a data set."""
    shape = (settings.context, settings.age_unit, settings.max_positions)
    return Sequences.open(paths["dataset"], *shape, split=paths["split"], side=side)


def masked(settings: EncoderSettings, vocabulary_size: int) -> Masked:
    """The objective of a training whose concepts have no names."""
    concepts = tuple(Concept(token, f"C{token}", "", (), 0, 0) for token in range(FIRST_CONCEPT, vocabulary_size))
    return Masked(settings, Vocabulary(concepts, ""))
