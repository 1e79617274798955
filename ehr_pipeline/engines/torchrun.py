"""One machine, all its GPUs or its CPU cores: `torchrun` in a subprocess, whose log is logged here as it comes."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.engines import post
from ehr_pipeline.engines.base import ThisMachine
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.errors import UserError
from ehr_pipeline.store import build_lock
from ehr_pipeline.work import die_with_parent, jobs

LOOK = 0.5  # seconds between two looks at the log
ENDING = 60.0  # seconds for torchrun to end after a cancellation; it gives its own processes 30 before it kills them
ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""What torchrun and its processes need on every machine. After a restart, processes would read the addresses of those that died
from a store that outlives them, and fail to connect (github.com/pytorch/pytorch/issues/135712): they get a store of their own."""


@dataclass(frozen=True)
class Torchrun(ThisMachine):
    """Runs heavy jobs on `launcher.processes` processes of this machine."""

    settings: LauncherSettings
    store: Path

    def launch(self, job: jobs.Job) -> None:
        """Run a heavy job. Raises UserError with the message of the first process that ended with one."""
        with build_lock.scratch(self.store) as folder:
            follower, logs = post.put_job(folder, job, logs_to_stderr=False), folder / "logs"
            code = self._run(self._command(job.module, folder / post.JOB, logs), follower)
            if not code:
                return
            if (folder / jobs.ERROR).is_file():
                raise UserError((folder / jobs.ERROR).read_text(encoding="utf-8"))
            raise UserError(
                f"The job {job.module} on {self.settings.processes} processes failed, and was started again"
                f" {self.settings.restarts} times. (torchrun ended with code {code})\n{log_tails(logs)}"
            )

    def _command(self, module: str, job: Path, logs: Path) -> list[str]:
        return [
            sys.executable,
            str(die_with_parent.__file__),
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={self.settings.processes}",
            f"--max-restarts={self.settings.restarts}",
            f"--log-dir={logs}",
            "--tee=3",
            "-m",
            module,
            "--job",
            str(job),
        ]

    def _run(self, command: list[str], follower: post.Follower) -> int:
        """Run torchrun to its end, and return its exit code. Whatever ends this process meanwhile ends torchrun, too."""
        # torchrun sets one thread for each process unless it is set already, and so would idle all other cores.
        threads = self.settings.threads or max(1, _cores() // self.settings.processes)
        process = subprocess.Popen(command, env=os.environ | ENVIRONMENT | {"OMP_NUM_THREADS": str(threads)})
        try:
            while True:
                try:
                    return process.wait(LOOK)
                except subprocess.TimeoutExpired:
                    follower.look()
        finally:
            if process.poll() is None:
                jobs.end_process(process, ENDING)
            follower.look()


def log_tails(logs: Path, lines: int = 15) -> str:
    """The last lines of the log of the process that failed; of all, where none says so itself (a process that was killed).

    torchrun lays logs out as RUN/attempt_N/RANK/stderr.log. Of several that failed, the first is meant: the others failed for want
    of it.
    """
    written = [path for path in logs.glob("*/attempt_*/*/stderr.log") if path.stat().st_size]
    last = max((int(path.parts[-3].split("_")[1]) for path in written), default=0)
    texts = {
        int(path.parts[-2]): path.read_text(encoding="utf-8", errors="replace").splitlines()
        for path in written
        if path.parts[-3] == f"attempt_{last}"
    }
    failed = {}
    for rank, text in texts.items():
        marks = [line for line in text if line.startswith(jobs.FAILED_AT)]
        if marks:
            failed[rank] = float(marks[0].removeprefix(jobs.FAILED_AT))
    shown = [min(failed, key=lambda rank: failed[rank])] if failed else sorted(texts)
    return "\n".join(
        f"The last lines of process {rank}:\n" + "\n".join(f"    {line}" for line in texts[rank][-lines:])
        for rank in shown
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
