"""Each way in which exports change tables, once: what is lost is reported, and what is right raises no alarm."""

import random
from pathlib import Path

import pytest

from ehr_pipeline_tests.records import exports
from ehr_pipeline_tests.records.ways import GROUPS, WAYS, chosen

RIGHT = (
    *("as it is", "everything quoted, as the settings say", "quoted line breaks", "quoted delimiters"),
    *("line ends of Windows", "line ends of old Macs", "row names with a header", "a count below the rows"),
    *("headers in the middle", "empty lines", "Latin 1", "UTF-16, as the settings say", "a mark of byte order"),
    *("ids as floats", "ids as decimals in events", "keys as floats in patients", "dates of ISO", "time stamps"),
    *("births with two-digit years", "codes as floats", "sex in words", "sex in numbers as floats", "gzip"),
    *("gzip of several parts", "a hidden copy", "a hidden half", "a readme", "the same file twice"),
    *("decimals of Parquet", "categories of Parquet", "zones of Parquet", "unsigned numbers of Parquet"),
)
"""Ways that lose nothing, and of which nothing has to be said."""


FIRST = {next(iter(group)) for group in GROUPS}


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FIRST else pytest.mark.slow) for name in WAYS])
def test_what_an_export_loses_is_reported(name: str, tmp_path: Path) -> None:
    ending = exports.run({name: WAYS[name]}, random.Random(5), tmp_path, share=1.0)
    assert not ending.is_silent, (ending.wrong, ending.lost)
    if name in RIGHT:
        assert (ending.said, ending.wrong, ending.lost) == ((), 0, 0.0)


def test_cases_are_the_same_again() -> None:
    assert [list(chosen(random.Random(number))) for number in range(50)] == [
        list(chosen(random.Random(number))) for number in range(50)
    ]


def test_the_comparison_sees_what_is_lost_and_what_nobody_exported(tmp_path: Path) -> None:
    def other_sexes(tables: exports.Tables) -> None:
        for row in tables.people:
            row[exports.SEX] = "F"

    def fewer_events(tables: exports.Tables) -> None:
        del tables.events[100:]

    ending = exports.run({"a": other_sexes, "b": fewer_events}, random.Random(1), tmp_path)
    assert ending.is_silent
    assert ending.wrong > 10
    assert 0.7 < ending.lost < 0.8
