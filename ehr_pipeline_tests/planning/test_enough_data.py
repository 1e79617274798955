"""`check` says what only a run found before: too few patients, too small a vocabulary, an empty cohort."""

import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ehr_pipeline.checks import lists
from ehr_pipeline.planning import enough_data, settings_text
from ehr_pipeline.planning.findings import Preflight
from ehr_pipeline.study import settings

CODES = ("195967001", "73211009", "38341003", "44054006", "24700007")


def study(folder: Path, **overrides: Any) -> settings.Study:
    """Thirty patients, one of them without a birth; four codes that appear 29 times, and one once."""
    extract = folder / "landing/2024-01-01"
    extract.mkdir(parents=True, exist_ok=True)
    rows = [f"p{who},2001-0{1 + place}-01,{code}" for who in range(30) for place, code in enumerate(CODES[:4])]
    rows += ["p1,2005-01-01,24700007", "p1,2001-01-01,195967001"]
    (extract / "events.csv").write_text("\n".join(["patient,date,code", *rows, ""]))
    (extract / "patients.csv").write_text("\n".join(["patient,yob", *(f"p{who},1950" for who in range(29)), ""]))
    values = {
        "study": {"name": "s", "store": str(folder / "store")},
        "records": {
            "landing": str(folder / "landing"),
            "events": [
                {
                    "files": "events.csv",
                    "delimiter": ",",
                    "columns": {"patient": "patient", "date": "date", "code": "code"},
                }
            ],
            "patients": [
                {"files": "patients.csv", "delimiter": ",", "columns": {"patient": "patient", "birth_year": "yob"}}
            ],
        },
        "events": {"unmapped": "keep"},
        "vocabulary": {"min_appearances": 5, "min_size": 4},
        "embeddings": {"cohort": [{"name": "Everybody"}]},
        "clusters": {"n": 4},
    }
    return settings.validate(settings.merged(values, overrides))


def looked(made: settings.Study) -> Preflight:
    found = Preflight()
    enough_data.look(made, found)
    return found


def test_what_fits_is_not_reported(tmp_path: Path) -> None:
    found = looked(study(tmp_path))
    assert (found.problems, found.warnings) == ([], [])


def test_more_clusters_than_patients(tmp_path: Path) -> None:
    (problem,) = looked(study(tmp_path, clusters={"n": 30})).warnings
    assert problem.startswith(
        "clusters.n is 30, but the extracts contain only about 30 patients with a birth and an event."
    ), problem
    assert problem.endswith("Set it to at most 9.")


@pytest.mark.parametrize(
    ("appearances", "size", "told"),
    [
        (30, 4, "only 0 codes appear at least 30 times"),
        (30, 4, "Set vocabulary.min_appearances to at most 29."),
        (1, 50, "The extracts contain only 5 codes. Lower vocabulary.min_size."),
    ],
)
def test_too_small_a_vocabulary(tmp_path: Path, appearances: int, size: int, told: str) -> None:
    """A code that a patient has twice on a day, and events of a patient without a birth, do not count."""
    (problem,) = looked(study(tmp_path, vocabulary={"min_appearances": appearances, "min_size": size})).warnings
    assert told in problem


def test_spellings_of_a_code_count_once() -> None:
    rows = pl.DataFrame(
        {"patient": ["a", "a", "b"], "day": [1, 1, 2], "code": ["icd10:N189", "icd10:N18.9", "icd10:n189"]}
    )
    held = enough_data.Extracts({"a", "b"}, [rows])
    assert held.count()[1].rows() == [("icd10:N18.9", 2)]


@pytest.mark.parametrize(("often", "smallest"), [(45, 22), (99, 49), (100, None), (1, 1)])
def test_a_small_vocabulary_leaves_room_for_codes_that_the_training_set_lacks(often: int, smallest: int | None) -> None:
    extract = settings_text.Extract([], 1000, {}, codes=(10,) * often + (9,) * 30)
    written = tomllib.loads(settings_text.settings_text(Path("study"), extract, None))["vocabulary"]
    assert written.get("min_size") == smallest


