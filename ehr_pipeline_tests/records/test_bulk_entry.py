from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.records import build
from ehr_pipeline.records.bulk_entry import BulkEntry, entered_in_bulk
from ehr_pipeline.records.dates import NEVER
from ehr_pipeline.records.layouts import EventColumns, EventFiles
from ehr_pipeline.store.artifacts import unbalanced
from ehr_pipeline_tests.conftest import records_settings
from ehr_pipeline_tests.records.sources.reading import rows

RULE = BulkEntry(events=3, days=10)
Event = tuple[int, int, int | None]
EVENTS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-20, 40), st.none() | st.sampled_from([0, 30])), min_size=1, max_size=30
)


@settings(max_examples=100, deadline=None)
@given(EVENTS)
def test_many_on_one_day_and_far_from_their_own(events: list[Event]) -> None:
    far = [entered is not None and abs(day - entered) >= RULE.days for _, day, entered in events]
    together = Counter((who, entered) for (who, _, entered), is_far in zip(events, far, strict=True) if is_far)
    expected = [
        is_far and together[who, entered] >= RULE.events for (who, _, entered), is_far in zip(events, far, strict=True)
    ]
    patient, day = (np.array([event[place] for event in events], np.int32) for place in (0, 1))
    entered = np.array([NEVER if event[2] is None else event[2] for event in events], np.int32)
    assert entered_in_bulk(patient, day, entered, RULE).tolist() == expected


@pytest.fixture
def extract(tmp_path: Path) -> Path:
    """Patient 1 registered on 1 June 2010, when five old events were entered; patient x1, whose id is no number, as well."""
    folder = tmp_path / "landing" / "2020-01-01"
    folder.mkdir(parents=True)
    old = [f"{who}\t0{day}/03/2001\t24079001\t01/06/2010" for who in ("1", "x1") for day in (1, 2, 3, 4, 5)]
    others = ["1\t01/06/2010\t9014002\t01/06/2010", "2\t01/03/2001\t9014002\tnever", "2\t02/03/2001\t9014002\t"]
    (folder / "events.txt").write_text("\n".join(["id\tdate\tcode\tentered", *old, *others]) + "\n")
    (folder / "patients.txt").write_text("id\tyear\n1\t1950\n2\t1950\nx1\t1950\n")
    return folder


def read(extract: Path, out: Path, **more: Any) -> dict[str, Any]:
    columns = EventColumns(patient="id", date="date", code="code", entered="entered")
    kinds = (EventFiles(files="events*", columns=columns),)
    out.mkdir()
    given = {"events": kinds, "bulk_entry": BulkEntry(events=5, days=365)} | more
    counts = build.build(extract, records_settings(extract.parent, **given), out)
    assert not unbalanced(counts)
    return counts


def test_they_are_flagged(extract: Path, tmp_path: Path) -> None:
    counts = read(extract, tmp_path / "out")
    assert (counts["kept"], counts["entered_in_bulk"]) == (13, 10)
    flagged = rows(tmp_path / "out", "bulk_entered")
    assert {(who, code) for who, _, code in flagged} == {("1", "24079001"), ("x1", "24079001")}
    assert len(flagged) == 10


def test_they_are_rejected_when_asked(extract: Path, tmp_path: Path) -> None:
    counts = read(extract, tmp_path / "out", entered_in_bulk="reject")
    assert (counts["kept"], counts["dropped"]) == (3, {"entered_in_bulk": 10})
    assert len(rows(tmp_path / "out", "quarantine")) == 10


def test_who_withdraws_leaves_the_flags_too(extract: Path, tmp_path: Path) -> None:
    (tmp_path / "withdrawn.txt").write_text("x1\n")
    counts = read(extract, tmp_path / "out", withdrawals=str(tmp_path / "withdrawn.txt"))
    assert (counts["kept"], counts["entered_in_bulk"]) == (8, 5)
    assert {who for who, *_ in rows(tmp_path / "out", "bulk_entered")} == {"1"}
