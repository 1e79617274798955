"""A store with a few artifacts, and a place for its mirror: a folder, and a bucket of a real local S3 server (moto's)."""

import dataclasses
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.checks import withdrawn_patients
from ehr_pipeline.mirror.index import INDEX, grouped
from ehr_pipeline.mirror.object_store import Mirror
from ehr_pipeline.records import catalog
from ehr_pipeline.store.artifacts import Recipe, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline_tests.conftest import tiny_settings

ALL = 6
"""Artifacts of `fill`."""

KILLED = """
import sys, time
from pathlib import Path
from ehr_pipeline.study import settings
from ehr_pipeline.mirror import object_store, pull, push
study = settings.validate(__import__("json").loads(sys.argv[1]), base=Path("/"))
object_store.THREADS = 1
name = sys.argv[3]
if name == "_go_on":  # once for each block
    object_store.BLOCK = 100
left, work = [int(sys.argv[4])], getattr(object_store.Mirror, name)
def some(*arguments):
    left[0] -= 1
    if left[0] < 0:
        print("there", flush=True)
        time.sleep(600)
    return work(*arguments)
setattr(object_store.Mirror, name, some)
{"push": push.push, "pull": pull.pull}[sys.argv[2]](study)
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of an S3 server of our own."""
    own = Path(__file__).parents[2] / ".moto" / "bin"
    command = shutil.which("moto_server", path=f"{own}{os.pathsep}{os.environ['PATH']}")
    if command is None:
        pytest.skip("moto_server is neither in .moto (see .ci/run) nor on the PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = f"127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [command, "-H", "127.0.0.1", "-p", str(port)], stdout=out, stderr=subprocess.STDOUT, env=environment
        )
        try:
            for _ in range(600):
                if answers(place):
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield place
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def answers(place: str) -> bool:
    try:
        return asked(place, "GET", "/moto-api/") == 200
    except OSError:
        return False


def asked(place: str, method: str, path: str, body: str = "") -> int:
    """What a server answers."""
    connection = http.client.HTTPConnection(place, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "text/plain"})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def bucket(server: str, credentials: None) -> str:
    """An empty bucket, as a URI with options."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    assert asked(server, "PUT", f"/{name}") == 200
    return f"s3://{name}/studies/a%20study?endpoint_override={server}&scheme=http"


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for a mirror."""
    return request.getfixturevalue("bucket") if request.param == "s3" else in_folder(tmp_path)


def in_folder(tmp_path: Path) -> str:
    return f"file://{tmp_path}/a mirror"


def study_at(tmp_path: Path, name: str, uri: str, **overrides: dict[str, object]) -> Study:
    """A study whose store is a folder of this name."""
    given = {"study": {"store": str(tmp_path / name), "mirror": uri}} | overrides
    return tiny_settings(tmp_path / "extract", **given)


def put(
    study: Study, asset: str, inputs: dict[str, str], n: int = 1, partition: str | None = None, text: str = ""
) -> None:
    """Publish a small artifact as the pipeline does."""
    store = Store(study.study.store)

    def build(out: Path) -> dict[str, int]:
        (out / "events").mkdir()
        for bucket in range(6):
            (out / "events" / f"{bucket:04}.arrow").write_text(f"{asset} {n} {bucket} {text}" * 50)
        (out / "empty.csv").write_text("")
        (out / "nothing").mkdir()
        (out / "notes").mkdir()
        (out / "notes" / "removals.json").write_text("[]")
        return {"rows_in": 1, "kept": 1}

    settings = ASSETS[asset].deciding_settings(study) if asset == "raw_records" else {"n": n}
    population = withdrawn_patients.population(asset, store, study)
    store.make(Recipe(asset, "1", settings | {"n": n}, inputs, partition, population), build)


def fill(study: Study, extracts: tuple[str, ...] = ("2024-01", "2024-02"), n: int = 1) -> Store:
    """A chain of small artifacts."""
    store = Store(study.study.store)
    for extract in extracts:
        put(study, "raw_records", {"text": extract}, n, extract, text=extract)
    put(study, "extract_catalog", catalog.versions(store, study.records.mode), n)
    put(study, "mapped_events", {"extract_catalog": store.current("extract_catalog").data_version}, n)
    put(study, "encoder_checkpoint", {"mapped_events": store.current("mapped_events").data_version}, n)
    put(study, "clusters", {"mapped_events": store.current("mapped_events").data_version}, n)
    return store


def content(store: Store) -> dict[str, bytes | None]:
    """Everything in a store that is no lock and no mark; folders are None."""
    paths = [
        path for path in sorted(store.root.rglob("*")) if ".mirror" not in path.name and path.suffix != ".verified"
    ]
    return {path.relative_to(store.root).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}


def indexed(uri: str) -> set[str]:
    """The artifacts of a mirror, by folder."""
    found = grouped(Mirror.at(uri).files(""))
    return {folder for folder, objects in found.items() if INDEX in objects}


def objects(uri: str) -> dict[str, int]:
    return Mirror.at(uri).files("")


def kill(study: Study, command: str, method: str, after: int) -> None:
    """SIGKILL a push or a pull in the middle of it, after some files."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, json.dumps(dataclasses.asdict(study)), command, method, str(after)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "there\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
