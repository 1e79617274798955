"""Run heavy jobs on all GPUs or CPU cores of this machine, as subprocesses (several under `torchrun`), and log their lines."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from ehr_pipeline.engines import job_folder
from ehr_pipeline.engines.base import ThisMachine
from ehr_pipeline.errors import UserError
from ehr_pipeline.store import build_lock
from ehr_pipeline.work import die_with_parent, jobs
from ehr_pipeline.work.threads import cores

LOOK = 0.5  # seconds between two checks of the log
ENDING = 60.0  # seconds that a job has to end after a cancellation; torchrun kills its own processes after 30
ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Environment of torchrun and its processes on every machine. The second variable prevents restarted processes from reading the
addresses of dead ones, from a store that outlives them, and failing to connect (github.com/pytorch/pytorch/issues/135712)."""


class Torchrun(ThisMachine):
    """Runs heavy jobs on `launcher.processes` processes of this machine."""

    def launch(self, job: jobs.Job) -> None:
        """Run a heavy job. Raises UserError with the message that a process reported, else with the last log lines."""
        with build_lock.scratch(self.store) as folder:
            follower = job_folder.write_job(folder, job, needs_gpu=self.settings.needs_gpu, logs_to_stderr=False)
            logs = folder / "logs"
            said = folder / "processes.log"
            command, starts = self._command(job.module, folder / job_folder.JOB, logs)
            again = self.settings.restarts
            for start in range(starts):
                code = self._run(command, follower, said)
                if not code:
                    return
                if (folder / jobs.ERROR).is_file():
                    raise UserError((folder / jobs.ERROR).read_text(encoding="utf-8"))
                if code == -signal.SIGINT:  # Ctrl-C reaches all processes of a terminal
                    again = start
                    break
            number = self.settings.processes
            raise UserError(
                f"The job {job.module} on {number} process{'es' * (number > 1)} failed, and was started again"
                f" {again} times. (It ended with code {code}.)\n{log_tails(logs) or job_folder.tail([said])}"
            )

    def _command(self, module: str, job: Path, logs: Path) -> tuple[list[str], int]:
        """Return the command of a job, and how many times it may be started: torchrun only once, because it starts failed processes
        again by itself.

        A single process needs no torchrun, which would take three seconds to start.
        """
        python = [sys.executable, str(die_with_parent.__file__), sys.executable]
        work = ["-m", module, "--job", str(job)]
        if self.settings.processes == 1:
            return [*python, *work], self.settings.restarts + 1
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.settings.processes}"]
        torchrun += [f"--max-restarts={self.settings.restarts}", f"--log-dir={logs}", "--tee=3"]
        return [*python, *torchrun, *work], 1

    def _run(self, command: list[str], follower: job_folder.Follower, said: Path) -> int:
        """Run a command to its end, and return its exit code. If this process ends first, for any reason, so does the command.

        The output of torchrun goes to the file `said`. The job itself writes a log, so this output matters only after a failure.
        """
        # Unless OMP_NUM_THREADS is set, torchrun gives each process one thread, which would leave the other cores idle.
        threads = self.settings.threads or max(1, cores() // self.settings.processes)
        with said.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=os.environ | ENVIRONMENT | {"OMP_NUM_THREADS": str(threads)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
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
    """Return the last log lines of the process that failed first in the last attempt, since the others failed as a consequence.

    If no log records a failure, for example because a process was killed, return the last lines of all logs. torchrun stores logs
    as RUN/attempt_N/RANK/stderr.log.
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
