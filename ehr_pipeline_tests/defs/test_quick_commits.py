"""Commits to Dagster's databases during a run."""

import sqlite3
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as db
from sqlalchemy.pool import NullPool

from ehr_pipeline.defs import run
from ehr_pipeline.defs.quick_commits import quick_commits
from ehr_pipeline.defs.study import build_study
from ehr_pipeline.runs.run_outcome import RunOutcome
from ehr_pipeline.study import settings
from ehr_pipeline.terminology.shipped import shipped

NORMAL = 1


def waits(path: Path, *statements: str) -> int:
    """Execute statements on a connection of their own, as Dagster does. Returns how long its commits wait for the disk."""
    with db.create_engine(f"sqlite:///{path}", poolclass=NullPool).connect() as connection, connection.begin():
        for statement in statements:
            connection.execute(db.text(statement))
        return int(connection.execute(db.text("PRAGMA synchronous")).scalar_one())


def test_the_log_is_copied_into_the_database_once_at_the_end(tmp_path: Path) -> None:
    path, log = tmp_path / "events.db", tmp_path / "events.db-wal"
    with quick_commits():
        waits(path, "PRAGMA journal_mode = WAL")
        assert waits(path, "CREATE TABLE events (text)", "INSERT INTO events VALUES ('first')") == NORMAL
        size, lying = path.stat().st_size, log.stat().st_size
        waits(path, "INSERT INTO events VALUES ('second')")
        assert path.stat().st_size == size
        assert log.stat().st_size > lying > 0
    assert not log.exists()
    assert waits(path) != NORMAL
    with db.create_engine(f"sqlite:///{path}").connect() as connection:
        assert connection.execute(db.text("SELECT text FROM events")).scalars().all() == ["first", "second"]


def test_a_database_that_another_connection_has_locked_is_left_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    engine = db.create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 0})
    with quick_commits():
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
        other.close()
        assert waits(path) == NORMAL


def test_a_run_commits_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    study = settings.load(shipped("demo/settings.toml"), {"study": {"store": str(tmp_path / "store")}})
    monkeypatch.setattr(run, "ensure_home", lambda: None)
    monkeypatch.setattr(
        run, "_run", lambda *_: found.append(waits(tmp_path / "events.db")) or RunOutcome(problems=["x"])
    )
    run.run(study, "vocabulary")
    assert found == [NORMAL]


def test_a_run_of_the_ui_commits_quickly_until_it_ends(tmp_path: Path) -> None:
    study = settings.load(shipped("demo/settings.toml"), {"study": {"store": str(tmp_path / "store")}})

    @dg.op(required_resource_keys={"pipeline"})
    def ask() -> int:
        with quick_commits():  # as in a run from the command line, which has begun it before
            pass
        return waits(tmp_path / "events.db")

    @dg.job(resource_defs={"pipeline": build_study(study)})
    def job() -> None:
        ask()

    assert job.execute_in_process().output_for_node("ask") == NORMAL
    assert waits(tmp_path / "events.db") != NORMAL
