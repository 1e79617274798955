"""What commands write for use elsewhere (`--out`): there whole or not at all, and nothing else beside it."""

import argparse
import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ehr_pipeline import cli
from ehr_pipeline.errors import UserError
from ehr_pipeline.planning import curate_list
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import durable, publishing
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.conftest import write_settings
from ehr_pipeline_tests.export.fitted_task import written

COMMANDS = (
    "embed",
    "assign",
    "predict",
    "release",
    "export results",
    "export model",
    "export meds",
    "find-codes a",
    "curate",
    "compare",
)
REPLACE = ("embed", "assign")
"""Those that write a file, and again over it."""


@pytest.fixture(scope="module")
def settings(tiny: Pipeline, extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    shutil.copytree(tiny.store.root, folder / "store")
    reports = {"suppress_below": 1}  # the model of so few patients is handed on
    return write_settings(folder / "settings.toml", extract, folder / "store", reports=reports)


def arguments(command: str, tiny: Pipeline, extract: Path, out: Path) -> list[str]:
    """A command line that writes `out`."""
    vectors = tiny.store.current("patient_embeddings")
    more: dict[str, dict[str, Path]] = {
        "embed": {
            "--model": tiny.store.current("encoder_checkpoint").file("checkpoint"),
            "--vectors": vectors.path,
            "--extract": extract / "landing" / EXTRACT,
        },
        "assign": {"--vectors": vectors.files("embeddings")[0]},
        "predict": of_a_task(tiny, extract, out.parents[1]) if command == "predict" else {},
        "curate": {"--review": reviewed(out.parents[1])} if command == "curate" else {},
    }
    given = {**more.get(command, {}), "--out": out}
    first = {"curate": [str(shipped("lists") / "psoriasis.csv")], "compare": ["reports.suppress_below=1"]}.get(
        command, []
    )
    return [*command.split(), *first, *(str(part) for pair in given.items() for part in pair)]


def reviewed(folder: Path) -> Path:
    """A review with one accepted concept."""
    row = "C0000001,Itch,Psoriasis,0.9,120,accept,me,2026-03-31,"
    (folder / "review.csv").write_text(",".join(curate_list.REVIEW.names) + f"\n{row}\n")
    return folder / "review.csv"


def of_a_task(tiny: Pipeline, extract: Path, folder: Path) -> dict[str, Path]:
    """What `predict` needs: the results of a task, and a file that asks for one patient."""
    if not (folder / "results").is_dir():
        (folder / "results").mkdir()
        written(tiny, folder / "results")
        (folder / "days.csv").write_text("patient_id,date\nnobody,2012-01-01\n")
    return {
        "--model": tiny.store.current("encoder_checkpoint").file("checkpoint"),
        "--results": folder / "results",
        "--task": Path("a"),
        "--extract": extract / "landing" / EXTRACT,
        "--cut": folder / "days.csv",
    }


def test_every_command_with_an_out_is_tried_here() -> None:
    (commands,) = (action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    asking = {name for name, parser in commands.choices.items() if "--out" in parser._option_string_actions}
    assert asking == {command.split()[0] for command in COMMANDS}


@pytest.mark.parametrize(
    "command",
    # The last makes the chain again.
    [*COMMANDS[:-1], pytest.param(COMMANDS[-1], marks=pytest.mark.slow)],
)
def test_nothing_is_there_until_all_of_it_is(
    command: str,
    settings: Path,
    tiny: Pipeline,
    extract: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "new folder" / "written"
    line = [*arguments(command, tiny, extract, out), "--settings", str(settings)]
    flush, seen = durable.flush, list[str]()

    def full(path: Path) -> None:
        """The disk of `--out` is full when what was written is about to be flushed to it."""
        if out.parent in path.parents:
            seen.append(path.name)
            assert not out.exists()
            assert path.exists()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        flush(path)

    with monkeypatch.context() as patched:
        patched.setattr(durable, "flush", full)
        assert cli.main(line) == cli.USER_ERROR
    assert seen
    assert "No space left on device" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []

    assert cli.main(line) == 0
    assert [path.name for path in out.parent.iterdir()] == ["written"]
    assert cli.main(line) == (0 if command in REPLACE else cli.USER_ERROR)
    assert [path.name for path in out.parent.iterdir()] == ["written"]


WRITER = """
import os, signal, sys
from pathlib import Path
from ehr_pipeline.store import publishing
with publishing.whole(Path(sys.argv[1])) as part:
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_kill_leaves_beside_goes_with_the_next_command(tmp_path: Path) -> None:
    out = tmp_path / "written"
    killed = subprocess.run([sys.executable, "-c", WRITER, str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name[:8] for path in tmp_path.iterdir()] == [".making-"] * 2, "the lock and the folder"
    with publishing.whole(tmp_path / "another") as part:
        part.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["another"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "written"
    out.write_text("before")

    def fail() -> None:
        with publishing.whole(out, replace=True) as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_a_link_stays_one_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    out, target = tmp_path / "link", tmp_path / "elsewhere" / "file"
    target.write_text("before")
    out.symlink_to(target)
    with publishing.whole(out, replace=True) as part:
        part.write_text("after")
    assert out.is_symlink()
    assert target.read_text() == "after"


@pytest.mark.parametrize("replace", [False, True])
def test_a_pipe_or_a_device_is_never_replaced(tmp_path: Path, replace: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a named pipe"), (Path("/dev/null"), "a device")):
        with pytest.raises(UserError, match=kind), publishing.whole(path, replace=replace):
            pytest.fail("nothing is to be written")
    with pytest.raises(UserError, match=r"is a folder|already exists"), publishing.whole(tmp_path, replace=replace):
        pytest.fail("nothing is to be written")


def test_who_is_second_overwrites_nothing(tmp_path: Path) -> None:
    out = tmp_path / "written"

    def write() -> None:
        with publishing.whole(out) as part:
            part.write_text("second")
            out.write_text("first")

    with pytest.raises(UserError, match="already exists"):
        write()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["first"]
