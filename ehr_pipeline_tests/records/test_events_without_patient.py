"""An extract of events only, or of new patients only, is read against every patient that any extract knows."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.checks import lost_rows
from ehr_pipeline.errors import InputError
from ehr_pipeline.planning import preflight
from ehr_pipeline.records import build, catalog, events_without_patient
from ehr_pipeline.records.extract_files import list_extract
from ehr_pipeline.records.layouts import EventColumns, EventFiles, PatientColumns, PatientFiles
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.reports.shown_counts import totals
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact, Recipe, Store, unbalanced
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.conftest import records_settings, tiny_settings

Event = tuple[str, int, str]
"""Patient, year, and code."""
Delivery = tuple[dict[str, int], list[Event]]
"""Years of birth by patient, and events."""
CODES = ("9014002", "24079001", "195967001")


def land(folder: Path, name: str, delivery: Delivery) -> Path:
    """Write an extract; without a patient or an event, without such a file."""
    people, events = delivery
    extract = folder / name
    extract.mkdir(parents=True)
    if people:
        lines = "".join(f"{who}\t{year}\n" for who, year in people.items())
        (extract / "patients.txt").write_text("id\tyear\n" + lines)
    if events:
        lines = "".join(f"{who}\t01/07/{year}\t{code}\n" for who, year, code in events)
        (extract / "events.txt").write_text("id\tdate\tcode\n" + lines)
    return extract


def read(store: Store, folder: Path, own: RecordsSettings) -> None:
    listing = list_extract(folder, own, may_lack=True)
    store.make(Recipe("raw_records", "1", {}, {}, folder.name), lambda out: build.build(listing, own, out))


def catalogued(store: Store, own: RecordsSettings) -> Artifact:
    found = {name: store.current("raw_records", name) for name in store.partitions("raw_records")}
    versions = {name: artifact.data_version for name, artifact in found.items()}
    return store.make(Recipe("extract_catalog", "1", {}, versions), lambda out: catalog.build(store, found, own, out))


def put_together(
    folder: Path, deliveries: dict[str, Delivery], order: list[str], **changes: Any
) -> tuple[Store, Artifact]:
    """Read the extracts in some order, and make the catalog."""
    store, own = Store(folder / "store"), records_settings(folder / "landing", **changes)
    for name in order:
        read(store, land(folder / "landing", name, deliveries[name]), own)
    return store, catalogued(store, own)


def events_of(store: Store, listed: Artifact) -> set[Event]:
    """All events that go on to the mapping."""
    found = events_without_patient.with_joined(catalog.records(store, listed), listed)
    paths = [path for artifact in found for path in artifact.files("events")]
    texts = {"patient_id": pl.String, "code": pl.String}
    frame = pl.concat([pl.DataFrame(schemas.read(path)).cast(texts) for path in paths])  # type: ignore[arg-type]
    return {(who, day.year, code) for who, day, code in frame.select("patient_id", "date", "code").iter_rows()}


def expected(deliveries: dict[str, Delivery]) -> set[Event]:
    """By the row of its own extract, or else of the newest that has one, no event is before the year of birth."""
    newest: dict[str, int] = {}
    for name in sorted(deliveries):
        newest |= deliveries[name][0]
    return {
        event
        for people, events in deliveries.values()
        for event in events
        if (born := people.get(event[0], newest.get(event[0]))) is not None and event[1] >= born
    }


IDS = st.sampled_from(["1", "2", "3", "x", "007"])
PEOPLE = st.dictionaries(IDS, st.integers(1950, 1953), max_size=4)
EVENTS = st.lists(st.tuples(IDS, st.integers(1950, 1954), st.sampled_from(CODES)), max_size=8)


def usable(deliveries: list[Delivery]) -> bool:
    """Whether reading each of them by itself, and all together, leaves something."""
    alone = all(
        not events or any(year >= people.get(who, 0) for who, year, _ in events) for people, events in deliveries
    )
    return alone and bool(expected({str(number): one for number, one in enumerate(deliveries)}))


DELIVERIES = st.lists(st.tuples(PEOPLE, EVENTS).filter(any), min_size=2, max_size=3).filter(usable)


@settings(deadline=None, max_examples=25)
@given(DELIVERIES, st.integers(1, 5))
def test_events_meet_their_patients_wherever_these_are(
    tmp_path_factory: pytest.TempPathFactory, found: list[Delivery], which: int
) -> None:
    """However a delivery is divided, in whatever order its parts are read: the same events, the same bytes."""
    deliveries = {f"202{number}-01-01": one for number, one in enumerate(found)}
    orders, versions = list(itertools.permutations(deliveries)), set()
    for order in (orders[0], orders[which % len(orders)]):
        store, listed = put_together(tmp_path_factory.mktemp("deltas"), deliveries, list(order))
        assert events_of(store, listed) == expected(deliveries)
        records = catalog.records(store, listed)
        total = totals(records, listed.counts)
        assert not any(unbalanced(counts) for counts in (total, listed.counts, *(one.counts for one in records)))
        assert total["kept"] == listed.counts["kept"]
        versions.add(listed.data_version)
    assert len(versions) == 1


def test_events_that_no_extract_has_a_patient_of_are_told(tmp_path: Path) -> None:
    deliveries: dict[str, Delivery] = {"2024-01-01": ({"1": 1950}, []), "2024-02-01": ({}, [("2", 2001, CODES[0])])}
    with pytest.raises(InputError, match="No event belongs to a patient with a patient row"):
        put_together(tmp_path, deliveries, sorted(deliveries))


BASE: Delivery = ({"1": 1950}, [("1", 2001, CODES[0])])


def test_events_only_and_new_patients_only(tmp_path: Path) -> None:
    deliveries: dict[str, Delivery] = {
        "2024-01-01": BASE,
        "2024-02-01": ({}, [("1", 2002, CODES[1]), ("9", 2002, CODES[1])]),
        "2024-03-01": ({"2": 1980}, [("1", 2003, CODES[2]), ("2", 2003, CODES[2])]),
        "2024-04-01": ({"9": 1990}, []),
    }
    store, listed = put_together(tmp_path, deliveries, sorted(deliveries))
    assert events_of(store, listed) == {event for _, events in deliveries.values() for event in events}
    fate = json.loads(listed.file(catalog.SET_ASIDE).read_text())
    assert fate == {"2024-02-01": {"kept": 2}, "2024-03-01": {"kept": 1}}
    assert listed.counts["dropped"] == {}


def test_the_newest_row_of_a_patient_decides(tmp_path: Path) -> None:
    events: Delivery = ({}, [("1", 1960, CODES[0]), ("1", 1980, CODES[0])])
    deliveries: dict[str, Delivery] = {"2024-01-01": BASE, "2024-02-01": events, "2024-03-01": ({"1": 1970}, [])}
    store, listed = put_together(tmp_path, deliveries, sorted(deliveries))
    assert listed.counts["dropped"] == {"before_birth": 1}
    assert ("1", 1980, CODES[0]) in events_of(store, listed)


def test_an_event_that_two_deliveries_hold_counts_once(tmp_path: Path) -> None:
    again: Delivery = ({}, [("1", 2002, CODES[0])])
    deliveries: dict[str, Delivery] = {"2024-01-01": BASE, "2024-02-01": again, "2024-03-01": again}
    _, listed = put_together(tmp_path, deliveries, sorted(deliveries))
    assert (listed.counts["kept"], listed.counts["collapsed"], listed.counts["taken_up"]) == (2, 1, 2)


def test_one_extract_by_itself_is_as_it_was(tmp_path: Path) -> None:
    delivery: Delivery = ({"1": 1950}, [("1", 2001, CODES[0]), ("9", 2001, CODES[0])])
    store, listed = put_together(tmp_path, {"2024-01-01": delivery}, ["2024-01-01"])
    (record,) = catalog.records(store, listed)
    assert record.counts["dropped"] == {"unknown_patient": 1}
    assert {path.name for path in listed.path.iterdir()} == {"catalog.json", "manifest.json", "notes"}
    assert (listed.counts["rows_in"], listed.counts["kept"]) == (1, 1)


def test_who_withdraws_leaves_what_was_set_aside(tmp_path: Path) -> None:
    withdrawn = tmp_path / "withdrawn.txt"
    withdrawn.write_text("9\n")
    deliveries: dict[str, Delivery] = {
        "2024-01-01": ({"1": 1950, "9": 1950}, [("1", 2001, CODES[0])]),
        "2024-02-01": ({}, [("9", 2002, CODES[1]), ("1", 2002, CODES[1])]),
    }
    store, listed = put_together(tmp_path, deliveries, sorted(deliveries), withdrawals=str(withdrawn))
    assert not any(who == "9" for who, *_ in events_of(store, listed))
    record = store.current("raw_records", "2024-02-01")
    assert (record.counts["waiting"], record.counts["dropped"]) == (1, {"unknown_patient": 1, "withdrawn": 1})
    assert unbalanced(record.counts) == 0


@pytest.mark.parametrize(("outside", "dropped"), [("reject", {"before_observation": 1}), ("keep", {})])
def test_what_lies_outside_the_observation_is_judged_too(
    landing: Callable[..., Path], tmp_path: Path, outside: str, dropped: dict[str, int]
) -> None:
    columns = PatientColumns(patient="id", birth_year="year", observation_start="start", observation_ends=("end",))
    kinds = (PatientFiles(files="patients*", columns=columns),)
    own = records_settings(tmp_path / "landing", patients=kinds, outside_observation=outside)
    people = "id\tyear\tstart\tend\n1\t1950\t01/01/2000\t01/01/2010\n"
    base = landing("id\tdate\tcode\n1\t01/07/2005\t9014002\n", people)
    delta = landing("id\tdate\tcode\n1\t01/07/1999\t9014002\n1\t01/07/2006\t9014002\n", extract="2020-02-01")
    (delta / "patients.txt").unlink()
    store = Store(tmp_path / "store")
    for folder in (base, delta):
        read(store, folder, own)
    counts = catalogued(store, own).counts
    assert (counts["kept"], counts["dropped"]) == (3 - len(dropped), dropped)


@pytest.mark.parametrize(("bulk", "kept"), [("reject", 2), ("keep", 4)])
def test_what_was_entered_in_bulk_is_not_set_aside_where_it_is_rejected(
    landing: Callable[..., Path], tmp_path: Path, bulk: str, kept: int
) -> None:
    from ehr_pipeline.records.bulk_entry import BulkEntry

    kinds = (EventFiles(files="events*", columns=EventColumns(patient="id", date="date", code="code", entered="in")),)
    rule = BulkEntry(events=2, days=100)
    own = records_settings(tmp_path / "landing", events=kinds, entered_in_bulk=bulk, bulk_entry=rule)
    head, row = "id\tdate\tcode\tin\n", "1\t01/07/2001\t9014002\t02/07/2001\n"
    base = landing(head + row)
    delta = landing(
        head + row.replace("2001", "2002") + "1\t01/07/2003\t9014002\t02/07/2009\n" * 2, extract="2020-02-01"
    )
    (delta / "patients.txt").unlink()
    store = Store(tmp_path / "store")
    for folder in (base, delta):
        read(store, folder, own)
    assert catalogued(store, own).counts["kept"] == kept


def test_the_share_that_no_extract_can_use_is_judged_for_each_extract(tmp_path: Path) -> None:
    """A small delivery that fits nobody is not lost among large ones."""
    many: Delivery = ({"1": 1950}, [("1", 1960 + year, CODES[0]) for year in range(50)])
    few: Delivery = ({}, [("8", 2002, CODES[1])] * 3 + [("1", 2002, CODES[1])])
    deliveries = {"2024-01-01": many, "2024-02-01": few}
    store, listed = put_together(tmp_path, deliveries, sorted(deliveries))
    study = tiny_settings(tmp_path, study={"store": str(tmp_path / "store")})
    passed, message, _ = lost_rows.patients_known(listed, store, study)
    assert not passed
    assert "2024-02-01: fewer than 10 rows were rejected" in message
    assert not lost_rows.unknown_below_the_limit(listed, study), "three quarters of a delivery: nothing is built on it"
    record = store.current("raw_records", "2024-02-01")
    assert lost_rows.rejected_rows(record, store, study)[0], "the extract by itself is not at fault"
    snapshot = tiny_settings(tmp_path, study={"store": str(tmp_path / "store")}, records={"mode": "snapshot"})
    assert not lost_rows.rejected_rows(record, store, snapshot)[0]


def test_a_delivery_in_two_parts_makes_the_same_patients(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    """Half of the events, the patients, and then the other half: from the landing folder to the patient data set."""
    source = extract / "landing" / EXTRACT
    lines = (source / "events_000.txt").read_bytes().splitlines(keepends=True)
    halves = {"2019-01-01": lines[1::2], EXTRACT: lines[2::2]}
    for name, half in halves.items():
        (tmp_path / "landing" / name).mkdir(parents=True)
        (tmp_path / "landing" / name / "events_000.txt").write_bytes(b"".join([lines[0], *half]))
    overrides = {
        "study": {"store": str(tmp_path / "store")},
        "records": {"landing": str(tmp_path / "landing"), "latest_date": EXTRACT},
    }
    study = tiny_settings(extract, **overrides)
    (problem,) = preflight.inspect(study).problems
    assert "no extract has a file for records.patients[0]" in problem
    shutil.copy(source / "patients.txt", tmp_path / "landing" / "2019-01-01")
    assert not preflight.inspect(study).problems
    made = Pipeline(study).make(*halves, until="patient_dataset")
    for asset in ("vocabulary", "patient_dataset"):
        here, there = (one.current(asset) for one in (Store(tmp_path / "store"), tiny.store))
        assert {name: here.digest(name) for name in here.manifest["files"] if not name.endswith(".csv")} == {
            name: there.digest(name) for name in there.manifest["files"] if not name.endswith(".csv")
        }
    assert made["patient_dataset"].counts["kept"] == tiny.store.current("patient_dataset").counts["kept"]


def names(folder: Path, own: RecordsSettings, *, may_lack: bool) -> set[str]:
    return {path.name for path in list_extract(folder, own, may_lack=may_lack).files}


def test_an_extract_may_lack_patients_or_events_only_beside_others(tmp_path: Path) -> None:
    own = records_settings(tmp_path)
    events, people = land(tmp_path, "a", ({}, BASE[1])), land(tmp_path, "b", (BASE[0], []))
    (tmp_path / "c").mkdir()
    assert names(events, own, may_lack=True) == {"events.txt"}
    assert names(people, own, may_lack=True) == {"patients.txt"}
    for folder, may_lack in ((events, False), (people, False), (tmp_path / "c", True)):
        with pytest.raises(InputError):
            list_extract(folder, own, may_lack=may_lack)


@pytest.mark.parametrize("rows", [("1\t1950\n", "1\tx\t9014002\n"), ("", "")])
def test_a_delivery_that_holds_nothing_usable_is_told(
    landing: Callable[..., Path], tmp_path: Path, rows: tuple[str, str]
) -> None:
    folder = landing(f"id\tdate\tcode\n{rows[1]}", f"id\tyear\n{rows[0]}")
    own = records_settings(folder.parent)
    with pytest.raises(InputError, match=r"none of the event rows can be used|have no row"):
        build.build(list_extract(folder, own, may_lack=True), own, tmp_path)
