"""What was listed or hashed is what is read: every change between the two is an error, and nothing is published."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.store.watched_inputs import Watched


def test_the_state_changes_with_a_file(tmp_path: Path) -> None:
    path = tmp_path / "input.txt"
    path.write_text("one")
    before = Watched.of([path])
    assert Watched.of([path]).hash(tmp_path) == before.hash(tmp_path)
    path.write_text("three")
    assert Watched.of([path]).hash(tmp_path) != before.hash(tmp_path)
    assert Watched.of([path]).hashes() != before.hashes()
    assert before.sizes == [3], "as it was when it was listed"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"MRSTY.RRF: No such file or directory. Put the file in place"):
        Watched.of([tmp_path / "MRSTY.RRF"])


def grows(folder: Path) -> None:
    with (folder / "a.txt").open("a") as stream:
        stream.write("more")


def is_replaced(folder: Path) -> None:
    (folder / "other").write_text("text of another")
    os.utime(folder / "other", (1, 1))
    (folder / "other").replace(folder / "a.txt")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "grows": (grows, "a.txt: the file changed while it was in use"),
    "replaced": (is_replaced, "a.txt: the file changed while it was in use"),
    "touched": (lambda folder: os.utime(folder / "b.txt", (1, 1)), "b.txt: the file changed"),
    "removed": (lambda folder: (folder / "a.txt").unlink(), "a.txt: the file disappeared while it was in use"),
    "landed": (
        lambda folder: (folder / "c.txt").write_text(""),
        "c.txt: the file appeared while the others were in use",
    ),
    "renamed": (lambda folder: (folder / "a.txt").rename(folder / "c.txt"), "a.txt: the file disappeared"),
    "folder_gone": (lambda folder: shutil.rmtree(folder), "the file disappeared"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fails", [False, True])
def test_every_change_ends_the_work(tmp_path: Path, change: str, fails: bool) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("text")
    does, says = CHANGES[change]

    def build(out: Path) -> dict[str, int]:
        does(folder)
        if fails:  # as a reader does that meets half a file: the change is why, and is what is said
            raise ZeroDivisionError
        return {"rows_in": 0}

    def find() -> list[Path]:
        return sorted(folder.glob("*.txt"))

    with pytest.raises(InputError, match=says.replace(".", r"\.")):
        Watched.of(find(), find).guard(build)(tmp_path)


def test_without_a_change_the_work_is_done_and_its_own_error_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    watched = Watched.of([tmp_path / "a.txt"], lambda: tmp_path.glob("*.txt"))
    assert watched.guard(lambda out: {"rows_in": 1})(tmp_path) == {"rows_in": 1}

    def fails(out: Path) -> dict[str, int]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        watched.guard(fails)(tmp_path)


def test_random_changes_are_noticed_and_nothing_else(tmp_path: Path) -> None:
    """Any set of files before and after: an error exactly where names, sizes or times differ."""
    rng = random.Random(3)
    for number in range(200):
        folder = tmp_path / str(number)
        folder.mkdir()

        def state(at: Path = folder) -> dict[str, tuple[int, int]]:
            return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in at.glob("*.txt")}

        def write(at: Path = folder) -> None:
            path = at / f"{rng.randrange(4)}.txt"
            if rng.random() < 0.3:
                path.unlink(missing_ok=True)
            else:
                path.write_text("x" * rng.randrange(3))
                os.utime(path, ns=(0, rng.randrange(3)))

        for _ in range(rng.randrange(6)):
            write()
        before, watched = state(), Watched.of(sorted(folder.glob("*.txt")), lambda at=folder: sorted(at.glob("*.txt")))  # type: ignore[misc]
        for _ in range(rng.randrange(3)):
            write()
        assert bool(watched.changed()) == (state() != before)
