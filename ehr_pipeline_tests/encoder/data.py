"""Small patient data sets for the tests of the encoder."""

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from ehr_pipeline.store.artifacts import hash_of
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Concept, Vocabulary

Visits = list[tuple[str, list[int]]]  # (date, tokens)


def write_shard(path: Path, patients: list[tuple[str, str, Visits]], sexes: list[str] | None = None) -> Path:
    """Patients as (date of birth, its precision, visits), with ids 0, 1, 2 …; all women unless said otherwise."""
    rows = {
        "patient_id": [str(number) for number in range(len(patients))],
        "birth_date": [datetime.date.fromisoformat(birth) for birth, _, _ in patients],
        "birth_precision": [precision for _, precision, _ in patients],
        "sex": sexes or ["F"] * len(patients),
        "visits": [
            [{"date": datetime.date.fromisoformat(d), "concepts": tokens} for d, tokens in visits]
            for _, _, visits in patients
        ],
    }
    schemas.write(path, pa.table(rows, schema=schemas.patient_dataset(())))
    return path


def write_split(path: Path, sides: list[str]) -> None:
    ids = [str(number) for number in range(len(sides))]
    schemas.write(path, pa.table([pa.array(ids), pa.array(sides)], schema=schemas.SPLIT))


def write_vocabulary(folder: Path, size: int, prefix: str = "C") -> Path:
    """A vocabulary of `size` concepts C5, C6, …"""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{token},{prefix}{token},concept {token},T047,false,1,1,1"
        for token in range(FIRST_CONCEPT, FIRST_CONCEPT + size)
    ]
    head = "token_id,concept,name,semantic_types,untyped,events,appearances,patients"
    (folder / "vocabulary.csv").write_text("\n".join([head, *lines]) + "\n")
    concepts = [f"{prefix}{token}" for token in range(FIRST_CONCEPT, FIRST_CONCEPT + size)]
    (folder / "hash.txt").write_text(hash_of(concepts) + "\n")
    return folder


def vocabulary_of(size: int) -> Vocabulary:
    """A vocabulary of `size` token ids without types."""
    concepts = tuple(Concept(token, f"C{token}", f"concept {token}", (), 1, 1) for token in range(FIRST_CONCEPT, size))
    return Vocabulary(concepts, hash_of([concept.concept for concept in concepts]))


def learnable(folder: Path, patients: int = 120, concepts: int = 40, seed: int = 0) -> dict[str, Path]:
    """A data set in which each patient keeps to one of four groups of concepts: easy to learn, unlike chance. Two are of women."""
    rng = np.random.default_rng(seed)
    rows, sides, sexes = [], [], []
    for number in range(patients):
        group = rng.integers(4)
        own = FIRST_CONCEPT + group * (concepts // 4) + np.arange(concepts // 4)
        sexes.append("FM"[group % 2])
        years = np.sort(rng.integers(2000, 2019, rng.integers(3, 12)))
        visits = [
            (f"{year}-0{1 + k % 9}-15", sorted({int(t) for t in rng.choice(own, 3)})) for k, year in enumerate(years)
        ]
        rows.append((f"{1930 + int(rng.integers(60))}-07-01", "year", visits))
        sides.append("validation" if number % 10 == 0 else "train")
    write_shard(folder / "patients" / "00000.arrow", rows, sexes)
    write_split(folder / "split" / "00000.arrow", sides)
    return {
        "dataset": folder / "patients",
        "split": folder / "split",
        "vocabulary": write_vocabulary(folder / "vocabulary", concepts),
    }
