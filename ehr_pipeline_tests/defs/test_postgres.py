"""Dagster's state in a real PostgreSQL, by the line that docs/deployment.md gives, with eight processes at once."""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehr_pipeline_tests.processes import free_port, until

TOP = Path(__file__).parents[2]
PROCESSES = 8
RUN = """
import dagster as dg

@dg.op
def busy(context):
    for number in range(50):
        context.log.info(f"line {number}")

@dg.job
def job():
    busy()

with dg.DagsterInstance.get() as instance:
    assert "Postgres" in type(instance.event_log_storage).__name__
    for _ in range(3):
        assert job.execute_in_process(instance=instance).success
"""


def binaries() -> Path | None:
    """Where Debian puts initdb and postgres."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(binaries() is None, reason="there is no PostgreSQL (Debian: apt-get install postgresql)"),
    pytest.mark.skipif(
        importlib.util.find_spec("dagster_postgres") is None, reason="the extra 'postgres' is not installed"
    ),
]


@pytest.fixture
def database() -> Iterator[str]:
    """A server of its own, as a user who is not root; the address of its database."""
    folder = Path(tempfile.mkdtemp(prefix="ehr-pg-"))
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    as_user = {"user": user} if os.geteuid() == 0 else {}
    if as_user:
        shutil.chown(folder, user)
    bin_folder, port = binaries(), free_port()
    assert bin_folder is not None
    subprocess.run(
        [str(bin_folder / "initdb"), "-D", str(folder / "data"), "-U", "ehr", "-A", "trust", "--no-sync"],
        check=True,
        capture_output=True,
        **as_user,  # type: ignore[call-overload]
    )
    server = subprocess.Popen(
        [
            str(bin_folder / "postgres"),
            "-D",
            str(folder / "data"),
            "-p",
            str(port),
            "-k",
            str(folder),
            "-h",
            "127.0.0.1",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **as_user,  # type: ignore[call-overload]
    )
    ready = [str(bin_folder / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
    try:
        assert until(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, 60)
        yield f"postgresql+psycopg2://ehr@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(60)
        shutil.rmtree(folder)


def test_eight_processes_at_once_lose_no_run_and_no_line(database: str, tmp_path: Path) -> None:
    page = (TOP / "docs/deployment.md").read_text(encoding="utf-8")
    lines = re.findall(r"```yaml\n(storage:.*?)\n```", page)
    assert len(lines) == 1
    ours = (TOP / "dagster.yaml").read_text(encoding="utf-8")
    changed = re.sub(r"^storage:.*$", lines[0], ours, flags=re.MULTILINE)
    assert changed != ours
    (tmp_path / "dagster.yaml").write_text(changed)
    environment = os.environ | {
        "DAGSTER_HOME": str(tmp_path),
        "EHR_STATE_DIR": str(tmp_path / "state"),
        "EHR_POSTGRES_URL": database,
    }
    processes = [
        subprocess.Popen([sys.executable, "-c", RUN], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    for process in processes:
        told = process.communicate(timeout=300)[1]
        assert process.returncode == 0, told[-3000:]
    count = (
        "import dagster as dg\n"
        "with dg.DagsterInstance.get() as instance:\n"
        "    runs = instance.get_runs()\n"
        "    lines = [sum('line ' in e.user_message for e in instance.all_logs(run.run_id)) for run in runs]\n"
        "    print(len(runs), set(lines), {run.status.value for run in runs})\n"
    )
    counted = subprocess.run(
        [sys.executable, "-c", count], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert counted.strip() == f"{3 * PROCESSES} {{50}} {{'SUCCESS'}}"
