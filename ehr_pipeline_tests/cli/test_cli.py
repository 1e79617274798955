import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehr_pipeline import cli
from ehr_pipeline.cli import run
from ehr_pipeline.cli.common import NOBODY_READS
from ehr_pipeline.study import settings
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.conftest import write_settings


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = cli.main(["check", "--settings", str(path)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_all_in_order(extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = check(write_settings(tmp_path / "s.toml", extract, tmp_path / "store"), capsys)
    assert code == 0
    assert told.startswith(f"checked {tmp_path / 's.toml'} ")
    assert "extract 2019-04-01: 2 files" in told
    assert told.rstrip().endswith("settings and inputs are in order")


def test_every_problem_with_inputs_is_told_at_once(
    extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong_list = tmp_path / "list.csv"
    wrong_list.write_text("a,b\n")
    path = write_settings(
        tmp_path / "s.toml",
        extract,
        tmp_path / "store",
        records={
            "events": [
                {
                    "files": "events_*",
                    "delimiter": ",",
                    "encoding": "latin-1",
                    "columns": {"patient": "patient_id", "date": "event_date", "code": "snomed_code"},
                }
            ],
            "patients": [{"files": "people.txt", "columns": {"patient": "patient_id", "birth_year": "year_of_birth"}}],
        },
        events={"mrconso": str(tmp_path / "nothing.RRF")},
        vocabulary={"mrsty": str(extract / "terminology/MRCONSO.RRF")},
        concepts={"concepts_of_interest": str(wrong_list)},
        clusters={"truth": str(tmp_path)},
        reports={"audited": ["region", "treatment", "ethnicity"], "attribute_types": {"bmi": "number"}},
    )
    code, told = check(path, capsys)
    assert code == 2
    for part in (
        "8 problems",
        "the delimiter may be '\\t' (records.events[0].delimiter)",
        "no file matches 'people.txt' (records.patients[0].files)",
        "nothing.RRF (events.mrconso): there is no such file",
        "18 fields end in '|', but this UMLS file has 6",
        "list.csv (concepts.concepts_of_interest), line 1: a concept list has the columns code, cui, name, source",
        "reports.audited contains region, treatment, ethnicity",
        "reports.attribute_types contains bmi",
        "clusters.truth",
    ):
        assert part in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("habits", "attributes", "code", "told"),
    [
        (
            "pracid",
            {"practice": "practice"},
            2,
            "embeddings.vectors.habits contains pracid, but the patient files have no such",
        ),
        (
            "practice",
            {},
            0,
            "patients have no attribute 'practice' (embeddings.vectors.habits): codes that different values of it use for the same"
            " thing are not joined, and patients are not compared within it\n",
        ),
        (
            "practice",
            {"hospital_id": "practice"},
            0,
            "If 'hospital_id' says who recorded the data, call this attribute 'practice'",
        ),
        ("practice", {"practice": "practice"}, 0, ""),
        ("sex", {}, 0, ""),
        ("", {}, 0, ""),
    ],
)
def test_a_column_with_habits_that_is_not_there_is_told(
    extract: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    habits: str,
    attributes: dict[str, str],
    code: int,
    told: str,
) -> None:
    patients = tomllib.loads(shipped("demo/settings.toml").read_text())["records"]["patients"][0]
    path = write_settings(
        tmp_path / "s.toml",
        extract,
        tmp_path / "store",
        records={"patients": [patients | {"attributes": attributes}]},
        reports={"audited": []},
        embeddings={"vectors": {"habits": habits}},
    )
    found, printed = check(path, capsys)
    assert (found, told in printed) == (code, True), printed
    assert ("not joined" in printed, "vectors.habits" in printed) == (bool(told) and not code, bool(told))


def test_a_missing_landing_folder_is_told_from_an_empty_one(
    extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    landing = tmp_path / "landing"
    path = write_settings(tmp_path / "s.toml", extract, tmp_path / "store", records={"landing": str(landing)})
    assert f"{landing} (records.landing): this folder does not exist" in check(path, capsys)[1]
    landing.mkdir()
    assert f"{landing} (records.landing): no extract" in check(path, capsys)[1]


def test_a_missing_settings_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = check(tmp_path / "nothing.toml", capsys)
    assert code == 2
    assert f"{tmp_path / 'nothing.toml'}: 1 problem" in told
    assert "there is no such file. `ehr-pipeline init DIR` starts one" in told
    assert "Errno" not in told


def test_a_local_code_system_needs_its_dictionary(
    extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {"patient": "patient_id", "date": "event_date", "code": "snomed_code"}
    events = [{"files": "events_*", "encoding": "latin-1", "code_system": "medcode", "columns": columns}]
    code, told = check(
        write_settings(tmp_path / "s.toml", extract, tmp_path / "store", records={"events": events}), capsys
    )
    assert code == 2
    assert (
        "records.events[0].code_system: the codes belong to 'medcode', but [events.dictionaries] has no table of that name"
        " (it has: none)" in told
    )


@pytest.mark.parametrize("source", ["cprd_aurum", "omop", "meds"])
def test_every_problem_with_a_source_is_told_at_once(
    source: str, extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    landing = tmp_path / "landing" / "2020-01-01"
    (landing / "data").mkdir(parents=True)
    for name in ("a_Extract_Observation_1.txt", "condition_occurrence.csv"):
        (landing / name).write_text("nothing\tof\tuse\n")
    (landing / "data/0.parquet").write_text("no Parquet")
    values = {"landing": str(landing.parent), "source": source, "events": [], "patients": []}
    settings = write_settings(tmp_path / "s.toml", extract, tmp_path / "store", records=values, reports={"audited": []})
    code, told = check(settings, capsys)
    assert code == 2
    wanted = {
        "cprd_aurum": (
            "no column 'patid' (records.cprd_aurum.observations); 'obsdate'",
            "no file matches '*[Ee]xtract_[Pp]atient*.txt*' (records.cprd_aurum.patients)",
            "records.cprd_aurum.observations: the codes belong to 'medcodeid', but [events.dictionaries] has no table",
            "no files for records.cprd_aurum.practices, records.cprd_aurum.drug_issues",
        ),
        "omop": (
            "no file matches 'person.csv*' (records.omop: person)",
            "no column 'person_id'",
            "events.omop_vocabulary is not set. It is the folder with CONCEPT.csv",
        ),
        "meds": ("data/0.parquet: not a Parquet file",),
    }
    for part in wanted[source]:
        assert part in told
    assert "Traceback" not in told


def test_synth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["synth", str(tmp_path / "out"), "--patients", "20", "--seed", "3", "--plan", "first"]) == 0
    facts = json.loads((tmp_path / "out/truth/dirt.json").read_text())
    assert (facts["patients"], facts["seed"], facts["version"]) == (20, 3, "2")
    with pytest.raises(SystemExit):
        cli.main(["synth", str(tmp_path / "out"), "--patients", "0"])
    assert "must be at least 1" in capsys.readouterr().err


def test_the_demo_settings_hold_when_their_extract_is_there() -> None:
    from ehr_pipeline.study import settings

    study = settings.load(shipped("demo/settings.toml"))
    assert study.encoder.preset == "demo"
    assert Path(study.embeddings.pooling.concepts).is_file()


def test_outside_a_checkout_the_demo_has_settings_that_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages" / "ehr_pipeline" / "data"
    for folder in ("demo", "lists", "tasks"):
        shutil.copytree(shipped(folder), installed / folder)
    monkeypatch.setattr(run, "shipped", lambda name: installed / name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = run._demo_settings()
    assert path == tmp_path / "work" / "ehr_pipeline_demo" / "demo" / "settings.toml"
    study = settings.load(path)
    assert all(Path(disease.concepts).is_file() for disease in study.embeddings.cohort)
    assert all(
        Path(each).is_file() for each in (study.tasks.death, *(task.file for task in study.tasks.task if task.file))
    )
    assert Path(study.study.store).is_relative_to(tmp_path / "work")


def test_what_an_audited_attribute_is_taken_for_is_said(
    extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the values of all files, whether or not some have none."""
    settings_file = tomllib.loads(shipped("demo/settings.toml").read_text())
    patients, landing = settings_file["records"]["patients"][0], tmp_path / "landing"
    shutil.copytree(extract / "landing", landing)
    source = next(landing.rglob(patients["files"]))
    names, *rows = source.read_text("latin-1").splitlines()
    lines = [f"{line}\t{20 + number / 10}" for number, line in enumerate(rows)]
    source.write_text("\n".join([f"{names}\tBMI", *lines]) + "\n", "latin-1")
    records = {"landing": str(landing), "patients": [patients | {"attributes": {"bmi": "BMI"}}]}
    for types, code, told in (
        ({}, 0, "attribute bmi: a number, judging by its first values (reports.attribute_types)"),
        ({"bmi": "category"}, 0, "attribute bmi: a category (reports.attribute_types)"),
    ):
        path = write_settings(
            tmp_path / "s.toml",
            extract,
            tmp_path / "store",
            records=records,
            reports={"audited": ["bmi"], "attribute_types": types},
        )
        found, printed = check(path, capsys)
        assert (found, told in printed) == (code, True), printed


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from commands(command)


def test_every_command_has_a_description_and_an_example_that_it_can_read() -> None:
    whole = cli.parser()
    for command in commands(whole):
        assert command.description, command.prog
        examples = [line for line in str(command.epilog).splitlines() if line.startswith("  ehr-pipeline ")]
        assert examples, command.prog
        for example in examples:
            words = shlex.split(example.partition(" >")[0])
            assert f"ehr-pipeline {' '.join(words[1:])}".startswith(command.prog)
            assert whole.parse_args(words[1:]).command


def test_a_misspelt_command_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (("rnu", "Did you mean 'run'?"), ("xyz", "Commands: demo, run"), ("key imprt", "'import'?")):
        with pytest.raises(SystemExit):
            cli.main(words.split())
        assert told in capsys.readouterr().err


def test_the_demo_is_never_taken_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv(settings.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(settings, "settings_path", lambda: tmp_path / "demo.toml")
    assert cli.main(["check"]) == 2
    assert (
        f"no --settings FILE was given, so this is the embedded demo ({tmp_path / 'demo.toml'})"
        in capsys.readouterr().err
    )


def test_without_a_study_and_a_demo_the_cure_is_to_name_a_study(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Messages about the demo's missing files had the cure 'make the folder'."""
    monkeypatch.delenv(settings.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    demo = write_settings(tmp_path / "demo.toml", tmp_path / "nowhere", tmp_path / "store")
    monkeypatch.setattr(settings, "settings_path", lambda: demo)
    for command in ("check", "run"):
        monkeypatch.delenv(settings.ENVIRONMENT_VARIABLE, raising=False)
        assert cli.main([command]) == 2
        told = capsys.readouterr().err
        assert "run `ehr-pipeline demo`" in told
        assert "add --settings my_study/study.toml; `ehr-pipeline init my_study --from FILE ...`" in told
        assert "problem" not in told
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/study.toml").touch()
    monkeypatch.delenv(settings.ENVIRONMENT_VARIABLE, raising=False)
    assert cli.main(["check"]) == 2
    assert "add --settings mine/study.toml." in capsys.readouterr().err


def test_an_interrupted_command_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By Ctrl-C, or by SIGTERM."""

    def interrupted(options: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    def ended(options: argparse.Namespace) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    for command in (interrupted, ended):
        monkeypatch.setattr(run, "_check", command)
        assert cli.main(["check", "--settings", "my study.toml"]) == 130
        told = capsys.readouterr().err
        assert told.splitlines() == [
            "stopped. Everything published before is unchanged. To continue: ehr-pipeline check --settings 'my study.toml'"
        ]


def test_output_that_nobody_reads_is_no_error() -> None:
    """`ehr-pipeline settings | head -1` printed `error: Broken pipe`, as if the command had failed."""
    ended, to = os.pipe()
    os.close(ended)
    try:
        done = subprocess.run([sys.executable, "-m", "ehr_pipeline.cli", "settings"], stdout=to, stderr=subprocess.PIPE)
    finally:
        os.close(to)
    assert (done.returncode, done.stderr) == (NOBODY_READS, b"")
