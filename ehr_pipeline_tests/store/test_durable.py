"""A file that a job writes appears complete or not at all."""

from pathlib import Path

import pytest

from ehr_pipeline.store import durable


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "part.arrow"
    with durable.complete(path) as beside:
        beside.write_text("half")
        assert not path.exists()
        assert not list(path.parent.glob("*.arrow")), "nor does anybody who lists such files see it"
    assert path.read_text() == "half"


def fail_halfway(path: Path) -> None:
    with durable.complete(path) as beside:
        beside.write_text("half")
        raise OSError("the disk is full")


def test_a_file_that_fails_leaves_the_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "part.arrow"
    path.write_text("before")
    with pytest.raises(OSError, match="full"):
        fail_halfway(path)
    assert path.read_text() == "before"
