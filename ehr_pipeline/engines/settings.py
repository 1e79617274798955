"""Settings of the launcher: where the work of the chain runs. Plain dataclasses; nothing here changes a result."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ehr_pipeline.fields import option


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """A Ray cluster that runs already (extra `ray`), with the same folders and the same packages on all of its machines."""

    address: str = option(
        "Address of the cluster, as `ray start` tells it: HOST:PORT; 'auto' finds the one of this machine.",
        "auto",
        role="tuning",
    )
    bucket_cpus: float = option("CPUs of a task that works on buckets.", 1.0, role="tuning", gt=0)
    bucket_gigabytes: float = option(
        "Memory that a task that works on buckets asks for, in GB; 0 asks for none.", 0.0, role="tuning", ge=0
    )
    job_cpus: float = option("CPUs of each process of a job.", 1.0, role="tuning", gt=0)
    job_gpus: int = option("GPUs of each process of a job: 1, or 0 on CPUs.", 0, role="tuning", ge=0, le=1)


@dataclass(frozen=True, kw_only=True)
class SlurmSettings:
    """A site's Slurm, reached by `sbatch`, `squeue` and `scancel`; all nodes see the same folders."""

    template: str = option(
        "Template of the job scripts, to fit your site (Jinja). Empty: `ehr_pipeline/engines/job.sh.j2`, a copy of which is a"
        " good beginning. `ehr-pipeline job-scripts` prints what would be sent.",
        "",
        role="input",
    )
    bucket_options: tuple[str, ...] = option(
        "Options of sbatch for the array jobs that work on buckets, such as '--partition=cpu' and '--time=04:00:00'.",
        ("--cpus-per-task=1",),
        role="tuning",
    )
    job_options: tuple[str, ...] = option(
        "Options of sbatch for training and embedding, such as '--partition=gpu' and '--gres=gpu:8'.", (), role="tuning"
    )
    setup: tuple[str, ...] = option(
        "Lines of shell that come before the work, such as 'module load cuda'.", (), role="tuning"
    )
    python: str = option("Python on the nodes. Empty: the path of the one that runs here.", "", role="tuning")
    array_tasks: int = option(
        "Into how many tasks of an array job the buckets are divided; each starts Python once.",
        32,
        role="tuning",
        ge=1,
        le=1000,
    )
    continues: int = option(
        "How often a job that reached its time limit, lost its node or was preempted without being queued again is sent again. It"
        " goes on from its last checkpoint, or with the buckets that are missing.",
        20,
        role="tuning",
        ge=0,
    )
    poll_seconds: float = option("Seconds between two questions to squeue.", 10.0, role="tuning", gt=0)
    lapse_seconds: float = option(
        "A job ends when the process that sent it has not shown itself for so many seconds.", 300.0, role="tuning", ge=2
    )

    def problems(self) -> Iterator[str]:
        """What does not fit."""
        for name in ("bucket_options", "job_options"):
            for each in getattr(self, name):
                if not each.startswith("-") or "\n" in each:
                    yield f"{name}: {each!r} is not an option of sbatch, such as '--partition=main'"


@dataclass(frozen=True, kw_only=True)
class LauncherSettings:
    """Where the work of the chain runs. The data files are the same everywhere."""

    backend: Literal["processes", "inline", "ray", "slurm"] = option(
        "'processes': this machine, with heavy jobs on all its GPUs or CPU cores under torchrun; 'inline': this machine, with"
        " heavy jobs as a plain call, for notebooks and tests; 'ray': a Ray cluster; 'slurm': a site's Slurm (docs/clusters.md).",
        "processes",
        role="tuning",
    )
    processes: int = option("Processes of a job: one for each GPU, or 1 on a CPU.", 1, role="tuning", ge=1)
    nodes: int = option(
        "Nodes over which Slurm spreads the processes of a job; Ray places them by itself.", 1, role="tuning", ge=1
    )
    threads: int = option("CPU threads of each process; 0 shares the cores out evenly.", 0, role="tuning", ge=0)
    restarts: int = option(
        "How often work is started again by itself after one of its processes died: a job from its last checkpoint, work on buckets"
        " with those that are missing.",
        2,
        role="tuning",
        ge=0,
    )
    ray: RaySettings = option("A Ray cluster.", RaySettings())
    slurm: SlurmSettings = option("A site's Slurm.", SlurmSettings())

    def problems(self) -> Iterator[str]:
        """What does not fit together."""
        if self.processes % self.nodes:
            yield f"processes ({self.processes}) must be a multiple of nodes ({self.nodes})"
