"""Disks that are full, folders that may not be written to, inputs that change: a clear error, and what was there before stays."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ehr_pipeline import cli
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Recipe, Store
from ehr_pipeline.store.watched_inputs import Watched
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.work.buckets import map_buckets
from ehr_pipeline_tests.conftest import tiny_settings, write_settings

pytestmark = pytest.mark.slow

CHAIN = """
import resource
import sys
from pathlib import Path
from ehr_pipeline.study import settings
from ehr_pipeline.errors import UserError
from ehr_pipeline.runs.pipeline import Pipeline
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
    pipeline = Pipeline(settings.load(Path(sys.argv[1])))
    try:
        pipeline.make(sys.argv[2], until="patient_dataset")
    except UserError as error:
        print(error)
"""


def limited(settings: Path, size: int) -> str:
    """What the data chain prints in a process that may not write larger files than `size`."""
    done = subprocess.run(
        [sys.executable, "-c", CHAIN, str(settings), EXTRACT, str(size)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
    return done.stdout


@pytest.mark.parametrize(
    ("size", "asset", "workers"), [(4_000, "raw_records", 1), (300_000, "raw_records", 5), (60_000, "mapped_events", 1)]
)
def test_files_that_cannot_grow(extract: Path, tmp_path: Path, size: int, asset: str, workers: int) -> None:
    store = tmp_path / "store"
    settings = write_settings(
        tmp_path / "s.toml", extract, store, records={"workers": workers}, events={"workers": workers}
    )
    if asset != "raw_records":
        Pipeline(tiny_settings(extract, study={"store": str(store)}, records={"workers": 1})).raw_records(EXTRACT)
    told = limited(settings, size)
    assert told.startswith(f"{asset} could not be built in {store}")
    assert "Nothing was published" in told
    assert not Store(store).partitions("raw_records") if asset == "raw_records" else not Store(store).has(asset)
    assert not list(store.rglob(".making-*-*")), "nothing half made is left"
    assert limited(settings, resource.RLIM_INFINITY) == "", "with room again, the run goes through"
    assert Store(store).has("patient_dataset")
    assert [path.name for path in store.rglob(".*")] == [".key"]


def test_a_store_whose_key_cannot_be_written(extract: Path, tmp_path: Path) -> None:
    settings = write_settings(tmp_path / "s.toml", extract, tmp_path / "store")
    assert limited(settings, 0).startswith(f"{tmp_path / 'store/.key'}: the key of the store cannot be written: ")


# The data chain on a small disk, in a mount namespace of its own: before each asset the disk is filled to the last byte.
FULL_DISK = """
import json, subprocess, sys
from pathlib import Path
from ehr_pipeline.study import settings
from ehr_pipeline.errors import UserError
from ehr_pipeline.runs.pipeline import Pipeline
if __name__ == "__main__":
    disk, ballast = Path(sys.argv[2]), Path(sys.argv[2]) / "ballast"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)], check=True)
    pipeline, made = Pipeline(settings.load(Path(sys.argv[1]))), {}
    assets = {"raw_records": [sys.argv[3]], "extract_catalog": [], "mapped_events": [], "vocabulary": [], "patient_dataset": []}
    for asset, extract in assets.items():
        for room in (0, 8192):
            with ballast.open("wb", buffering=0) as stream:
                try:
                    while True:
                        stream.write(bytes(4096))
                except OSError:
                    stream.truncate(ballast.stat().st_size - room)
            try:
                getattr(pipeline, asset)(*extract)
            except UserError as error:
                print(error)
            else:
                assert asset == "extract_catalog" and room, asset
        ballast.unlink()
        made[asset] = getattr(pipeline, asset)(*extract).data_version
        assert [path.name for path in disk.rglob(".*")] == [".key"]
    print(json.dumps(made))
"""


OWN_MOUNTS = [str(shutil.which("unshare")), "--user", "--map-root-user", "--mount"]


def may_mount() -> bool:
    """Whether a process of this user may mount a disk that only it sees."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*OWN_MOUNTS, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="no namespaces: a disk of its own cannot be mounted")
