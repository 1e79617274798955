"""The check `rejected_rows`: a warning for few rejected rows, an error for many, and nothing is built on the extract then."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.checks import lost_rows
from ehr_pipeline.checks.model import Outcome
from ehr_pipeline.defs.dagster_checks import _gravity
from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.disclosure.kinds import Events, Share
from ehr_pipeline.errors import SettingsError, UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.drop_reasons import IN_WORDS, NOT_LOST, REMEDIES
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.conftest import tiny_settings

NOTHING = {"rows_in": 0, "kept": 0, "dropped": {}}


@pytest.fixture(scope="module")
def study() -> Study:
    return settings.load(shipped("demo/settings.toml"))


def artifact(events: dict[str, int], patients: dict[str, int], rows: int = 1000) -> Artifact:
    counts: dict[str, Any] = {"rows_in": rows, "kept": rows - sum(events.values()), "dropped": events}
    people = {"rows_in": rows, "kept": rows - sum(patients.values()), "dropped": patients}
    return Artifact(Path(), {"counts": counts | {"patients": people, "linked": NOTHING}})


def outcome(found: Artifact, study: Study) -> Outcome:
    (check,) = (check for check in ASSETS["raw_records"].all_checks if check.name == "rejected_rows")
    passed, message, figures = check.test(found, None, study)  # type: ignore[arg-type]
    return Outcome(check.name, passed, message, not check.only_warns(found, study), figures)


@pytest.mark.parametrize(
    ("events", "patients", "gravity"),
    [
        ({}, {}, 0),
        ({"missing_date": 9}, {"missing_birth": 9}, 0),
        ({"missing_date": 6, "future_date": 4}, {}, 1),
        ({}, {"missing_birth": 10}, 1),
        ({"unparsable_date": 199}, {}, 1),
        ({"unparsable_date": 100, "missing_code": 100}, {}, 2),
        ({}, {"unparsable_birth": 200}, 2),
        ({}, {"adds_to_no_patient": 600}, 1),
        ({}, {"adds_to_no_patient": 600, "unparsable_birth": 80}, 2),
        (dict.fromkeys(NOT_LOST, 150), {}, 0),
    ],
)
def test_few_rejected_rows_warn_and_many_stop(
    study: Study, events: dict[str, int], patients: dict[str, int], gravity: int
) -> None:
    assert _gravity(outcome(artifact(events, patients), study)) == gravity


def test_the_message_says_which_rows_stop_no_run(study: Study) -> None:
    stops = "%; rows of patients whose birth is not in any row do not count towards the second limit."
    assert stops in outcome(artifact({}, {"adds_to_no_patient": 600}), study).message
    assert "%. The quarantine" in outcome(artifact({"unparsable_date": 199}, {}), study).message


def test_fewer_than_ten_rows_stop_nothing(study: Study) -> None:
    """Of an extract of twelve rows, nine are no share to judge by: the check warns, and what is left is used."""
    assert _gravity(outcome(artifact({"unparsable_date": 9}, {}, rows=12), study)) == 1
    assert _gravity(outcome(artifact({"unparsable_date": 10}, {}, rows=12), study)) == 2


def test_lines_without_a_row_do_not_hide_the_share_of_the_others(study: Study) -> None:
    """Of 1,000 lines 900 are empty: 20 rejected rows are a fifth of the 100 that are left."""
    found = outcome(artifact({"empty_line": 900, "unparsable_date": 20}, {}), study)
    assert _gravity(found) == 2
    assert "about 20 of about 100 rows (20.0%)" in found.message


def test_the_largest_reason_is_named_with_its_cure(study: Study) -> None:
    found = outcome(artifact({"unparsable_date": 80, "missing_code": 30}, {}), study)
    assert found.message.startswith(
        "events: about 110 of about 1,000 rows (11.0%) were rejected; most frequent reason: rows with an"
        " unreadable date (set `date_formats`"
    )
    assert found.figures["rejected_events"] == Share(Events(110), Events(1000))


def test_few_rows_are_not_counted_in_the_message(study: Study) -> None:
    found = outcome(artifact({"unparsable_date": 3}, {"missing_birth": 4}, rows=12), study)
    assert found.message.count("fewer than 10 rows were rejected") == 2
    assert {Guard(10).number(figure) for figure in found.figures.values()} == {None}, "shares tell how many"


def test_lines_longer_than_rows_count_as_the_rows_that_they_may_hold(study: Study) -> None:
    few = artifact({"nul_byte": 1}, {}, rows=1000)
    assert outcome(few, study).passed
    few.manifest["counts"]["like_rows"] = 100
    warning = outcome(few, study)
    assert _gravity(warning) == 1
    assert (
        "rows were rejected; the rejected lines are as long as about 100 rows; most frequent reason: rows with NUL bytes"
        in warning.message
    )
    few.manifest["counts"]["like_rows"] = 400
    assert _gravity(outcome(few, study)) == 2


@pytest.mark.parametrize(
    ("name", "counts", "of_patients", "message"),
    [
        ("files_ended", {"unended_files": 2, "files": 9}, {}, "2 of 9 files end in the middle of a line"),
        ("tables_joined", {}, {"with_table": 900, "not_in_table": 9}, "9 rows of patients"),
        (
            "tables_joined",
            {},
            {"with_table": 900, "not_in_table": 90},
            "about 90 of about 900 rows (10.0%) of patients have no match",
        ),
        ("columns_filled", {}, {"without_values": ["region", "sex"]}, "no patient has a value for region, sex"),
    ],
)
def test_other_losses_warn(
    study: Study, name: str, counts: dict[str, Any], of_patients: dict[str, Any], message: str
) -> None:
    (check,) = (check for check in ASSETS["raw_records"].all_checks if check.name == name)
    found = artifact({}, {})
    assert check.test(found, None, study)[0]  # type: ignore[arg-type]
    assert not check.blocking
    found.manifest["counts"].update(counts)
    found.manifest["counts"]["patients"].update(of_patients)
    passed, told, _ = check.test(found, None, study)  # type: ignore[arg-type]
    assert not passed
    assert message.replace("9 rows", "fewer than 10 rows") in told or message in told


@pytest.mark.parametrize(
    ("source", "passes"), [("omop", True), ("meds", True), ("delimited", False), ("cprd_aurum", False)]
)
def test_a_layout_needs_no_table_of_observation(study: Study, source: str, passes: bool) -> None:
    """OMOP's OBSERVATION_PERIOD may be absent; nothing in the settings is then wrong."""
    found = artifact({}, {})
    found.manifest["counts"]["patients"]["without_values"] = ["observation_end", "observation_start"]
    records = dataclasses.replace(study.records, source=source)
    assert lost_rows.columns_filled.test(found, None, dataclasses.replace(study, records=records))[0] is passes  # type: ignore[arg-type]


