"""The whole chain through Dagster, as the command line and the UI run it."""

import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ehr_pipeline import cli
from ehr_pipeline.cli import USER_ERROR
from ehr_pipeline.defs.run import run
from ehr_pipeline.errors import UserError
from ehr_pipeline.runs import unchanged_run
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests.conftest import at_home, tiny_settings, write_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return at_home(monkeypatch, tmp_path)


@pytest.fixture
def store(tiny: Pipeline, tmp_path: Path) -> Path:
    """A copy of the tiny study's store."""
    return Path(shutil.copytree(tiny.store.root, tmp_path / "store"))


@dataclass(frozen=True)
class Again:
    """What `ehr-pipeline run` did in a store that holds everything already."""

    store: Path
    home: Path
    code: int
    printed: str
    log: str
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def again(tiny: Pipeline, extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Again:
    folder = tmp_path_factory.mktemp("again")
    store = Path(shutil.copytree(tiny.store.root, folder / "store"))
    path = write_settings(folder / "settings.toml", extract, store)
    log = io.StringIO()
    with pytest.MonkeyPatch.context() as monkeypatch, redirect_stdout(io.StringIO()) as printed, redirect_stderr(log):
        home = at_home(monkeypatch, folder)
        code = cli.main(["run", "--settings", str(path)])
    return Again(
        store, home, code, printed.getvalue(), log.getvalue(), json.loads((store / "summary.json").read_text())
    )


def test_unchanged_work_is_skipped_and_the_command_says_so(again: Again) -> None:
    assert (again.code, again.summary["ok"], again.summary["problems"]) == (0, True, [])
    assert [stage["asset"] for stage in again.summary["stages"]] == list(STAGES)
    assert {stage["state"] for stage in again.summary["stages"]} == {"unchanged"}
    assert "encoder_checkpoint" in again.printed
    assert again.printed.rstrip().endswith("report.html")
    assert Path(again.summary["report"]).is_file()


def test_a_line_is_shown_as_each_stage_starts_and_ends(again: Again) -> None:
    told = re.findall(r"\[(\d+)/(\d+)\] (\w+) (starts|is unchanged)", again.log)
    assert sorted({asset for _, _, asset, _ in told}) == sorted(STAGES)
    numbers = [str(number) for number in range(1, len(STAGES) + 1) for _ in range(2)]
    assert [number for number, *_ in told] == numbers
    assert {total for _, total, *_ in told} == {str(len(STAGES))}
    assert [what for *_, what in told] == ["starts", "is unchanged"] * len(STAGES)
    assert "dagster" not in again.log.lower()


def test_a_run_in_which_nothing_changed_needs_no_dagster(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    path = again.store.parent / "settings.toml"
    monkeypatch.setenv("DAGSTER_HOME", str(again.home))
    monkeypatch.setenv("EHR_STATE_DIR", str(again.home / "state"))
    code = f"import sys; from ehr_pipeline.cli import main; print(main(['run', '--settings', {str(path)!r}]));"
    code += " print(*[name for name in ('dagster', 'torch', 'sklearn', 'scipy', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "nothing has changed since the last run"
    assert done.stdout.endswith("report.html\n0\n\n"), done.stdout
    assert json.loads((again.store / "summary.json").read_text())["stages"] == again.summary["stages"]


def test_dagster_runs_where_there_is_something_to_make_or_to_record(
    again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EHR_STATE_DIR", str(again.home / "state"))
    study = settings.load(again.store.parent / "settings.toml")
    found = unchanged_run.outcome(study)
    assert found
    assert {row.state for row in found.rows} == {"unchanged"}
    assert unchanged_run.outcome(replace(study, clusters=replace(study.clusters, n=5))) is None
    assert unchanged_run.outcome(replace(study, study=replace(study.study, name="Other"))) is None
    note = next((again.home / "state").glob("recorded-*.json"))
    text = note.read_text()
    try:
        for other in (text.replace("true", "false", 1), text.replace("2-", "3-", 1)):
            assert other != text
            note.write_text(other)
            assert unchanged_run.outcome(study) is None, "Dagster knows of other checks or versions"
        note.unlink()
        assert unchanged_run.outcome(study) is None
    finally:
        note.write_text(text)


@pytest.mark.slow
def test_a_changed_setting_remakes_what_depends_on_it_and_nothing_before(
    home: Path, store: Path, extract: Path
) -> None:
    outcome = run(tiny_settings(extract, study={"store": str(store)}, clusters={"n": 5}), None)
    states = {row.asset: row.state for row in outcome.rows}
    assert {asset for asset, state in states.items() if state == "made"} == {
        "clusters",
        "patient_trajectories",
        "cluster_reports",
    }
    assert Store(store).current("clusters").counts["clusters"] == 5


def test_dagster_knows_versions_numbers_and_checks(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHR_STATE_DIR", str(again.home / "state"))
    with dg.DagsterInstance.from_config(str(again.home)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("mapped_events"))
        assert event is not None
        materialization = event.asset_materialization
        assert materialization is not None
        artifact = Store(again.store).current("mapped_events")
        assert (materialization.tags or {})["dagster/data_version"] == artifact.data_version
        metadata = materialization.metadata
        for shown, counted in {
            "dagster/row_count": artifact.counts["kept"],
            "dropped/unmapped_uk_extension": artifact.counts["dropped"]["unmapped_uk_extension"],
        }.items():
            assert metadata[shown].value == 10 * round(counted / 10), "no difference of two counts tells of a few rows"
        assert metadata["codes"].value == artifact.counts["codes"]
        assert metadata["skipped"].value is True
        report = instance.get_latest_materialization_event(dg.AssetKey("cluster_reports"))
        assert report is not None
        assert report.asset_materialization is not None
        shown = report.asset_materialization.metadata | {"code coverage": metadata["code coverage"]}
        for name in ("map of clusters", "code coverage"):
            picture = str(shown[name].value)
            assert picture.startswith("![](data:image/png;base64,")
            assert len(picture) < 140_000
        assert "dagster/column_lineage" in metadata
        assert instance.get_dynamic_partitions("extract") == [EXTRACT]
        checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [dg.AssetCheckKey(dg.AssetKey("mapped_events"), "mapping_coverage")]
        )
        assert len(checks) == 1


@pytest.mark.slow
def test_heavy_jobs_run_under_torchrun_on_two_processes(
    home: Path, store: Path, extract: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(store / "encoder")
    changes = {"launcher": {"backend": "processes", "processes": 2, "threads": 1}, "encoder": {"max_epochs": 3}}
    outcome = run(
        tiny_settings(extract, study={"store": str(store)}, **changes),
        "encoder_checkpoint,patient_embeddings,concept_embeddings",
    )
    assert outcome.problems == []
    states = {row.asset: row.state for row in outcome.rows}
    assert states == dict.fromkeys(("encoder_checkpoint", "concept_embeddings", "patient_embeddings"), "made")
    with dg.DagsterInstance.get() as instance:
        record = instance.get_run_records(limit=1)[0]
        messages = [entry.message for entry in instance.all_logs(record.dagster_run.run_id)]
    assert any("epoch 1: training loss" in message for message in messages), "progress is shown live in the run"
    assert not [path for path in (store / "encoder/encoder_checkpoint").iterdir() if path.name.startswith(".making")]


@pytest.mark.slow
def test_the_message_of_a_failing_job_reaches_the_user(home: Path, store: Path, extract: Path) -> None:
    broken = {
        "launcher": {"backend": "processes", "processes": 1},
        "encoder": {"learning_rate": 1e30, "warmup_steps": 0},
    }
    outcome = run(tiny_settings(extract, study={"store": str(store)}, **broken), "encoder_checkpoint")
    assert len(outcome.problems) == 1
    assert "encoder_checkpoint: The loss is not finite at update" in outcome.problems[0]
    assert Store(store).has("encoder_checkpoint"), "what was there before stays"


def test_a_failed_blocking_check_stops_what_follows(
    home: Path, store: Path, extract: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(tiny_settings(extract, study={"store": str(store)}, events={"coverage_floor": 0.99}), None)
    assert any("mapped_events: check mapping_coverage failed" in problem for problem in outcome.problems)
    assert "Dependencies for step" not in capsys.readouterr().err, "the orchestrator's lines need --verbose"
    states = {row.asset: row.state for row in outcome.rows}
    assert states["mapped_events"] == "unchanged"
    assert states["vocabulary"] == states["cluster_reports"] == "not reached"


def test_and_so_does_it_in_a_later_run(home: Path, store: Path, extract: Path) -> None:
    outcome = run(tiny_settings(extract, study={"store": str(store)}, events={"coverage_floor": 0.99}), "vocabulary")
    assert outcome.problems == [
        "vocabulary: mapped_events failed its checks, so nothing is built on it. "
        + next(c.message for c in [_coverage(store, extract)] if c is not None)
    ]


def _coverage(store: Path, extract: Path) -> Any:
    study = tiny_settings(extract, study={"store": str(store)}, events={"coverage_floor": 0.99})
    outcome = next(check for check in Pipeline(study).check("mapped_events") if check.name == "mapping_coverage")
    return replace(outcome, message=f"mapping_coverage: {outcome.message}")


def test_a_selection_that_is_none_is_told(home: Path, store: Path, extract: Path) -> None:
    with pytest.raises(UserError, match=r"there is no asset 'chort'. Did you mean 'cohort'\?"):
        run(tiny_settings(extract, study={"store": str(store)}), "chort")


def test_what_else_is_wrong_is_not_laid_to_the_selection(home: Path, extract: Path, tmp_path: Path) -> None:
    (tmp_path / ".key").write_text("damaged")
    with pytest.raises(UserError, match=r"^\S+\.key is not the key of a store"):
        run(tiny_settings(extract, study={"store": str(tmp_path)}, patients={"split": {"key": ""}}), "clusters")


def test_a_failed_blocking_check_gives_a_non_zero_exit(
    home: Path, store: Path, extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_settings(tmp_path / "settings.toml", extract, store, events={"coverage_floor": 0.99})
    assert cli.main(["run", "--settings", str(path), "--select", "mapped_events"]) == 1
    assert "check mapping_coverage failed" in capsys.readouterr().err
    assert json.loads((store / "summary.json").read_text())["ok"] is False


CANARY, PLACE = "canary5d1c7f3e", "Canaryshire9b2"
CHECK = b"mapping_coverage"


@pytest.mark.slow
def test_nothing_that_is_written_outside_the_data_names_a_patient(
    home: Path, extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A planted patient, its region and a broken row of it, and all other ids: in no log, event, metadata, message or report."""
    landing, store = tmp_path / "study" / "landing", tmp_path / "store"
    for part in ("landing", "terminology", "truth"):
        shutil.copytree(extract / part, tmp_path / "study" / part)
    folder = next(landing.iterdir())
    patients = folder / "patients.txt"
    head, *rows = patients.read_text("latin-1").splitlines()
    planted = dict(zip(head.split("\t"), rows[0].split("\t"), strict=True)) | {"patient_id": CANARY, "region": PLACE}
    patients.write_text("\n".join([head, *rows, "\t".join(planted.values()), ""]), "latin-1")
    events = folder / "events_000.txt"
    head, *rows = events.read_text("latin-1").splitlines()
    own = [f"{CANARY}\t{row.split(chr(9), 1)[1]}" for row in rows[:60]]
    broken = [f"{CANARY}\t31/02/{PLACE}\t{CANARY}", f"{CANARY}\t\t", f"{CANARY}\t01/01/2000\t{PLACE}"]
    events.write_text("\n".join([head, *rows, *own, *broken, ""]), "latin-1")

    own = {"launcher": {"backend": "processes", "processes": 1, "threads": 1}}  # whose log is caught, too
    path = write_settings(tmp_path / "settings.toml", tmp_path / "study", store, **own)
    assert cli.main(["run", "--settings", str(path)]) == 0
    write_settings(path, tmp_path / "study", store, events={"coverage_floor": 0.99}, **own)
    assert cli.main(["run", "--settings", str(path)]) == 1, "what is written of failures counts too"
    assert cli.main(["release", "--settings", str(path), "--out", str(tmp_path / "released")]) == USER_ERROR
    write_settings(path, tmp_path / "study", store, **own)
    assert cli.main(["release", "--settings", str(path), "--out", str(tmp_path / "released")]) == 0
    printed = "".join(capsys.readouterr())

    ids = [row.split("\t")[0].encode() for row in patients.read_text("latin-1").splitlines()[1:]]
    places = [home, tmp_path / "released", store]
    outside = [file for place in places for file in place.rglob("*") if file.is_file() and not is_data(file)]
    unpacked = [(str(file), text) for file in outside if file.suffix == ".db" for text in blobs(file)]
    names = {file.name for file in outside}
    assert {"manifest.json", "summary.json", "report.html", "coverage.json", "metrics.json", "config.json"} <= names
    assert {"tokenizer.json", "mapping.csv", "neighbours.csv", "vocabulary_labels.tsv", "counts.json"} <= names
    assert any(file.suffix == ".db" and CHECK in file.read_bytes() for file in outside), "Dagster's event log"
    assert any(b"cluster_reports" in text for _, text in unpacked), "what Dagster keeps packed"
    assert any(file.name.startswith("events.out.tfevents.") for file in outside), "for TensorBoard"
    assert any(file.suffix == ".db" and b"epoch 1: training" in file.read_bytes() for file in outside), "what jobs tell"
    written = [(str(file), file.read_bytes()) for file in outside]
    for name, text in [("printed", printed.encode()), *written, *unpacked]:
        assert CANARY.encode() not in text, name
        assert PLACE.encode() not in text, name
        assert not [patient for patient in ids if patient in text], name
    assert any(CANARY.encode() in file.read_bytes() for file in store.rglob("*.arrow")), "it was in the data"


def blobs(path: Path) -> Iterator[bytes]:
    """What a database holds compressed: the snapshots of jobs and their plans."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        for (table,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
            for cell in chain.from_iterable(database.execute(f'select * from "{table}"')):  # noqa: S608 (its own names)
                if isinstance(cell, bytes):
                    with suppress(zlib.error):
                        yield zlib.decompress(cell)


def is_data(path: Path) -> bool:
    """Tables of patients, vectors and weights: restricted, and kept in the store."""
    return path.suffix in (".arrow", ".npy", ".safetensors")


def test_the_environment_is_left_as_it_was(home: Path) -> None:
    assert os.environ["DAGSTER_HOME"] == str(home)
