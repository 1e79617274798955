"""Synonymous codes of which every practice has its own habit count as one; relatives and regional conditions do not."""

import csv
import datetime
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ehr_pipeline.concepts import substitutes
from ehr_pipeline.concepts.substitutes import Substitutes
from ehr_pipeline.embeddings import profile
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline_tests.encoder.data import write_vocabulary

PRACTICES, SIZE = 8, 40
SYNONYMS, SIGN = (5, 6), 7
NORTH, NORTH_SIGN, SOUTH, SOUTH_SIGN = 8, 9, 10, 11
RELATIVES, SHARED_SIGN = (12, 13), 14


def records(
    folder: Path, patients: int = 1600, habits: bool = True, shards: int = 2, seldom: float = 0.05
) -> list[Path]:
    """Practices of even number write the first synonym, and `seldom` the other, the others the other; half lie in the north."""
    rng = np.random.default_rng(0)
    paths = []
    for shard in range(shards):
        rows: dict[str, list[object]] = {"practice": [], "visits": []}
        for number in range(patients // shards):
            practice = int(rng.integers(PRACTICES))
            visits = []
            for year in range(2000, 2012):
                tokens = set(rng.integers(15, SIZE, 2).tolist())
                what = rng.integers(12)
                if what == 0:
                    tokens |= {SYNONYMS[(practice + (rng.random() < seldom)) % 2]} | (
                        {SIGN} if rng.random() < 0.6 else set()
                    )
                elif what == 1:
                    pair = (NORTH, NORTH_SIGN) if practice < PRACTICES // 2 else (SOUTH, SOUTH_SIGN)
                    tokens |= {pair[0]} | ({pair[1]} if rng.random() < 0.6 else set())
                elif what == 2:
                    tokens |= {RELATIVES[rng.integers(2)]} | ({SHARED_SIGN} if rng.random() < 0.6 else set())
                visits.append({"date": datetime.date(year, 7, 1), "concepts": sorted(tokens)})
            # Whose practice is not known says nothing of habits, but of contexts.
            rows["practice"].append((f"practice {practice}" if number % 50 else None) if habits else "the only one")
            rows["visits"].append(visits)
        count = len(rows["visits"])
        person = {
            "patient_id": [f"{shard}-{number}" for number in range(count)],
            "birth_date": [datetime.date(1950, 7, 1)] * count,
            "birth_precision": ["year"] * count,
            "sex": ["F"] * count,
        }
        path = folder / f"{shard:05}.arrow"
        schemas.write(path, pa.table(person | rows, schema=schemas.patient_dataset(("practice",))))
        paths.append(path)
    return paths


def find(paths: list[Path], column: str = "practice") -> Substitutes | None:
    return substitutes.find(paths, column, SIZE, seed=0)


def test_only_what_is_recorded_instead_of_another_in_the_same_contexts(tmp_path: Path) -> None:
    found = find(records(tmp_path))
    assert found is not None
    assert found.pairs.tolist() == [list(SYNONYMS)]
    assert 0 < found.shared_practices[0] < 0.3
    assert found.cosine[0] > 0.9


@pytest.mark.parametrize(
    ("limit", "value", "others"),
    [
        ("MAX_SHARED", 9.0, [[12, 13]]),  # relatives, which every practice records
        ("MIN_COSINE", 0.0, [[5, 8], [8, 10]]),  # what differs by region
    ],
)
def test_each_of_both_conditions_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, others: list[list[int]]
) -> None:
    monkeypatch.setattr(substitutes, limit, value)
    monkeypatch.setattr(substitutes, "DEVIATIONS", -9 if limit == "MAX_SHARED" else substitutes.DEVIATIONS)
    found = find(records(tmp_path))
    assert found is not None
    wrong = [pair for pair in found.pairs.tolist() if pair != list(SYNONYMS)]
    assert any(pair in wrong for pair in others), wrong


def test_a_loose_habit_is_none_and_few_records_prove_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loose = find(records(tmp_path / "loose", seldom=0.25))
    assert loose is not None
    assert not len(loose.pairs)
    monkeypatch.setattr(substitutes, "MAX_SHARED", 0.9)
    limited = find(records(tmp_path / "loose", seldom=0.25))
    assert limited is not None
    assert limited.pairs.tolist() == [list(SYNONYMS)], "beyond chance, but too often together"
    monkeypatch.setattr(substitutes, "DEVIATIONS", 50)
    unsure = find(records(tmp_path / "strict"))
    assert unsure is not None
    assert not len(unsure.pairs)


def test_contexts_do_not_depend_on_how_many_visits_are_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [Shard.read(path) for path in records(tmp_path, patients=600, shards=3)]

    def contexts() -> np.ndarray:
        alike = substitutes._Contexts(np.arange(5, SIZE))
        for part in parts:
            alike.add(part)
        return alike.contexts().toarray()

    whole = contexts()
    assert whole[SYNONYMS[0] - 5].any()
    monkeypatch.setattr(substitutes, "HELD", 100)
    assert np.array_equal(contexts(), whole)