def test_limits_are_settings(study: Study) -> None:
    found = artifact({"missing_date": 50}, {})
    strict = settings.with_overrides(study, {"records": {"limits": {"rejected_error": 0.05}}})
    lax = settings.with_overrides(study, {"records": {"limits": {"rejected_warning": 0.06}}})
    assert not lost_rows.below_the_limit(found, strict)
    assert lost_rows.rejected_rows(found, None, lax)[0]  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"rejected_warning is 0\.5, above rejected_error"):
        settings.with_overrides(study, {"records": {"limits": {"rejected_warning": 0.5}}})


def test_every_cure_belongs_to_a_reason_with_words() -> None:
    assert set(REMEDIES) <= set(IN_WORDS)
    assert set(NOT_LOST) <= set(REMEDIES)


def test_an_extract_that_is_mostly_rejected_stops_the_chain(
    landing: Callable[..., Path], extract: Path, tmp_path: Path
) -> None:
    """Three quarters of the dates are day numbers of a spreadsheet."""
    rows = "".join(f"1\t{40_000 + number}\t9014002\n" for number in range(30)) + "1\t05/03/2001\t9014002\n" * 10
    folder = landing("id\tdate\tcode\n" + rows)
    own = {
        "landing": str(folder.parent),
        "events": [{"files": "events*", "columns": {"patient": "id", "date": "date", "code": "code"}}],
        "patients": [{"files": "patients*", "columns": {"patient": "id", "birth_year": "year"}}],
    }
    pipeline = Pipeline(tiny_settings(extract, study={"store": str(tmp_path / "store")}, records=own))
    pipeline.raw_records(folder.name)
    with pytest.raises(UserError, match="rejected_rows"):
        pipeline.extract_catalog()


def test_a_list_of_values_says_how_many_it_leaves_out() -> None:
    """Ten values of twelve were named as if they were all: the run stopped again at the other two."""
    assert lost_rows.first_values(list("ab")) == "'a', 'b'"
    assert lost_rows.first_values(list("abcdefghijkl")).endswith("'j' and 2 more")
