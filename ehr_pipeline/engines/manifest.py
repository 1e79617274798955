"""The manifests that are sent to Kubernetes: a template that a site can edit, filled in from the settings."""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ehr_pipeline.engines import templates
from ehr_pipeline.engines.pod import LAPSED_CODE
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.engines.torchrun import ENVIRONMENT
from ehr_pipeline.errors import UserError
from ehr_pipeline.work.jobs import USER_ERROR_CODE

OURS = Path(__file__).with_name("job.yaml.j2")
NODE = "ehr_pipeline.engines.node"


@dataclass(frozen=True)
class Manifest:
    """What is sent for one piece of work, as the API takes it."""

    job: dict[str, Any]
    services: tuple[dict[str, Any], ...] = ()
    """By which pods of one Job find each other; they go with the Job."""

    @property
    def name(self) -> str:
        """Of the Job."""
        return str(self.job["metadata"]["name"])


def for_buckets(settings: LauncherSettings, folder: Path, name: str, tasks: int) -> str:
    """An indexed Job of so many pods, each with its share of the work."""
    own = settings.kubernetes
    threads = max(1, int(own.bucket_cpus))
    return _render(
        settings,
        folder,
        name=name,
        component="buckets",
        what=f"Work on buckets, in {tasks} pods.",
        tasks=tasks,
        nodes=1,
        command=["python", "-m", "ehr_pipeline.engines.batch", _word(folder), "$(JOB_COMPLETION_INDEX)", str(tasks)],
        environment={"POLARS_MAX_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)},
        resources=_resources(own.bucket_cpus, own.bucket_gigabytes),
    )


def for_job(settings: LauncherSettings, folder: Path, name: str, module: str) -> str:
    """A Job in which a heavy job runs under torchrun: one pod, or an indexed Job of one for each node, with a Service."""
    own, nodes = settings.kubernetes, settings.nodes
    processes = settings.processes // nodes
    torchrun = ["torch.distributed.run", "--standalone"]
    if nodes > 1:
        # Each pod has all ports to itself, unless a site's template gives it its node's: then Jobs should not meet at one.
        torchrun = [NODE, f"{name}-0.{name}", str(20000 + zlib.crc32(name.encode()) % 10000), str(nodes), name]
    resources = _resources(own.job_cpus * processes, own.job_gigabytes * processes)
    if own.job_gpus:
        resources["limits"][own.gpu_resource] = str(own.job_gpus * processes)
    options = [f"--nproc-per-node={processes}", f"--max-restarts={settings.restarts}"]
    return _render(
        settings,
        folder,
        name=name,
        component=module.rsplit(".", 1)[-1].replace("_", "-"),
        what=f"{module} on {settings.processes} processes under torchrun, in {nodes} pod(s).",
        tasks=nodes if nodes > 1 else 0,
        nodes=nodes,
        # A pod that dies may take the others with it.
        restarts=settings.restarts * nodes,
        command=["python", "-m", *torchrun, *options, "-m", module, "--job", _word(folder / "job.json")],
        environment={"OMP_NUM_THREADS": str(threads(settings)), **ENVIRONMENT},
        resources=resources,
    )


def threads(settings: LauncherSettings) -> int:
    """CPU threads of each process of a job: a pod sees all cores of its node, and may use those that it asked for."""
    return settings.threads or max(1, int(settings.kubernetes.job_cpus))


def parsed(text: str, settings: LauncherSettings) -> Manifest:
    """A filled template as the API takes it. Raises UserError when it is not a Job, with a Service where its pods need one."""
    where = f"{settings.kubernetes.template or OURS} (launcher.kubernetes.template)"
    try:
        bodies = [body for body in yaml.safe_load_all(text) if body is not None]
    except yaml.YAMLError as error:
        raise UserError(f"{where}: what it gives is not YAML: {' '.join(str(error).split())}.") from None
    kinds = [str(body.get("kind")) if isinstance(body, dict) else "" for body in bodies]
    if kinds.count("Job") != 1 or not set(kinds) <= {"Job", "Service"}:
        raise UserError(
            f"{where}: what it gives is not one Job, with or without Services. Begin with a copy of {OURS}."
        )
    services = [body for body, kind in zip(bodies, kinds, strict=True) if kind == "Service"]
    if NODE in text and not services:
        raise UserError(
            f"{where}: it gives no Service, by which the pods of a job on {settings.nodes} nodes would find each other. Begin with"
            f" a copy of {OURS}."
        )
    return Manifest(bodies[kinds.index("Job")], tuple(services))


def refuse_other_place(settings: LauncherSettings, store: Path) -> None:
    """Raise UserError when pods of our template would not see the store."""
    own = settings.kubernetes
    if not own.template and not any(store.is_relative_to(folder) for folder in own.volumes):
        raise UserError(
            f"study.store is {store}, but the volumes of the pods lie at {', '.join(own.volumes) or 'no place'}"
            " (launcher.kubernetes.volumes). The store, the landing folder and the lists must lie in volumes, under the same paths."
        )


def _word(path: Path) -> str:
    """A path in a command, where Kubernetes takes $(NAME) for a variable."""
    return str(path).replace("$", "$$")


def _resources(cpus: float, gigabytes: float) -> dict[str, dict[str, str]]:
    memory = {"memory": f"{gigabytes * 1000:.0f}M"} if gigabytes else {}
    return {"requests": {"cpu": f"{cpus:g}", **memory}, "limits": memory.copy()}


def _render(
    settings: LauncherSettings, folder: Path, environment: dict[str, str], resources: Any, **values: Any
) -> str:
    own = settings.kubernetes
    path = Path(own.template) if own.template else OURS
    # The user of a pod is a number without a name or a home.
    somebody = {"HOME": "/tmp", "USER": "ehr", "PYTHONUNBUFFERED": "1"}  # noqa: S108
    own_values = {
        "folder": _word(folder),
        "image": own.image,
        "volumes": own.volumes,
        "restarts": settings.restarts,
        "lapse_seconds": f"{own.lapse_seconds:g}",
        "final_codes": [USER_ERROR_CODE, LAPSED_CODE],
        "user": os.getuid(),
        "group": os.getgid(),
        "groups": sorted(os.getgroups()),
        "environment": somebody | environment,
    }
    return templates.fill(path, "launcher.kubernetes.template", own_values | resources | values)
