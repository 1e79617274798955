"""Work for the tests of engines: it notes when it begins, and waits until it is let go."""

import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ehr_pipeline.errors import UserError
from ehr_pipeline.work import jobs
from ehr_pipeline.work.progress import Progress


@dataclass(frozen=True)
class Bucket:
    """One piece of work."""

    folder: Path
    number: int
    waits: bool = False
    fails: str = ""

    @property
    def begun(self) -> list[Path]:
        """A note for each time that it began: the process id is in it."""
        return [path for path in self.folder.glob(f"{self.number}-*") if path.read_text()]


def square(bucket: Bucket) -> int:
    """The number's square."""
    (bucket.folder / f"{bucket.number}-{uuid.uuid4().hex}").write_text(str(os.getpid()))
    while bucket.waits and not (bucket.folder / "go").exists():
        time.sleep(0.05)
    if bucket.fails == "user":
        raise UserError(f"bucket {bucket.number} has no column 'code'")
    if bucket.fails:
        raise RuntimeError("the disk is full")
    return bucket.number**2


def nothing(job: int) -> int:
    """No work at all."""
    return job


@dataclass(frozen=True, kw_only=True)
class Counting(jobs.Job):
    """Counts to ten, one step a file, so a new attempt goes on where the last ended."""

    module: ClassVar[str] = "ehr_pipeline_tests.engines.work"
    folder: Path
    waits: bool = False
    fails: str = ""


def run(job: Counting) -> None:
    """A heavy job of several processes."""
    import torch
    import torch.distributed as dist

    if jobs.world_size() > 1:
        dist.init_process_group("gloo")
    folder = job.folder
    (folder / f"pid-{jobs.rank()}-{uuid.uuid4().hex}").write_text(str(os.getpid()))
    if job.fails == "user":
        raise UserError("encoder.learning_rate is too high")
    if job.fails:
        raise RuntimeError("the disk is full")
    progress = Progress("counting", 10, interval=0)
    first = len(list(folder.glob("step-*")))
    for step in range(first, 10):
        total = torch.tensor([jobs.rank() + 1])
        if jobs.world_size() > 1:
            dist.all_reduce(total)
        if jobs.rank() == 0:
            (folder / f"step-{step:02d}").write_text(f"{total.item()}")
            progress.advance(1)
        while step == 4 and job.waits and not (folder / "go").exists():
            time.sleep(0.05)
    if jobs.world_size() > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    jobs.main(run)