def test_nothing_is_said_without_habits(tmp_path: Path) -> None:
    paths = records(tmp_path / "a")
    assert find(paths, "surgery") is None
    assert find(paths, "") is None
    assert find(paths, "visits") is None
    assert find(paths, "patient_id") is None, "everybody is a practice of one's own"
    assert find([]) is None
    assert find(records(tmp_path / "b", habits=False)) is None
    assert find(records(tmp_path / "c", patients=20)) is None, "too few patients have any concept"


def test_the_same_in_small_blocks_and_from_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = records(tmp_path)
    whole = find(paths)
    monkeypatch.setattr(substitutes, "BLOCK", 7)
    monkeypatch.setattr(substitutes, "HELD", 100)
    blocks = find(paths)
    assert whole is not None
    assert blocks is not None
    assert blocks.pairs.tolist() == whole.pairs.tolist()
    assert np.allclose(blocks.shared_practices, whole.shared_practices)
    assert np.allclose(blocks.cosine, whole.cosine)
    monkeypatch.setattr(substitutes, "SAMPLED_PATIENTS", 900)
    assert 900 <= sum(int(rows.sum()) for rows in substitutes._sampled(paths, 0)) <= 900 + len(paths)
    some = find(paths)
    assert some is not None
    assert some.pairs.tolist() == whole.pairs.tolist()
    assert some.shared_practices[0] != whole.shared_practices[0]
    monkeypatch.setattr(substitutes, "MOST_HABITS", 2)
    two = find(paths)
    assert two is not None
    assert two.shared_practices.tolist() != some.shared_practices.tolist()
    monkeypatch.setattr(substitutes, "MOST_CANDIDATES", 3)
    fewer = find(paths)
    assert fewer is not None
    assert not len(fewer.pairs), "of what is recorded most"


def test_how_often_together_is_what_counting_pairs_of_records_gives(tmp_path: Path) -> None:
    (path,) = records(tmp_path, patients=300, shards=1)
    table = schemas.read(path)
    practice = table.column("practice").to_pylist()
    candidates = np.array([*SYNONYMS, NORTH, *RELATIVES])
    rows = [
        (own, number, token)
        for number, (own, visits) in enumerate(zip(practice, table.column("visits").to_pylist(), strict=True))
        for visit in visits
        for token in visit["concepts"]
        if own is not None and token in candidates
    ]
    habits = sorted({own for own, _, _ in rows})
    measured = substitutes._SharedPractices(habits, candidates)
    measured.add(Shard.read(path), practice)
    times, below = measured.block(0)
    share = {own: sum(one == own for one, _, _ in rows) / len(rows) for own in habits}
    of = {one: Counter(own for own, _, token in rows if token == one) for one in candidates.tolist()}
    for (row, one), (column, other) in itertools.product(enumerate(candidates.tolist()), repeat=2):
        pairs = sum(of[one][own] * of[other][own] for own in habits)
        chance = of[one].total() * of[other].total() * sum(part**2 for part in share.values())
        assert times[row, column] == pytest.approx(pairs / chance)
        mean = sum(share[own] * of[other][own] for own in habits)
        spread = sum(share[own] * of[other][own] ** 2 for own in habits) - mean**2
        patients = len({number for _, number, token in rows if token == one})
        assert below[row, column] == pytest.approx((mean - pairs / of[one].total()) / (spread / patients) ** 0.5)


def test_shares_are_passed_on_so_that_substitutes_count_as_one(tmp_path: Path) -> None:
    same = Substitutes(np.array([[5, 6], [5, 9], [7, 30]]), np.zeros(3), np.ones(3))
    chosen = np.zeros(SIZE, bool)
    chosen[[6, 7, 8]] = True
    assert np.flatnonzero(same.extend(chosen)).tolist() == [5, 6, 7, 8, 30], "their own substitutes, not those of those"
    passed = same.exchange(np.array([5, 6, 7, 8, 9]))
    third = 1 / 3
    assert np.allclose(passed[0], [third, third, 0, 0, third])
    assert np.allclose(passed[1], [0.5, 0.5, 0, 0, 0])
    assert np.array_equal(passed[2:4], np.eye(5)[2:4]), "30 is not profiled"
    assert np.allclose(Substitutes.none().exchange(np.arange(3)), np.eye(3))
    (path,) = records(tmp_path, patients=300, shards=1)
    shard, two = Shard.read(path), np.array(SYNONYMS)
    merged = Substitutes(two[None], np.zeros(1), np.ones(1)).exchange(two)
    rows = np.concatenate(
        list(profile.profiles(shard, np.arange(300), two, merged, np.zeros(2, np.float32))),
    )
    assert np.allclose(rows[rows.any(1)], 0.5**0.5), "whoever has either has the same profile"


def test_the_pairs_are_written_for_people(tmp_path: Path) -> None:
    found = Substitutes(np.array([[5, 6]]), np.array([0.0123]), np.array([0.98765]))
    found.write(tmp_path, Vocabulary.read(write_vocabulary(tmp_path, 4)))
    with (tmp_path / "substitutes.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert list(row.values()) == ["C5", "concept 5", "C6", "concept 6", "0.012", "0.988"]
