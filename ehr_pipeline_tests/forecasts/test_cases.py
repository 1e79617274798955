"""Cases: who is drawn, what a history holds, and that nothing after its end reaches it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ehr_pipeline.forecasts import cases
from ehr_pipeline.forecasts.cases import COUNT, HORIZONS, JUDGE, MONTH, NEXT_VISIT, YEAR, Cases
from ehr_pipeline.forecasts.settings import ForecastsSettings
from ehr_pipeline.patients.histories import ALWAYS, cut
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.patients.test_histories import Record, shard_of

SIZE = 12
SETTINGS = ForecastsSettings(min_visits=2)
RECORD: Record = [(0, [5, 6]), (400, [5]), (700, [5, 7]), (720, [5, 8]), (800, [9, 6]), (1200, [10])]


def dataset(
    folder: Path, records: list[Record], sides: list[str], until: int | None = None
) -> tuple[list[Path], list[Path]]:
    """A data set of one shard, and its split."""
    days = pa.list_(pa.struct([("date", pa.int32()), ("concepts", pa.list_(pa.int32()))]))
    ids = [f"p{number}" for number in range(len(records))]
    columns: dict[str, pa.Array] = {
        "patient_id": pa.array(ids),
        "birth_date": pa.array([-20_000] * len(records), pa.int32()).cast(pa.date32()),
        "birth_precision": pa.array(["day"] * len(records)),
        "sex": pa.array(["F", "M"] * len(records))[: len(records)],
        "observation_start": pa.nulls(len(records), pa.date32()),
        "observation_end": pa.array([until] * len(records), pa.int32()).cast(pa.date32()),
        "visits": pa.array([[{"date": d, "concepts": c} for d, c in one] for one in records], days),
    }
    schema = schemas.patient_dataset(())
    arrays = [columns[name].cast(schema.field(name).type) for name in schema.names]
    (folder / "patients").mkdir()
    (folder / "split").mkdir()
    schemas.write(folder / "patients" / "0000.arrow", pa.table(arrays, schema=schema))
    schemas.write(
        folder / "split" / "0000.arrow", pa.table([ids, sides], names=["patient_id", "side"]).cast(schemas.SPLIT)
    )
    return [folder / "patients" / "0000.arrow"], [folder / "split" / "0000.arrow"]


def read(folder: Path, records: list[Record], sides: list[str], until: int | None = None) -> Cases:
    paths, split = dataset(folder, records, sides, until)
    return cases.read(paths, cases.draw(paths, split, SETTINGS, 3), SIZE)


def test_what_a_history_holds() -> None:
    end = np.array([720])
    made = cases.history(cut(shard_of([RECORD]), np.array([0]), np.array([ALWAYS]), end), end, SIZE)
    assert made.concept.tolist() == [5, 6, 7, 8]
    assert made.visits.tolist() == [4, 1, 1, 1]
    assert made.recent.tolist() == [3, 0, 1, 1]
    assert made.since.tolist() == [0, 720, 20, 0]
    assert made.first.tolist() == [720, 720, 20, 0]
    assert made.take(np.array([0, 0])).start.tolist() == [0, 4, 8]


def test_a_history_that_goes_on_after_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond its last day"):
        cases.history(shard_of([RECORD]), np.array([720]), SIZE)


def test_what_follows_is_that_of_the_windows_alone(tmp_path: Path) -> None:
    found = read(tmp_path, [RECORD] * 40, ["test"] * 40)
    assert len(found) == 40
    assert set(found.index.tolist()) == {400, 700, 720, 800}, "at least two visits before, and one after"
    for row in range(len(found)):
        index = int(found.index[row])
        later = [(day, tokens) for day, tokens in RECORD if day > index]
        expected = {
            NEXT_VISIT: later[0][1],
            MONTH: [token for day, tokens in later if day <= index + 30 for token in tokens],
            YEAR: [token for day, tokens in later if day <= index + 365 for token in tokens],
        }
        for name in HORIZONS:
            told = found.targets[name][[row]].toarray()[0]
            assert np.flatnonzero(told).tolist() == sorted(set(expected[name])), (index, name)
        assert found.next_day[row] == later[0][0]
        assert bool(found.followed[YEAR][row]) == (index + 365 <= 1200)


def test_a_known_end_of_observation_counts(tmp_path: Path) -> None:
    assert read(tmp_path, [RECORD] * 10, ["test"] * 10, until=1165).followed[YEAR].all()


def test_nothing_after_the_drawn_visit_changes_a_history(tmp_path: Path) -> None:
    """The leak is planted: the same records with other concepts at the end."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one = read(tmp_path / "one", [RECORD] * 20, ["test"] * 20)
    other = read(tmp_path / "other", [[*RECORD[:-1], (1200, [11])]] * 20, ["test"] * 20)
    assert (one.index == other.index).all()
    for name in ("start", "concept", "visits", "recent", "since", "first"):
        assert (getattr(one.history, name) == getattr(other.history, name)).all()
    assert (one.targets[NEXT_VISIT] != other.targets[NEXT_VISIT]).nnz


def test_sides_and_the_most_of_each(tmp_path: Path) -> None:
    sides = ["train", "validation", "test", "unassigned"] * 30
    records = [RECORD if number % 8 else RECORD[:2] for number in range(120)]
    paths, split = dataset(tmp_path, records, sides)
    settings = ForecastsSettings(min_visits=2, patients=7)
    drawn = cases.draw(paths, split, settings, 3)
    found = cases.read(paths, drawn, SIZE)
    assert np.bincount(found.side).tolist() == [15, 7, 7]
    assert drawn.counts == {"rows_in": 30, "few_visits": 0, "not_drawn": 23}
    assert all(
        sides[row] == ("train", "validation", "test")[side] for row, side in zip(found.row, found.side, strict=True)
    )
    assert not len(cases.read(paths, cases.draw(paths, split, ForecastsSettings(patients=0), 3), SIZE))
    again = cases.read(paths, cases.draw(paths, split, settings, 3), SIZE)
    assert again.row.tolist() == found.row.tolist()
    assert cases.draw(paths, split, settings, 4).shards[0][0].tolist() != found.row.tolist()


def test_strata_and_concepts_that_the_encoder_does_not_know(tmp_path: Path) -> None:
    numbers = cases.stratum(np.array([0.5, 9.9, 10, 79, 80, 110]), np.array([0, 1, 0, 1, 0, 1], bool))
    assert numbers.tolist() == [0, 9, 1, 16, 8, 17]
    paths, split = dataset(tmp_path, [RECORD] * 5, ["train"] * 5)
    found = cases.read(paths, cases.draw(paths, split, SETTINGS, 3), 8)
    assert found.history.concept.max() < 8
    assert found.targets[YEAR].shape == (5, 8)
    assert len(found.on(COUNT, NEXT_VISIT)) == 5
    assert not len(found.on(JUDGE, NEXT_VISIT))
