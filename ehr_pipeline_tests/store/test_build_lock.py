"""One maker at a time, and nothing left of killed ones."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ehr_pipeline.errors import MissingArtifact
from ehr_pipeline.store import build_lock
from ehr_pipeline.store.artifacts import Recipe, Store

MAKER = """
import sys, time
from pathlib import Path
from ehr_pipeline.store.artifacts import Recipe, Store
def build(out):
    (out / "half.txt").write_text("half")
    print("making", flush=True)
    time.sleep(60)
Store(Path(sys.argv[1])).make(Recipe("vocabulary", "1", {"n": int(sys.argv[2])}, {}), build)
"""


POOL = """
import os, time
from ehr_pipeline.work.buckets import map_buckets
def work(job):
    os.write(1, f"{os.getpid()}\\n".encode())  # in one piece: five processes write to one pipe
    time.sleep(60)
if __name__ == "__main__":
    map_buckets(work, range(9), 5, "waiting")
"""


def recipe(n: int) -> Recipe:
    return Recipe("vocabulary", "1", {"n": n}, {})


def build(out: Path) -> dict[str, int]:
    (out / "data.txt").write_text("whole")
    return {"rows_in": 1, "kept": 1}


def maker(store: Path, n: int) -> "subprocess.Popen[str]":
    """A process that is in the middle of making an artifact."""
    process = subprocess.Popen([sys.executable, "-c", MAKER, str(store), str(n)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "making\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def hidden(store: Path) -> list[str]:
    return sorted(path.name for path in (store / "vocabulary/vocabulary").iterdir() if path.name.startswith("."))


@pytest.mark.parametrize("other", [False, True])
def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path, other: bool) -> None:
    """Also where the next run makes another artifact, since the settings were changed meanwhile."""
    end(maker(tmp_path, 1))
    assert len(hidden(tmp_path)) == 2, "the lock and the folder"
    with pytest.raises(MissingArtifact):
        Store(tmp_path).current("vocabulary")
    assert not Store(tmp_path).make(recipe(2 if other else 1), build).skipped
    assert hidden(tmp_path) == []


SCRATCH = """
import sys, time
from pathlib import Path
from ehr_pipeline.store import build_lock as workspace
with workspace.scratch(Path(sys.argv[1])) as folder:
    (folder / "half.txt").write_text("half")
    print("making", flush=True)
    time.sleep(60)
"""


def test_scratch_goes_at_the_end_and_after_a_kill_with_the_next_artifact(tmp_path: Path) -> None:
    with build_lock.scratch(tmp_path / "new") as folder:
        (folder / "half.txt").write_text("half")
        build_lock.sweep(tmp_path / "new")
        assert folder.is_dir(), "it is in use"
    assert list((tmp_path / "new").iterdir()) == []

    process = subprocess.Popen(
        [sys.executable, "-c", SCRATCH, str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "making\n"
    store = Store(tmp_path / "store")
    store.make(recipe(1), build)
    assert list(store.root.glob(".making-*/half.txt")), "its process lives"
    end(process)
    assert store.make(recipe(1), build).skipped
    assert [path.name for path in store.root.iterdir()] == ["vocabulary"]


def test_what_another_user_left_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / ".making-ab.lock"
    left.touch()

    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(build_lock, "_lock", closed)
    build_lock.sweep(tmp_path)
    assert left.is_file()


def test_what_a_running_process_makes_is_left_alone(tmp_path: Path) -> None:
    process = maker(tmp_path, 1)
    try:
        before = hidden(tmp_path)
        Store(tmp_path).make(recipe(2), build)
        assert hidden(tmp_path) == before
    finally:
        end(process)


def test_who_asks_for_the_same_artifact_waits_says_so_and_finds_it_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started, go, made = threading.Event(), threading.Event(), []

    def slow(out: Path) -> dict[str, int]:
        started.set()
        go.wait(10)
        return build(out)

    first = threading.Thread(target=lambda: made.append(Store(tmp_path).make(recipe(1), slow)))
    first.start()
    started.wait(10)
    second = threading.Thread(target=lambda: made.append(Store(tmp_path).make(recipe(1), build)))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    assert (
        f"another run is building {recipe(1).asset}; waiting for it to end (Ctrl-C leaves it to that run)"
        in caplog.text
    )
    go.set()
    first.join(10)
    second.join(10)
    assert sorted(artifact.skipped for artifact in made) == [False, True]
    assert hidden(tmp_path) == []


def test_where_the_file_system_knows_no_locks_nothing_of_others_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(maker(tmp_path, 1))

    def unsupported(*_: object) -> None:
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(build_lock.fcntl, "flock", unsupported)
    Store(tmp_path).make(recipe(1), build)
    assert any(name.startswith(".making-") for name in hidden(tmp_path))
    assert Store(tmp_path).current("vocabulary").file("data.txt").read_text() == "whole"


def test_workers_end_with_their_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    workers = [int(process.stdout.readline()) for _ in range(5)]
    process.kill()
    try:
        process.communicate(timeout=30)  # the output ends when no process holds it any more
    except subprocess.TimeoutExpired:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        pytest.fail("workers outlived their parent")