def test_a_cohort_of_lists_that_match_no_recorded_code(tmp_path: Path) -> None:
    for name, code in (("none", "59393003"), ("some", "73211009")):
        (tmp_path / f"{name}.csv").write_text(f"code,cui,name,source\n{code},,a name,a source\n")
    none, some = ({"name": name, "concepts": str(tmp_path / f"{name}.csv")} for name in ("none", "some"))
    (problem,) = looked(study(tmp_path, embeddings={"cohort": [none]})).warnings
    assert (
        "(embeddings.cohort[0].concepts): the extracts contain no code of this list, so this list matches no patient."
        in problem
    )
    found = looked(study(tmp_path, embeddings={"cohort": [none, some]}))
    assert (found.problems, len(found.warnings)) == ([], 1)


def listed(folder: Path, recorded: list[str], rows: list[str], **overrides: Any) -> Preflight:
    """What is told of a cohort's list, where these codes of ICD are recorded."""
    cohort = {"cohort": [{"name": "Psoriasis", "concepts": str(folder / "list.csv")}]}
    made = study(folder, embeddings=cohort, events={"unmapped": "keep"}, **overrides)
    with (folder / "landing/2024-01-01/events.csv").open("a") as events:
        events.writelines(f"p1,2001-01-01,{code}\n" for code in recorded)
    (folder / "list.csv").write_text(
        "\n".join(["code,cui,name,source", *(f"{code},,a name,a source" for code in rows), ""])
    )
    return looked(made)


def test_rows_of_a_list_that_are_miswritten_are_told_with_their_lines(tmp_path: Path) -> None:
    recorded = ["ICD10CM:L40.0", "ICD10CM:L40.1", "ICD10CM:L40.5"]
    found = listed(tmp_path / "some", recorded, ["ICD10CM:L40.0", "icd10cm:L40.0", "ICD10CM:L4O.1", "L40.5"])
    (miswritten,) = found.warnings
    assert "(embeddings.cohort[0].concepts): 3 of its 4 rows do not occur in the" in miswritten
    assert "(lines 3, 4, 5). Write them as in the event files." in miswritten
    found = listed(tmp_path / "most", recorded, [recorded[0], *(f"ICD10CM:M{number}" for number in range(10, 14))])
    (much,) = found.warnings
    assert "4 of its 5 rows do not occur in the extracts (first in lines 3, 4, 5). Compare their codes" in much
    found = listed(tmp_path / "one", recorded, [*recorded, "ICD10CM:L40.9"])
    assert found.warnings == []
    assert [fact for fact in found.facts if "1 of its 4 rows do not occur in the extracts (line 5)" in fact]
    found = listed(tmp_path / "all", recorded, recorded)
    assert (found.warnings, found.facts) == ([], [])


def test_a_list_of_which_every_row_is_miswritten_has_the_cause(tmp_path: Path) -> None:
    (problem,) = listed(tmp_path, ["ICD11:EA90.0", "ICD11:EA90.1"], ["ICD11:EA900", "ICD11:EA901"]).warnings
    assert "2 of its 2 rows do not occur in the extracts, but a similar code does. The codes differ only" in problem


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        (
            ["ICD10:L40.0", "ICD10:L40.1"],
            "its codes belong to 'ICD10', but the codes in the event files belong to 'icd10'",
        ),
        (["icd10:L40.0", "ICD10:L40.1"], ""),
        (["ICD10:L40.0", "59393003"], ""),
        (["L40.0"], "or write a code of another system as icd10:L40.0."),
    ],
)
def test_a_list_of_another_system_than_the_event_files_has_names_for_both(
    codes: list[str], told: str, tmp_path: Path
) -> None:
    """However large the extracts are: those of millions of rows are not compared with the lists."""
    cohort = {"cohort": [{"name": "Psoriasis", "concepts": str(tmp_path / "list.csv")}]}
    columns = {"patient": "patient", "date": "date", "code": "code"}
    events = {"files": "events.csv", "delimiter": ",", "columns": columns, "code_system": "icd10"}
    made = study(tmp_path, embeddings=cohort, records={"events": [events]})
    (tmp_path / "list.csv").write_text("\n".join(["code,cui,name,source", *(f"{code},,," for code in codes), ""]))
    problems = lists.look(made)[0]
    assert len(problems) == bool(told)
    assert told in " ".join(problems)
    if "ICD10" in told:
        assert "Write the codes as the event files do: as icd10:L40." in problems[0]


