"""Quoted free text with line breaks, as general practitioners paste it."""

from collections.abc import Callable
from pathlib import Path

from ehr_pipeline_tests.cases.test_ids_and_dates import events, read


def test_no_event_is_read_from_free_text(case: Callable[[str], Path]) -> None:
    records = read(case("newline_invents"))
    assert events(records) == [("1", "2010-02-01", "195967001"), ("2", "2012-02-01", "24079001")]
    assert records.counts["dropped"] == {}


def test_no_row_is_lost_for_a_line_break_in_its_term(case: Callable[[str], Path]) -> None:
    records = read(case("newline_term"))
    assert len(events(records)) == 4
    assert records.counts["dropped"] == {}
