"""Settings of the launcher: where the pipeline's work runs. No setting here changes a result."""

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
        "Address of the cluster (HOST:PORT), as printed by `ray start`; 'auto' finds the cluster that runs on this machine.",
        "auto",
        role="tuning",
    )
    bucket_cpus: float = option("CPUs for a task that processes buckets.", 1.0, role="tuning", gt=0)
    bucket_gigabytes: float = option(
        "Memory requested for a task that processes buckets, in GB; 0: no request.", 0.0, role="tuning", ge=0
    )
    job_cpus: float = option("CPUs for each process of a job.", 1.0, role="tuning", gt=0)
    job_gpus: int = option("GPUs for each process of a job: 1, or 0 on CPUs.", 0, role="tuning", ge=0, le=1)


@settings
class SlurmSettings:
    """A site's Slurm, used through `sbatch`, `squeue` and `scancel`. All nodes must see the same folders."""

    template: str = option(
        "Your site's own template for job scripts (Jinja). Empty: `ehr_pipeline/engines/job.sh.j2`; start from a copy of it."
        " `ehr-pipeline job-scripts` prints what would be submitted.",
        "",
        role="input",
    )
    bucket_options: tuple[str, ...] = option(
        "Options of sbatch for array jobs that process buckets, such as '--partition=cpu' and '--time=04:00:00'.",
        ("--cpus-per-task=1",),
        role="tuning",
    )
    job_options: tuple[str, ...] = option(
        "Options of sbatch for training and embedding, such as '--partition=gpu' and '--gres=gpu:8'.", (), role="tuning"
    )
    setup: tuple[str, ...] = option(
        "Shell lines to run before the work, such as 'module load cuda'.", (), role="tuning"
    )
    python: str = option("Path of Python on the nodes. Empty: the same path as here.", "", role="tuning")
    array_tasks: int = option(
        "Number of tasks of an array job that share the buckets; each task starts Python once.",
        32,
        role="tuning",
        ge=1,
        le=1000,
    )
    continues: int = option(
        "How often a job is submitted again after it reached its time limit, lost its node, or was preempted without being"
        " requeued. It resumes from its last checkpoint, or with the missing buckets.",
        20,
        role="tuning",
        ge=0,
    )
    poll_seconds: float = option("Seconds between calls of squeue.", 10.0, role="tuning", gt=0)
    lapse_seconds: float = option(
        "A job ends if the process that submitted it has not updated its heartbeat for this many seconds.",
        300.0,
        role="tuning",
        ge=2,
    )

    def problems(self) -> Iterator[str]:
        """Yield settings that do not fit."""
        for name in ("bucket_options", "job_options"):
            for each in getattr(self, name):
                if not each.startswith("-") or "\n" in each:
                    yield f"{name}: {each!r} is not an option of sbatch, such as '--partition=main'"


@settings
class KubernetesSettings:
    """A Kubernetes cluster, version 1.31 or later (extra `k8s`). Volumes give its pods the same folders as this machine."""

    image: str = option(
        "Image for the workers, built with `deploy/Dockerfile`. It must contain this package, numpy, polars and pyarrow in the"
        " same versions as here.",
        "",
        role="tuning",
    )
    volumes: dict[str, str] = option(
        "Persistent volume claims: folder in the pods = name of the claim, such as {'/data' = 'ehr-data'}. The store must be in"
        " one of these folders, under the same path as here.",
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
        "Your site's own template for the manifests (Jinja), for example with node selectors, tolerations or pull secrets."
        " Empty: `ehr_pipeline/engines/job.yaml.j2`; start from a copy of it. `ehr-pipeline job-scripts` prints what would be"
        " submitted.",
        "",
        role="input",
    )
    tasks: int = option(
        "Number of pods that share the buckets; each pod starts Python once. As many run at once as the cluster has room for.",
        32,
        role="tuning",
        ge=1,
        le=1000,
    )
    bucket_cpus: float = option("CPUs for a pod that processes buckets.", 1.0, role="tuning", gt=0)
    bucket_gigabytes: float = option(
        "Memory for a pod that processes buckets, in GB, as both request and limit; 0: the namespace's default.",
        0.0,
        role="tuning",
        ge=0,
    )
    job_cpus: float = option(
        "CPUs for each process of a job; processes on the same node share a pod.", 1.0, role="tuning", gt=0
    )
    job_gigabytes: float = option(
        "Memory for each process of a job, in GB; see `bucket_gigabytes`.", 0.0, role="tuning", ge=0
    )
    job_gpus: int = option("GPUs for each process of a job: 1, or 0 on CPUs.", 0, role="tuning", ge=0, le=1)
    gpu_resource: str = option("The cluster's resource name for a GPU.", "nvidia.com/gpu", role="tuning")
    poll_seconds: float = option("Seconds between queries to the cluster.", 5.0, role="tuning", gt=0)
    lapse_seconds: float = option(
        "A pod ends if the process that submitted its Job has not updated its heartbeat for this many seconds.",
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
    """Where the pipeline's work runs. The resulting data files are the same everywhere."""

    backend: Literal["processes", "inline", "ray", "slurm", "kubernetes"] = option(
        "'processes': this machine, with heavy jobs on all its GPUs or CPU cores, several processes under torchrun; 'inline': this"
        " machine, with heavy jobs as a plain call, for notebooks and tests; 'ray': a Ray cluster; 'slurm': a site's Slurm;"
        " 'kubernetes': Jobs of a Kubernetes cluster (docs/scaling.md).",
        "processes",
        role="tuning",
    )
    processes: int = option("Number of processes of a job: one for each GPU, or 1 on a CPU.", 1, role="tuning", ge=1)
    nodes: int = option(
        "Number of nodes (Slurm) or pods (Kubernetes) over which the processes of a job are spread. Ray places processes by"
        " itself.",
        1,
        role="tuning",
        ge=1,
    )
    threads: int = option("CPU threads of each process; 0 shares the cores out evenly.", 0, role="tuning", ge=0)
    require_gpu: bool = option(
        "Whether it is an error if a process of a job has no GPU; if not, the process runs on the CPU. It is always an error if"
        " GPUs are requested: by `job_gpus` (Ray, Kubernetes), or by `--gres=gpu` or `--gpus` in `job_options` (Slurm).",
        False,
        role="tuning",
    )
    restarts: int = option(
        "How often work restarts automatically after one of its processes died: a job from its last checkpoint, work on buckets"
        " with the missing buckets.",
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
