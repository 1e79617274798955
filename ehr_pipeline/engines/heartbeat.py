"""End a Slurm job if the process that sent it is gone: `python -m ehr_pipeline.engines.heartbeat FOLDER SECONDS`, in the job's
script.

While the sender lives, it increments a counter in a file of the folder. Only this machine's clock measures how long the counter has
not changed, so clocks may differ between machines. In Kubernetes, `engines.pod` reads the same file. Uses the standard library
only.
"""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ehr_pipeline.work.progress import repeated

COUNT, LAPSED = "alive", "lapsed"


@contextmanager
def beating(folder: Path, lapse: float) -> Iterator[None]:
    """Increment the counter in the folder ten times per `lapse` seconds, until the end of the block."""
    count = itertools.count(1)

    def beat() -> None:
        (folder / COUNT).write_text(str(next(count)), encoding="ascii")

    beat()
    with repeated(lapse / 10, beat):
        yield


class Watch:
    """Watches the counter of a sender, from another machine."""

    def __init__(self, folder: Path, lapse: float):
        self._folder, self._lapse, self._seen, self._since = folder, lapse, "", time.monotonic()
        self.pause = min(1.0, lapse / 10)
        """Seconds between two checks."""

    def lapsed(self) -> bool:
        """Return whether the counter has not changed for too long. If so, print a line, and mark the folder if it still exists."""
        try:
            count = (self._folder / COUNT).read_text(encoding="ascii")
        except OSError:
            count = ""  # the sender is gone with its folder, or the disk does not answer
        if count and count != self._seen:
            self._seen, self._since = count, time.monotonic()
        if time.monotonic() - self._since <= self._lapse:
            return False
        print(
            f"the process that submitted this job has sent no heartbeat for {self._lapse:g} s: the job ends", flush=True
        )
        if self._folder.is_dir():
            (self._folder / LAPSED).touch()
        return True


def main(folder: Path, lapse: float) -> None:
    """Cancel the job once the counter has not changed for `lapse` seconds; or return when the script has ended."""
    script, watch = os.getppid(), Watch(folder, lapse)
    while os.getppid() == script:
        if watch.lapsed():
            subprocess.run(["scancel", os.environ["SLURM_JOB_ID"]], check=False)  # noqa: S607
            return
        time.sleep(watch.pause)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
