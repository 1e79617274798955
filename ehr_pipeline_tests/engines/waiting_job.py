"""A job for the tests of launchers: notes its process id, then waits, fails, or is killed, as the job says."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ehr_pipeline.work import jobs


@dataclass(frozen=True, kw_only=True)
class Waiting(jobs.Job):
    module: ClassVar[str] = "ehr_pipeline_tests.engines.waiting_job"
    folder: Path
    then: str


def run(job: Waiting) -> None:
    folder, alone = job.folder, jobs.world_size() == 1
    attempt = len(list(folder.glob("*-0"))) if alone else int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    last = jobs.world_size() - 1
    (folder / f"{attempt}-{jobs.rank()}").write_text(str(os.getpid()))
    while len(list(folder.glob(f"{attempt}-*"))) < jobs.world_size():
        time.sleep(0.05)
    if job.then == "fail" and jobs.rank() == last:
        raise RuntimeError("the disk is full")
    if job.then == "be killed once":
        if attempt == 0 and jobs.rank() == last:
            os.kill(os.getpid(), signal.SIGKILL)
        if attempt == 1:
            return
    time.sleep(60)


if __name__ == "__main__":
    jobs.main(run)
