"""Settings of the launcher: where the work of the chain runs. No setting here changes a result."""

import re
from collections.abc import Iterator
from typing import Literal

from ehr_pipeline.typed_settings import option, settings

GPU_OPTION = re.compile(r"--gres[= ].*gpu|--gpus|-G|--tres-per-\w+[= ].*gpu")
"""Options of sbatch that ask for GPUs."""


@settings
class RaySettings:
    """A running Ray cluster (extra `ray`) whose machines all have the same folders and the same packages."""

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


@settings
class SlurmSettings:
    """A site's Slurm, used through `sbatch`, `squeue` and `scancel`. All nodes must see the same folders."""

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
        """Yield settings that do not fit."""
        for name in ("bucket_options", "job_options"):
            for each in getattr(self, name):
                if not each.startswith("-") or "\n" in each:
                    yield f"{name}: {each!r} is not an option of sbatch, such as '--partition=main'"


@settings
class KubernetesSettings:
    """A Kubernetes cluster from 1.31 on (extra `k8s`). Its pods see the same folders as this machine, through volumes."""

    image: str = option(
        "Image of the workers: `deploy/Dockerfile` makes one. It must hold this package, numpy, polars and pyarrow in the versions"
        " that run here.",
        "",
        role="tuning",
    )
    volumes: dict[str, str] = option(
        "Names of persistent volume claims by the folder where pods see them, such as {'/data' = 'ehr-data'}. The store must lie in"
        " one, under the same path as here.",
        {},
        role="tuning",
    )
    context: str = option(
        "Context of the kubeconfig. Empty: the current one; in a pod without a kubeconfig, its service account.",
        "",
        role="tuning",
    )
    namespace: str = option("Namespace of the Jobs. Empty: that of the context.", "", role="tuning")
    template: str = option(
        "Template of the manifests, to fit your site (Jinja): node selectors, tolerations, pull secrets. Empty:"
        " `ehr_pipeline/engines/job.yaml.j2`, a copy of which is a good beginning. `ehr-pipeline job-scripts` prints what would be"
        " sent.",
        "",
        role="input",
    )
    tasks: int = option(
        "Into how many pods the buckets are divided; each starts Python once. As many run at a time as the cluster has room for.",
        32,
        role="tuning",
        ge=1,
        le=1000,
    )
    bucket_cpus: float = option("CPUs of a pod that works on buckets.", 1.0, role="tuning", gt=0)
    bucket_gigabytes: float = option(
        "Memory of a pod that works on buckets, in GB, asked for and not exceeded; 0 leaves it to the namespace.",
        0.0,
        role="tuning",
        ge=0,
    )
    job_cpus: float = option("CPUs of each process of a job; those of one node share a pod.", 1.0, role="tuning", gt=0)
    job_gigabytes: float = option("Memory of each process of a job, as `bucket_gigabytes`.", 0.0, role="tuning", ge=0)
    job_gpus: int = option("GPUs of each process of a job: 1, or 0 on CPUs.", 0, role="tuning", ge=0, le=1)
    gpu_resource: str = option("What the cluster calls a GPU.", "nvidia.com/gpu", role="tuning")
    poll_seconds: float = option("Seconds between two questions to the cluster.", 5.0, role="tuning", gt=0)
    lapse_seconds: float = option(
        "A pod ends when the process that sent its Job has not shown itself for so many seconds.",
        300.0,
        role="tuning",
        ge=2,
    )

    def problems(self) -> Iterator[str]:
        """Yield settings that do not fit."""
        for folder in self.volumes:
            if not folder.startswith("/"):
                yield f"volumes: {folder!r} is not the whole path of a folder, such as '/data'"


@settings
class LauncherSettings:
    """Where the work of the chain runs. The data files are the same everywhere."""

    backend: Literal["processes", "inline", "ray", "slurm", "kubernetes"] = option(
        "'processes': this machine, with heavy jobs on all its GPUs or CPU cores under torchrun; 'inline': this machine, with"
        " heavy jobs as a plain call, for notebooks and tests; 'ray': a Ray cluster; 'slurm': a site's Slurm; 'kubernetes': Jobs"
        " of a Kubernetes cluster (docs/scaling.md).",
        "processes",
        role="tuning",
    )
    processes: int = option("Processes of a job: one for each GPU, or 1 on a CPU.", 1, role="tuning", ge=1)
    nodes: int = option(
        "Nodes over which Slurm spreads the processes of a job, and pods over which Kubernetes does; Ray places them by itself.",
        1,
        role="tuning",
        ge=1,
    )
    threads: int = option("CPU threads of each process; 0 shares the cores out evenly.", 0, role="tuning", ge=0)
    require_gpu: bool = option(
        "Whether a job ends with an error when one of its processes has no GPU; otherwise it then runs on the CPU. It is so in any"
        " case where GPUs are asked for: by `job_gpus` (Ray, Kubernetes), or by `--gres=gpu` or `--gpus` in `job_options` (Slurm).",
        False,
        role="tuning",
    )
    restarts: int = option(
        "How often work is started again by itself after one of its processes died: a job from its last checkpoint, work on buckets"
        " with those that are missing.",
        2,
        role="tuning",
        ge=0,
    )
    ray: RaySettings = option("A Ray cluster.", RaySettings())
    slurm: SlurmSettings = option("A site's Slurm.", SlurmSettings())
    kubernetes: KubernetesSettings = option("A Kubernetes cluster.", KubernetesSettings())

    @property
    def needs_gpu(self) -> bool:
        """Whether it is an error if a process of a heavy job finds no GPU."""
        asked = {
            "ray": self.ray.job_gpus > 0,
            "kubernetes": self.kubernetes.job_gpus > 0,
            "slurm": any(GPU_OPTION.match(each) for each in self.slurm.job_options),
        }
        return self.require_gpu or asked.get(self.backend, False)

    def problems(self) -> Iterator[str]:
        """Yield settings that do not fit together."""
        if self.processes % self.nodes:
            yield f"processes ({self.processes}) must be a multiple of nodes ({self.nodes})"
        if self.backend == "kubernetes" and not self.kubernetes.image:
            yield "kubernetes.image is missing: the image of the workers (docs/scaling.md)"
