"""Slurm: run buckets as tasks of an array job, and heavy jobs under torchrun on one or more nodes.

It calls `sbatch`, `squeue` and `scancel`. Slurm starts, places, kills and requeues jobs; the module `scheduler` decides whether a
job that ended is submitted again.
"""

import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from ehr_pipeline.engines import job_folder
from ehr_pipeline.engines.scheduler import Scheduler, SchedulerUnavailable, State, fill
from ehr_pipeline.engines.settings import LauncherSettings, SlurmSettings
from ehr_pipeline.engines.torchrun import ENVIRONMENT
from ehr_pipeline.errors import UserError

_log = logging.getLogger("ehr_pipeline")
OURS = Path(__file__).with_name("job.sh.j2")
TIMEOUT = 120.0  # seconds; when the scheduler does not answer, each command itself retries for a while
CONTINUED = {"TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"}
"""Final states for which the work is not to blame."""
ENDED = CONTINUED | {"CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "REVOKED"}
"""States of a job that has ended for good."""
# Reasons for which a job would wait forever: the site has no machine that could run it, or does not permit this user.
NEVER = ("PartitionConfig", "PartitionTimeLimit", "BadConstraints", "InvalidAccount", "InvalidQOS")
States = Counter[tuple[str, str]]
"""Number of elements of a job by (state, reason)."""


class Slurm(Scheduler):
    """A site's Slurm."""

    backend, script = "slurm", "job.sh"
    section: SlurmSettings

    def __init__(self, settings: LauncherSettings, store: Path):
        super().__init__(settings, store)
        self.tasks, self.restarts, self.continues = self.section.array_tasks, settings.restarts, self.section.continues
        self.patience = 2 * self.section.poll_seconds  # the reason why a job waits may be out of date for a moment

    def check(self) -> None:
        """Check that Slurm answers and that the template can be filled in. Raises UserError."""
        done = _run("sinfo", "--noheader")
        if done.returncode:
            raise UserError(f"launcher.backend is 'slurm', but Slurm does not answer: {_error_text(done)}")
        self.preview()

    def for_buckets(self, folder: Path, name: str, tasks: int, numbers: list[int]) -> str:
        """Return the script of an array job."""
        return self._render(
            folder,
            name,
            what=f"Work on buckets: {len(numbers)} of {tasks} tasks, each on a process of its own.",
            log=f"{folder}/log-%a.txt",
            options=self.section.bucket_options,
            nodes=1,
            array=ranges(numbers),
            tasks=tasks,
            environment={},
        )

    def for_job(self, folder: Path, name: str, module: str) -> str:
        """Return the script of a heavy job under torchrun."""
        processes, nodes, threads = self.settings.processes, self.settings.nodes, self.settings.threads
        return self._render(
            folder,
            name,
            what=f"{module} on {processes} processes under torchrun, on {nodes} node(s).",
            log=f"{folder}/log.txt",
            options=self.section.job_options,
            nodes=nodes,
            processes_per_node=processes // nodes,
            restarts=self.settings.restarts,
            module=module,
            array="",
            environment=ENVIRONMENT | ({"OMP_NUM_THREADS": str(threads)} if threads else {}),
        )

    def submit(self, script: Path, name: str, what: str) -> str:
        """Send a script, and return the number of the job. Raises UserError with the reason if Slurm refuses it."""
        done = _run("sbatch", "--parsable", str(script))
        if done.returncode:
            raise UserError(
                f"Slurm rejected the job: {_error_text(done)} Look at launcher.slurm in the settings, and at `ehr-pipeline"
                " job-scripts`."
            )
        job = done.stdout.strip().split(";")[0]
        job_folder.note_sent(script.parent, self.backend, job)
        _log.info("%s: sent to Slurm as job %s", what, job)
        return job

    def look(self, job: str) -> State:
        """Return the state of a job. Raises SchedulerUnavailable when Slurm does not answer."""
        found = states(job)
        if found is None:
            raise SchedulerUnavailable("Slurm does not answer; its jobs continue without it")
        if any("launch failed" in reason for _, reason in found):
            self.cancel(job)  # Slurm would hold it until an administrator releases it
            return State("LAUNCH_FAILED", ended="badly")
        never = {reason for state, reason in found if state == "PENDING" and will_never_run(reason)}
        if any(state not in ENDED for state, _ in found):
            stuck = (
                f"the job waits for what Slurm cannot provide ({', '.join(sorted(never))}). Change launcher.slurm in the settings:"
                " `ehr-pipeline job-scripts` prints what is requested."
            )
            waiting = any(state == "PENDING" for state, _ in found)
            return State(_text(found), waiting, stuck if never else "")
        ends = {state for state, _ in found}
        if "CANCELLED" in ends:
            return State("the job was cancelled in Slurm", ended="removed")
        text = ", ".join(sorted(ends)) or "gone"
        if ends <= {"COMPLETED"}:
            return State(text, ended="well")
        return State(text, ended="blameless" if ends & CONTINUED else "badly")

    def cancel(self, job: str) -> bool:
        """End a job, whatever its state. Returns whether Slurm accepted that, or no longer knew the job."""
        done = _run("scancel", job)
        if done.returncode and "Invalid job id" not in done.stderr:
            _log.warning("Slurm job %s could not be cancelled: %s", job, _error_text(done))
            return False
        return True

    def is_gone(self, job: str) -> bool:
        """Return whether all elements of a job have ended."""
        found = states(job)
        return found is not None and all(state in ENDED for state, _ in found)

    def tidy(self, job: str) -> None:
        """Do nothing: Slurm itself discards jobs that have ended."""

    def why(self, job: str, state: State, folder: Path) -> str:
        """Return how the job ended, and the last lines of up to three logs."""
        logs = [path for path in sorted(folder.glob("log*.txt")) if path.stat().st_size]
        return f"the job in Slurm ended as {state.text}, and was sent again {self.restarts} times.\n{job_folder.tail(logs[:3])}"

    def _render(self, folder: Path, name: str, **values: Any) -> str:
        if not str(folder).replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise UserError(
                f"study.store: Slurm takes the path {folder} apart. Use a folder of letters, digits, '-', '_' and '.' only."
            )
        values |= {
            "name": name,
            "folder": folder,
            "setup": self.section.setup,
            "python": self.section.python or sys.executable,
            "lapse_seconds": f"{self.section.lapse_seconds:g}",
        }
        return fill(Path(self.section.template or OURS), "launcher.slurm.template", values)


def ranges(numbers: list[int]) -> str:
    """Format numbers for `sbatch --array`: '0-3,7'."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def will_never_run(reason: str) -> bool:
    """Return whether a job that waits for this reason would wait forever."""
    return reason in NEVER or reason.endswith(("PerJob", "PerJobLimit"))


def _text(found: States) -> str:
    """Describe the states of a job that has not ended."""
    counted: Counter[str] = Counter()
    for (state, reason), number in found.items():
        waits = state == "PENDING" and reason not in ("None", "(null)", "")
        counted[f"{state.lower()} ({reason})" if waits else state.lower()] += number
    return ", ".join(f"{number} {state}" for state, number in sorted(counted.items()))


# Slurm's own commands.


def states(job: str) -> States | None:
    """Return the states of a job's elements; None if Slurm does not answer, empty if it no longer knows the job."""
    done = _run("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--Format=State:50,Reason:50")
    if done.returncode:
        return Counter() if "Invalid job id" in done.stderr else None
    lines = [line.split() for line in done.stdout.splitlines() if line.split()]
    return Counter((line[0], " ".join(line[1:])) for line in lines)


def _error_text(done: "subprocess.CompletedProcess[str]") -> str:
    return " ".join(done.stderr.split())


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    except FileNotFoundError:
        raise UserError(
            f"launcher.backend is 'slurm', but there is no {command[0]} on this machine. Run ehr-pipeline on a login node of the"
            " cluster."
        ) from None
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "no answer")