@pytest.mark.parametrize(("ids", "hint"), [("00p{}", "leading zeros"), ("P{}", "upper and lower case"), ("x{}", "")])
def test_events_of_people_whom_the_patient_files_name_otherwise(ids: str, hint: str, tmp_path: Path) -> None:
    """That there are too few patients for clusters was the only message, or none."""
    made = study(tmp_path)
    events = tmp_path / "landing/2024-01-01/events.csv"
    events.write_text(events.read_text().replace("\np", "\n" + ids.format("")))
    (problem,) = looked(made).warnings
    assert "rows of events belong to patients without a usable patient row. A run stops at 20% or" in problem
    assert "check that event files and patient files use the same ids" in problem
    assert problem.endswith(f"only in {hint}." if hint else "no patient file is missing.")


def test_a_few_ids_in_another_case_are_told_too(tmp_path: Path) -> None:
    """Nothing was said below the share at which a run stops, although all these rows are lost."""
    made = study(tmp_path)
    events = tmp_path / "landing/2024-01-01/events.csv"
    events.write_text(events.read_text().replace("\np1", "\nP1", 12))
    (problem,) = looked(made).warnings
    assert "are rejected (unknown_patient)" in problem
    assert problem.endswith("only in upper and lower case.")


def test_ids_that_one_file_writes_with_a_fraction_of_zeros_are_the_same(tmp_path: Path) -> None:
    made = study(tmp_path)
    extract = tmp_path / "landing/2024-01-01"
    (extract / "events.csv").write_text((extract / "events.csv").read_text().replace("\np", "\n10"))
    (extract / "patients.csv").write_text(
        (extract / "patients.csv").read_text().replace("\np", "\n10").replace(",1950", ".0,1950")
    )
    assert not looked(made).warnings
    (extract / "patients.csv").write_text((extract / "patients.csv").read_text().replace(".0,1950", ",1950"))
    (extract / "events.csv").write_text((extract / "events.csv").read_text().replace(",2001", ".0,2001"))
    assert not looked(made).warnings


def test_lists_of_tasks_that_find_nothing_are_told(tmp_path: Path) -> None:
    """With what follows from it; and how many patients the tasks are judged on."""
    path = tmp_path / "none.csv"
    path.write_text("code,cui,name,source\n57092006,,a name,a source\n")
    task = {"name": "Mine", "outcome": str(path), "entry": str(path), "index": "first_entry"}
    tasks = {"tasks": {"death": str(path), "task": [task]}, "patients": {"split": {"test_share": 0.4}}}
    found = looked(study(tmp_path, **tasks))
    warnings = " ".join(found.warnings)
    for where, told in (
        ("tasks.task[0].outcome", "so the task has no cases. Compare"),
        ("tasks.task[0].entry", "so the task has no patients at risk. Compare"),
        ("tasks.death", "so no death is found. Compare"),
    ):
        assert f"none.csv ({where}): the extracts contain no code of this list, {told}" in warnings
    assert "are in the test set (patients.split.test_share = 0.4), but a task needs 50 cases there" in warnings


def test_most_codes_of_a_clinical_list_of_snomed_are_rare_which_is_no_warning(tmp_path: Path) -> None:
    rare = ["57092006", "27520001", "86142006", "394659003", "43116000"]
    found = listed(tmp_path, [], [CODES[0], *rare])
    assert found.warnings == []
    assert "5 of its 6 rows do not occur in the extracts (first in lines 3, 4, 5)" in found.facts[0]


def test_large_extracts_are_left_to_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enough_data, "LARGEST", 100)
    assert looked(study(tmp_path, clusters={"n": 30})).warnings == []