def test_a_disk_that_is_full_before_each_asset(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    file = write_settings(tmp_path / "s.toml", extract, disk / "store")
    done = subprocess.run(
        [
            *OWN_MOUNTS,
            sys.executable,
            "-c",
            FULL_DISK,
            str(file),
            str(disk),
            EXTRACT,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *told, made = done.stdout.splitlines()
    assert all("No space left on device" in line for line in told)
    assert "the key of the store cannot be written" in told[0]
    assert all("Nothing was published" in line for line in told[1:])
    assert [line.split()[0] for line in told].count("mapped_events") == 2
    for asset, version in json.loads(made).items():
        assert version == tiny.store.current(asset, EXTRACT if asset == "raw_records" else None).data_version


def test_a_full_disk_leaves_what_was_current(
    extract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    pipeline = Pipeline(tiny_settings(extract, study={"store": str(tmp_path)}))
    before = pipeline.raw_records(EXTRACT)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ehr_pipeline.tables.schemas.write", full)
    other = Pipeline(tiny_settings(extract, study={"store": str(tmp_path)}, records={"buckets": 8}))
    with pytest.raises(
        UserError, match=r"No space left on device. Make room there, or set study.store to another disk"
    ):
        other.raw_records(EXTRACT)
    assert store.current("raw_records", EXTRACT).data_version == before.data_version


def test_a_store_that_may_not_be_written_to(extract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", forbidden)  # tests may run as a user who may write everywhere
    pipeline = Pipeline(tiny_settings(extract, study={"store": str(tmp_path / "store")}))
    with pytest.raises(UserError, match=r"raw_records could not be built .*Permission denied .*Change the permissions"):
        pipeline.raw_records(EXTRACT)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission(extract: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        Pipeline(tiny_settings(extract, study={"store": str(tmp_path / "store")})).raw_records(EXTRACT)


def test_a_damaged_manifest_is_told(tmp_path: Path) -> None:
    made = Store(tmp_path).make(Recipe("vocabulary", "1", {}, {}), lambda out: {"rows_in": 0, "kept": 0})
    made.file("manifest.json").write_text("{")
    with pytest.raises(
        UserError, match=r"manifest.json: .* \(it is torn or damaged\), so vocabulary is not used. To rebuild it"
    ):
        Store(tmp_path).current("vocabulary")


@pytest.mark.parametrize("change", [lambda path: path.write_text("other text"), Path.unlink])
def test_an_input_that_is_not_what_it_was(tmp_path: Path, change: Callable[[Path], object]) -> None:
    path = tmp_path / "MRSTY.RRF"
    path.write_text("text")
    store, asset = Store(tmp_path / "store"), Recipe("vocabulary", "1", {}, {})

    def build(out: Path) -> dict[str, int]:
        change(path)
        return {"rows_in": 0, "kept": 0}

    with pytest.raises(InputError, match=r"MRSTY.RRF: .*then run again"):
        store.make(asset, Watched.of([path]).guard(build))
    assert not store.has("vocabulary")


def test_an_extract_that_changes_while_it_is_read(
    extract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was read already grows while the last one is read: the artifact would not be what its fingerprint says."""
    from ehr_pipeline.records import build

    landing = tmp_path / "landing" / EXTRACT
    landing.mkdir(parents=True)
    for path in (extract / "landing" / EXTRACT).iterdir():
        (landing / path.name).write_bytes(path.read_bytes())
    study = tiny_settings(
        extract, study={"store": str(tmp_path / "store")}, records={"landing": str(tmp_path / "landing")}
    )
    first = Pipeline(study).raw_records(EXTRACT)
    (landing / "patients.txt").touch()
    shuffle = build.shuffle_events

    def late(*arguments: object) -> int:
        with (landing / "patients.txt").open("ab") as stream:
            stream.write(b"\n")
        return shuffle(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "shuffle_events", late)
    with pytest.raises(InputError, match=r"patients.txt: the file changed while it was in use"):
        Pipeline(study).raw_records(EXTRACT)
    assert Store(tmp_path / "store").current("raw_records", EXTRACT).path == first.path


def _dies(job: int) -> int:
    os.kill(os.getpid(), 9)
    return job


def test_a_worker_that_is_killed_is_told() -> None:
    with pytest.raises(
        UserError, match=r"sorting: a worker was killed, most likely because memory ran out. Set fewer workers"
    ):
        map_buckets(_dies, [1, 2], 5, "sorting")


def test_the_command_line_shows_no_traceback_of_the_operating_system(
    extract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/a/folder")

    monkeypatch.setattr("ehr_pipeline.defs.run.run", forbidden)
    path = write_settings(tmp_path / "s.toml", extract, tmp_path / "store")
    assert cli.main(["run", "--settings", str(path)]) == 2
    assert capsys.readouterr().err.endswith("error: /a/folder: Permission denied\n")


def test_the_check_tells_every_file_that_is_no_text(
    extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    landing = tmp_path / "landing" / EXTRACT
    landing.mkdir(parents=True)
    (landing / "events_1.txt").write_bytes(b"PK\x03\x04")
    (landing / "events_2.txt").write_bytes("patient_id\n".encode("utf-16"))
    (landing / "patients.txt").write_bytes(b"\x1f\x8b")
    settings = write_settings(
        tmp_path / "s.toml", extract, tmp_path / "store", records={"landing": str(tmp_path / "landing")}
    )
    assert cli.main(["check", "--settings", str(settings)]) == 2
    told = capsys.readouterr().err
    for part in ("3 problems", "zip archive", "that of utf-16", "the gzip stream is damaged or cut off"):
        assert part in told
