"""Fixtures: one small synthetic study, run once for all tests that read artifacts."""

import fcntl
import json
import os
import shutil
import sqlite3
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ehr_pipeline.drawing import plots
from ehr_pipeline.records.layouts import EventColumns, EventFiles, PatientColumns, PatientFiles
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT, generate
from ehr_pipeline.synthetic.study import SMALL, places
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.typed_settings import file_hash

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


def precision_at_hand() -> str:
    """What `precision = "auto"` comes to in this run of the tests, and why."""
    import torch

    from ehr_pipeline.encoder import devices, hardware_choices

    why = f"by {devices.BFLOAT16_VARIABLE}" if os.environ.get(devices.BFLOAT16_VARIABLE) else "as this processor has it"
    return f'precision = "auto" is {hardware_choices.precision_for("auto", torch.device("cpu"))}, {why}'


def pytest_report_header() -> str:
    return precision_at_hand()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Below the results as well: -q leaves the header out."""
    terminalreporter.write_line(precision_at_hand())


def pytest_configure() -> None:
    """Let nothing wait for the disk: only a crash of the machine shows what was flushed, and tests kill processes alone."""
    os.fsync = os.fstat  # type: ignore[assignment]  # an error all the same where nothing is open

    @event.listens_for(Engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            with suppress(sqlite3.OperationalError):  # locked
                connection.execute("PRAGMA synchronous = OFF")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, those with the most slow tests: short ones are left to fill up the end.

    Each test process takes a whole file at a time, in this order (`--dist loadfile --no-loadscope-reorder`).
    """
    tests = Counter(item.path for item in items)
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (-slow[item.path], -tests[item.path], item.path))


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """What a test sets in the environment, as the command line does, is not seen by the next one."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def tiny_settings(folder: Path, **overrides: dict[str, Any]) -> settings.Study:
    """The tiny study on the synthetic extract in a folder."""
    return settings.load(shipped("demo/settings.toml"), settings.merged(SMALL, places(folder), overrides))


def at_home(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """A Dagster home of its own in a folder."""
    home = folder / "home"
    home.mkdir()
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("EHR_STATE_DIR", str(home / "state"))
    monkeypatch.setenv(settings.ENVIRONMENT_VARIABLE, "unset")
    return home


def write_settings(path: Path, folder: Path, store: Path, **overrides: dict[str, Any]) -> Path:
    """A settings file of the tiny study: the demo's, with other values."""
    base = tomllib.loads(shipped("demo/settings.toml").read_text())
    lists = shipped("lists")
    base = json.loads(json.dumps(base).replace("../lists", str(lists)))
    values = settings.merged(base, SMALL, places(folder), {"study": {"store": str(store)}}, overrides)
    path.write_text(to_toml(values))
    return path


def to_toml(values: dict[str, Any], prefix: str = "") -> str:
    """Nested mappings as TOML, sub-tables inline."""
    lines = []
    for name, section in values.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {inline(value)}" for key, value in section.items()]
    return "\n".join(lines) + "\n"


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {inline(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(inline(part) for part in value) + "]"
    return json.dumps(value)


def once(temporary: pytest.TempPathFactory, name: str, fill: Callable[[Path], Any]) -> Path:
    """A folder that one test process fills, while those beside it wait: all read the same one."""
    root = temporary.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, filled = root / name, root / f"{name}.filled"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not filled.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            folder.mkdir()
            fill(folder)
            filled.touch()
    return folder


@pytest.fixture(scope="session")
def extract(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic extract of 400 patients: landing, terminology, truth."""
    return once(tmp_path_factory, "extract", lambda folder: generate(folder, patients=400, seed=7))


@pytest.fixture(scope="session")
def tiny(extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The tiny study with every asset made, in a store of this test process: tests that change artifacts copy it."""

    def study_in(folder: Path) -> settings.Study:
        return tiny_settings(extract, study={"store": str(folder)})

    made = once(tmp_path_factory, "store", lambda folder: Pipeline(study_in(folder)).make(EXTRACT))
    return Pipeline(study_in(shutil.copytree(made, tmp_path_factory.mktemp("tiny") / "store")))


@pytest.fixture(scope="session")
def steady(tiny: Pipeline, extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The tiny study with a longer training: what tests of new extracts begin with."""
    from ehr_pipeline_tests.second_extract import base, steady_in

    return steady_in(once(tmp_path_factory, "steady", lambda folder: base(tiny, extract, folder)), extract)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of every picture that is drawn."""
    found: list[Any] = []
    figure = plots.figure

    @contextmanager
    def kept(*arguments: Any, **named: Any) -> Iterator[Any]:
        with figure(*arguments, **named) as one:
            yield one
            found.extend(one.axes)

    monkeypatch.setattr(plots, "figure", kept)
    return found


def unpublished(folder: Path) -> Artifact:
    """A folder as an artifact: with the hashes of its files, and nothing else."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {path.relative_to(folder).as_posix(): {"sha256": file_hash(path)} for path in paths}
    return Artifact(folder, {"files": files})


@pytest.fixture
def shared() -> Path:
    """Real, openly licensed inputs beside the checkout; tests that need them skip where they are absent."""
    if not SHARED.is_dir():
        pytest.skip("the folder shared/data with real inputs does not lie beside this checkout")
    return SHARED


@pytest.fixture
def case(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a small input that was once read wrongly, beside the checkout with its right outcome; returns the copy's folder."""

    def copied(name: str) -> Path:
        source = SHARED.parent / "cases" / name
        if not source.is_dir():
            pytest.skip(f"the folder shared/cases/{name} does not lie beside this checkout")
        return Path(shutil.copytree(source, tmp_path / name))

    return copied


@pytest.fixture
def landing(tmp_path: Path) -> Callable[..., Path]:
    """Writes an extract from texts: landing(events=..., patients=...) returns its folder."""

    def write(
        events: str | bytes, patients: str | bytes = "id\tyear\n1\t1950\n2\t1980\n", extract: str = "2020-01-01"
    ) -> Path:
        folder = tmp_path / "landing" / extract
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("events.txt", events), ("patients.txt", patients)):
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return folder

    return write


def records_settings(landing: Path, **changes: Any) -> RecordsSettings:
    """Settings for the extracts of the `landing` fixture."""
    events = EventFiles(files="events*", columns=EventColumns(patient="id", date="date", code="code"))
    patients = PatientFiles(files="patients*", columns=PatientColumns(patient="id", birth_year="year"))
    values = {"landing": str(landing), "events": (events,), "patients": (patients,), "buckets": 2} | changes
    return RecordsSettings(**values)
