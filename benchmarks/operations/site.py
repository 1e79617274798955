"""A study with a Dagster home of its own, the server that runs there, and what may be asked of both."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_pipeline import typed_settings
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests.conftest import write_settings
from ehr_pipeline_tests.defs.browser import Server, serving

TOP = Path(__file__).parents[2]
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
RUNS = "{runsOrError {... on Runs {results {runId status jobName startTime endTime tags {key value}}}}}"
LAUNCH = """mutation($selector: JobOrPipelineSelector!, $tags: [ExecutionTag!]) {
  launchPipelineExecution(executionParams: {selector: $selector, executionMetadata: {tags: $tags}}) {
    __typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}
  }
}"""


@dataclass(frozen=True)
class Site:
    """Where everything of a study lies: landing folder, settings, store, Dagster's state, temporary files."""

    folder: Path

    @staticmethod
    def made(folder: Path, source: Path, **overrides: Mapping[str, Any]) -> "Site":
        """A new site beside a synthetic study in `source`, whose terminology it reads. Nothing has landed yet."""
        site = Site(folder)
        for path in (site.landing, site.home, site.temporary):
            path.mkdir(parents=True)
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copyfile(TOP / name, site.home / name)
        own = {
            "records": {"landing": str(site.landing), "latest_date": EXTRACT, "workers": 1},
            "clusters": {"truth": ""},
        }
        write_settings(site.settings, source, folder / "store", **settings.merged(own, overrides))
        return site

    @property
    def landing(self) -> Path:
        return self.folder / "landing"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def settings(self) -> Path:
        return self.folder / "settings.toml"

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    def pipeline(self, store: Path | None = None) -> Pipeline:
        """The study without Dagster; in another store where one is given: what an undisturbed run makes."""
        return Pipeline(settings.load(self.settings, {"study": {"store": str(store)}} if store else {}))

    def land(self, source: Path, extract: str) -> None:
        """Copy an extract, and say that it is complete."""
        shutil.copytree(source, self.landing / extract)
        (self.landing / extract / "_COMPLETE").touch()

    def land_part(self, source: Path, extract: str, events: str) -> None:
        """An extract with all patients of another, and some of its events."""
        folder = self.landing / extract
        folder.mkdir()
        shutil.copy(source / "patients.txt", folder)
        (folder / "events_000.txt").write_text(events, "latin-1")
        (folder / "_COMPLETE").touch()

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """The site's Dagster home, for what is done in this process."""
        own = {"DAGSTER_HOME": str(self.home), "EHR_STATE_DIR": str(self.home / "state"), "TMPDIR": str(self.temporary)}
        before = {name: os.environ.get(name) for name in own}
        os.environ.update(own)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    @contextlib.contextmanager
    def serving(self) -> Iterator[Server]:
        """The server, once it answers."""
        logs = len(list(self.folder.glob("server-*.log")))
        with self.environment(), serving(self.settings, self.home, self.folder / f"server-{logs}.log") as server:
            yield server

    def is_making(self, asset: str) -> bool:
        """Whether an artifact of the asset is half made, by a process that runs or by one that was killed."""
        return any(path.is_dir() for path in self.store.folder(asset).rglob(".making-*"))

    def hidden(self) -> list[str]:
        """What no run should leave in the store."""
        return sorted(str(path.relative_to(self.store.root)) for path in self.store.root.rglob(".*"))

    def processes(self) -> list[int]:
        """All processes that run in this Dagster home, whoever started them."""
        wanted, found = f"DAGSTER_HOME={self.home}".encode(), []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                ended = (path.parent / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                if wanted in path.read_bytes().split(b"\0") and not ended and int(path.parent.name) != os.getpid():
                    found.append(int(path.parent.name))
        return found

    def kill(self) -> int:
        """Kill them all with -9, until none is left, as when the machine loses its power. Returns how many there were."""
        killed = set()
        while found := self.processes():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.05)
        return len(killed)


def parts(source: Path, number: int) -> list[str]:
    """The events of an extract in so many texts of equal length, each with the header; what is left over is left out."""
    head, *lines = (source / "events_000.txt").read_text("latin-1").splitlines(keepends=True)
    each = len(lines) // number
    return [head + "".join(lines[part * each : (part + 1) * each]) for part in range(number)]


def runs(server: Server) -> list[dict[str, Any]]:
    """Every run, the newest first, with its tags as a mapping."""
    found = server.query(RUNS)["runsOrError"]["results"]
    return [run | {"tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]


def launch(server: Server, job: str, assets: list[str] | None = None, **tags: str) -> str:
    """Ask for a run as the UI does. Returns its id."""
    selector: dict[str, Any] = {
        "repositoryLocationName": "ehr_pipeline",
        "repositoryName": "__repository__",
        "jobName": job,
    }
    if assets:
        selector["assetSelection"] = [{"path": [asset]} for asset in assets]
    listed = [{"key": f"dagster/{key}", "value": value} for key, value in tags.items()]
    answer = server.query(LAUNCH, selector=selector, tags=listed)["launchPipelineExecution"]
    if "run" not in answer:
        raise SystemExit(f"{job} could not be launched: {answer}")
    return str(answer["run"]["runId"])


def contents(store: Store) -> dict[str, str]:
    """The data version of every current artifact, after each of its files was compared with its manifest."""
    found = {}
    for asset in STAGES:
        for extract in store.partitions(asset) if asset == "raw_records" else [None]:
            if not store.has(asset, extract):
                continue
            artifact = store.current(asset, extract)
            for name, told in artifact.manifest["files"].items():
                if typed_settings.file_hash(artifact.file(name)) != told["sha256"]:
                    raise SystemExit(f"{artifact.file(name)} is not what its manifest says")
            found[f"{asset}/{extract or ''}"] = artifact.data_version
    return found


def different(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """Artifacts that are missing, superfluous or of other bytes."""
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
