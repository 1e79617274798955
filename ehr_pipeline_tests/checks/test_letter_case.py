"""The check `one_spelling_of_codes`: codes that differ only in case or a dot are told, with the lists that name one of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from ehr_pipeline.checks import letter_case, lists
from ehr_pipeline.checks.model import Result
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.store.artifacts import Artifact

Row = tuple[str, str | None, int, int]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(rows: list[Row], by: Any = letter_case.one_spelling_of_codes, **listed: str) -> Result:
        table = pl.DataFrame(rows, schema=["code", "concept", "events", "patients"], orient="row")
        Mapping(table.with_columns(snomed=pl.lit(""))).write(tmp_path)
        for name, codes in listed.items():
            lines = [f"{code},,x,x\n" for code in codes.split()]
            (tmp_path / name).write_text("code,cui,name,source\n" + "".join(lines))
        monkeypatch.setattr(lists, "named", lambda study: {name: str(tmp_path / name) for name in listed})
        study: Any = SimpleNamespace(reports=SimpleNamespace(suppress_below=10))
        found: Result = by(Artifact(tmp_path, {}), None, study)
        return found

    return run


def kept(code: str, events: int, patients: int = 5) -> Row:
    return code, code, events, patients


def test_each_system_and_half_met_list_is_told_and_no_code(check: Any) -> None:
    rows = [
        kept("own:Ab1", 900, 200),
        kept("own:ab1", 123),
        kept("own:AB1", 57),
        kept("own:c2", 40),
        kept("own:d3", 50),
    ]
    rows += [kept("odd:X", 8), kept("odd:x", 3)]
    passed, message, figures = check(rows, one="own:Ab1 own:c2", all="own:Ab1 own:ab1 own:AB1", none="own:c2")
    assert not passed
    assert not letter_case.one_spelling_of_codes.blocking
    assert "1 of the system 'own' (about 180 events in less frequent spellings)" in message
    assert "1 of rare systems (fewer than 10 events in less frequent spellings)" in message
    assert (
        "events.overrides. These lists contain only one spelling, so they miss patients with the other: one (1 code)"
        in message
    )
    assert not any(hidden in message for hidden in ("b1", "B1", "odd", "c2"))
    assert figures["codes_in_two_spellings"].number == 2
    assert figures["events_in_rarer_spelling"].number == 183


@pytest.mark.parametrize(
    ("rows", "passed"),
    [
        ([kept("ICD9CM:401.9", 60), kept("ICD10CM:I10", 100)], False),
        ([kept("ICD9CM:401.9", 60), ("ICD10CM:I10", "ICD9CM:401.9", 100, 50)], True),
        ([kept("ICD9Proc:37.22", 60), kept("ICD10CM:I10", 100)], True),
        ([kept("ICD9:401.9", 1), kept("ICD10:I10", 1000)], True),
        ([kept("icd10:I10", 100), kept("atc:A10BA02", 100)], True),
    ],
)
def test_two_editions_of_the_icd_are_told(check: Any, rows: list[Row], passed: bool) -> None:
    found, message, _ = check(rows, by=letter_case.one_edition_of_icd)
    assert found == passed
    assert passed or message.startswith("about 60 events have a diagnosis in ICD-9, and about 100 in ICD-10.")


def test_a_spelling_that_the_dictionary_lacks_is_told(check: Any) -> None:
    assert not check([("own:A", "C0000001", 50, 20), ("own:a", None, 20, 9)])[0]


def test_codes_that_differ_in_a_dot_are_told(check: Any) -> None:
    for rows in (["icd11:5A11.0", "icd11:5a110"], ["dx:N18.9", "dx:N189"], ["own:410.1", "own:4101"]):
        passed, message, figures = check([kept(code, 50) for code in rows], one=rows[0])
        assert not passed
        assert figures["codes_in_two_spellings"].number == 1
        assert "miss patients with the other: one (1 code)" in message


@pytest.mark.parametrize(
    "rows",
    [
        [kept("own:37.22", 50), kept("own:372.2", 50)],
        [kept("drug:insulin_1.5", 50), kept("drug:insulin_15", 50)],
        [kept("read:G30..", 50), kept("read:G30.", 50)],
        [("icd10:C99", "icd10:C99", 50, 20), ("icd10:c99", "icd10:C99", 20, 9)],
        [kept("ctv3:XE0aa", 50), kept("ctv3:xE0aa", 20)],
        [("own:A", None, 50, 20), ("own:a", None, 20, 9)],
        [kept("own:A", 50), kept("other:a", 20)],
        [kept("SCT:9014002", 50), ("H33..", "C1", 5, 5), ("h33..", "C2", 5, 5)],
    ],
)
def test_one_concept_read_codes_and_two_systems_are_no_such_spellings(check: Any, rows: list[Row]) -> None:
    passed, message, figures = check(rows, one=rows[0][0] if ":" in rows[0][0] else "9014002")
    assert (passed, figures) == (True, {}), message
