"""A job for the tests of launchers: notes its process id, then waits, fails, or is killed, as the job says."""

import os
import signal
import time
from pathlib import Path

from ehr_pipeline.work import jobs


def run(job: jobs.Job) -> None:
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    folder = Path(job["folder"])
    (folder / f"{attempt}-{jobs.rank()}").write_text(str(os.getpid()))
    while len(list(folder.glob(f"{attempt}-*"))) < jobs.world_size():
        time.sleep(0.05)
    if job["then"] == "fail" and jobs.rank() == 1:
        raise RuntimeError("the disk is full")
    if job["then"] == "be killed once":
        if attempt == 0 and jobs.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if attempt == 1:
            return
    time.sleep(60)


if __name__ == "__main__":
    jobs.main(run)
