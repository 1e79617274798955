"""On the world `outcomes` labels are those of its truth: of who is registered, free of the outcome, and has it within a year."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from ehr_pipeline.synthetic.worlds.drivers import OUTCOMES
from ehr_pipeline.synthetic.worlds.mechanism import Block, Events
from ehr_pipeline.synthetic.worlds.outcomes import DRIFTED, LEAK
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.write import draw
from ehr_pipeline.tables import schemas
from ehr_pipeline.tasks import table
from ehr_pipeline.tasks.build import LabelJob, build_bucket
from ehr_pipeline.tasks.records import Deaths, FollowUp
from ehr_pipeline.tasks.rule import EPOCH, Rule

PATIENT_DIED = "397709008"
YEARS = (2006, 2010, 2014)
DATES = tuple((EPOCH.replace(year=year) - EPOCH).days for year in YEARS)
SIX = [outcome for outcome in OUTCOMES if outcome.driver != "order"]
DAYS = {"diverticulitis": 365, "pneumonia": 180, "fracture": 730, "syncope": 365, "leg ulcer": 1000, "stye": 540}
GAPS = {"syncope": 30, "leg ulcer": 90}


@pytest.fixture(scope="module")
def drawn() -> tuple[World, Block, Events]:
    world = World.of(21, 0.5)
    return world, *draw(make(world, ["outcomes"]), world, 0)


@pytest.fixture(scope="module")
def labels(
    drawn: tuple[World, Block, Events], tmp_path_factory: pytest.TempPathFactory
) -> tuple[pl.DataFrame, list[dict[str, int]]]:
    """The labels of the stage, from the records alone."""
    world, block, recorded = drawn
    folder = tmp_path_factory.mktemp("world")
    codes = world.book.table.codes["code"].to_list()
    order = np.lexsort((recorded.code, recorded.day, recorded.person))
    person, day, code = recorded.person[order], recorded.day[order], recorded.code[order]
    names = [f"{number:04d}" for number in range(len(block.days("birth")))]
    used, place = np.unique(code, return_inverse=True)
    events = [
        pa.DictionaryArray.from_arrays(person.astype(np.int32), pa.array(names)),
        pa.array(day.astype(np.int32)).cast(pa.date32()),
        pa.DictionaryArray.from_arrays(place.astype(np.int32), pa.array([codes[number] for number in used])),
    ]
    schemas.write(folder / "events.arrow", pa.table(events, schema=schemas.MAPPED_EVENTS))
    days = pl.DataFrame({"person": person, "day": day}).unique().sort("person", "day")
    by_person = dict(days.group_by("person").agg("day").iter_rows())
    visits = [[{"date": when, "concepts": [5]} for when in by_person.get(number, [])] for number in range(len(names))]
    as_days = pa.list_(pa.struct([("date", pa.int32()), ("concepts", pa.list_(pa.int32()))]))
    people = {
        "patient_id": names,
        "birth_date": _dates(block.days("birth")),
        "birth_precision": ["day"] * len(names),
        "sex": np.where(block.people["female"], "F", "M").tolist(),
        "observation_end": _dates(block.days("end")),
        "observation_start": _dates(block.days("start")),
        "visits": pa.array(visits, as_days).cast(schemas.VISITS),
    }
    schemas.write(folder / "dataset.arrow", pa.table(people))
    schemas.write(folder / "split.arrow", pa.table([names, ["test"] * len(names)], schema=schemas.SPLIT))
    rules = [
        Rule(
            name=outcome.name,
            outcome=frozenset({*outcome.codes, *(DRIFTED if outcome.codes[0] in DRIFTED else ())}),
            index="calendar",
            dates=DATES,
            opens=GAPS.get(outcome.name, 0),
            closes=GAPS.get(outcome.name, 0) + DAYS[outcome.name] - 1,
            min_observed=365,
        )
        for outcome in SIX
    ]
    paths = [folder / f"{name}.arrow" for name in ("events", "dataset", "split")]
    found = build_bucket(
        LabelJob("0.arrow", *paths, tuple(rules), Deaths(frozenset({PATIENT_DIED})), FollowUp(None), (0, 0), folder)  # type: ignore[arg-type]
    )
    (rows,) = (rows for _, rows in table.shards(folder))
    return pl.DataFrame(rows).with_columns(pl.col("patient_id", "ended").cast(pl.String)), [
        dict(c) for c in found.counts
    ]


def _dates(days: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> pa.Array:
    return pa.array(days.astype(np.int32)).cast(pa.date32())


@pytest.mark.parametrize("number", range(len(SIX)), ids=[outcome.name for outcome in SIX])
def test_labels_are_those_of_the_truth(
    drawn: tuple[World, Block, Events], labels: tuple[pl.DataFrame, list[dict[str, int]]], number: int
) -> None:
    world, block, recorded = drawn
    name = SIX[number].name
    start, end = block.days("start"), block.days("end")
    died = {
        *recorded.person[recorded.code == world.book.row(PATIENT_DIED)].tolist()
    }  # three in ten deaths are not recorded
    happened = block.truth["outcomes"].filter(outcome=name)
    day_of = dict(zip(happened["person"], happened["date"].cast(pl.Int32), strict=True))
    first_visit = np.full(len(start), 2**30)
    np.minimum.at(first_visit, recorded.person, recorded.day)
    expected, left = {}, 0
    for person in range(len(start)):
        day = day_of.get(person)
        for index in DATES:
            opens = index + GAPS.get(name, 0)
            closes = opens + DAYS[name] - 1
            if start[person] + 365 > index or end[person] < index or first_visit[person] >= index:
                continue
            if (day is not None and day < opens) or end[person] < opens:
                continue
            label = day is not None and day <= min(closes, end[person])
            if label or end[person] >= closes or person in died:
                expected[f"{person:04d}", index] = label
            else:
                left += 1
    rows, counts = labels
    own = rows.filter(task=number).with_columns(pl.col("index_date").cast(pl.Int32))
    made = {
        (patient, index): label for patient, index, label in own.select("patient_id", "index_date", "label").iter_rows()
    }
    assert made == expected
    assert counts[number]["cases"] == sum(expected.values()) > 10
    assert counts[number]["left_in_window"] == left > 0


def test_the_leak_trap_is_no_history(
    drawn: tuple[World, Block, Events], labels: tuple[pl.DataFrame, list[dict[str, int]]]
) -> None:
    """Most pneumonias have a follow-up code on their day. No history of a case reaches that day."""
    rows, _ = labels
    cases = rows.filter((pl.col("task") == 1) & pl.col("label"))
    _, block, _ = drawn
    happened = block.truth["outcomes"].filter(outcome=LEAK[0]).select(pl.col("person").cast(pl.Int32), "date")
    both = cases.with_columns(person=pl.col("patient_id").cast(pl.Int32)).join(happened, on="person")
    assert both.height == cases.height > 0
    assert (both["history_until"] < both["date"]).all()
    assert (both["followed_days"] == (both["date"] - both["window_from"]).dt.total_days()).all()
