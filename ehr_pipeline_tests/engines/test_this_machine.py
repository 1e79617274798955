"""Buckets on processes of this machine: whatever ends the process of the run, none of them stays."""

import signal
import sys
from pathlib import Path

import pytest

from ehr_pipeline_tests.engines.disturbing import start_client
from ehr_pipeline_tests.processes import alive, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
CLIENT = """
import sys
from pathlib import Path
from ehr_pipeline.engines import engine_for
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline_tests.engines.work import Bucket, square
if __name__ == "__main__":
    buckets = [Bucket(Path(sys.argv[1]), number, waits=True) for number in range(WORKERS + 1)]
    engine_for(LauncherSettings(), Path(sys.argv[1])).spread(square, buckets, WORKERS, "squares")
"""


@pytest.mark.parametrize(("sign", "workers"), [(signal.SIGKILL, 5), (signal.SIGINT, 30)], ids=["killed", "interrupted"])
def test_the_end_of_the_run_ends_its_workers(tmp_path: Path, sign: signal.Signals, workers: int) -> None:
    """Also where the run is interrupted while most of its workers are only starting: it waited for them for ever."""
    client, working = start_client(CLIENT.replace("WORKERS", str(workers)), tmp_path, lapse=0)
    client.send_signal(sign)
    if sign == signal.SIGINT:
        (tmp_path / "go").touch()  # buckets that are under way are done to their end
    assert client.wait(60) != 0
    assert until(lambda: not any(map(alive, working)), 30)
