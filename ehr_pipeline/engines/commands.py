"""Slurm's own commands: sbatch, squeue, scancel."""

import logging
import subprocess
from collections import Counter
from pathlib import Path

from ehr_pipeline.errors import UserError

_log = logging.getLogger("ehr_pipeline")
TIMEOUT = 120.0  # seconds; each command asks again by itself for a while when the scheduler does not answer
# What a job is in that Slurm does nothing more with.
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}

# Why a job waits that would wait for ever: the site has nothing that could run it, or does not let this user.
NEVER = ("PartitionConfig", "PartitionTimeLimit", "BadConstraints", "InvalidAccount", "InvalidQOS")


def will_never_run(reason: str) -> bool:
    """Whether a job that waits for this reason waits in vain."""
    return reason in NEVER or reason.endswith(("PerJob", "PerJobLimit"))


def refuse_silence() -> None:
    """Raise UserError when no Slurm answers."""
    done = _run("sinfo", "--noheader")
    if done.returncode:
        raise UserError(f"launcher.backend is 'slurm', but Slurm does not answer: {' '.join(done.stderr.split())}")


def submit(script: Path) -> str:
    """Send a script; returns the number of the job. Raises UserError with what Slurm says against it."""
    done = _run("sbatch", "--parsable", str(script))
    if done.returncode:
        raise UserError(
            f"Slurm does not take the job: {' '.join(done.stderr.split())} Look at launcher.slurm in the settings, and at"
            " `ehr-pipeline job-scripts`."
        )
    return done.stdout.strip().split(";")[0]


def states(job: str) -> Counter[tuple[str, str]] | None:
    """How many elements of a job are in which state, for which reason. None: Slurm does not answer. Empty: it has forgotten it."""
    done = _run("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--Format=State:50,Reason:50")
    if done.returncode:
        return Counter() if "Invalid job id" in done.stderr else None
    lines = [line.split() for line in done.stdout.splitlines() if line.split()]
    return Counter((line[0], " ".join(line[1:])) for line in lines)


def cancel(job: str) -> bool:
    """End a job, whatever it is doing. Returns whether Slurm took note."""
    done = _run("scancel", job)
    if done.returncode and "Invalid job id" not in done.stderr:
        _log.warning("Slurm job %s could not be cancelled: %s", job, " ".join(done.stderr.split()))
        return False
    return True


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
