"""The manifests that are sent to Kubernetes: a template that a site can edit, filled in from the settings."""

import os
from pathlib import Path
from typing import Any

import yaml

from ehr_pipeline.engines import templates
from ehr_pipeline.engines.pod import LAPSED_CODE
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.errors import UserError
from ehr_pipeline.jobs import USER_ERROR_CODE

OURS = Path(__file__).with_name("job.yaml.j2")


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
        command=["python", "-m", "ehr_pipeline.engines.batch", _word(folder), "$(JOB_COMPLETION_INDEX)", str(tasks)],
        environment={"POLARS_MAX_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)},
        resources=_resources(own.bucket_cpus, own.bucket_gigabytes),
    )


def for_job(settings: LauncherSettings, folder: Path, name: str, module: str) -> str:
    """A Job of one pod, in which a heavy job runs under torchrun."""
    own, processes = settings.kubernetes, settings.processes
    torchrun = ["python", "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    resources = _resources(own.job_cpus * processes, own.job_gigabytes * processes)
    if own.job_gpus:
        resources["limits"][own.gpu_resource] = str(own.job_gpus * processes)
    return _render(
        settings,
        folder,
        name=name,
        component=module.rsplit(".", 1)[-1].replace("_", "-"),
        what=f"{module} on {processes} processes under torchrun.",
        tasks=0,
        command=[*torchrun, f"--max-restarts={settings.restarts}", "-m", module, "--job", _word(folder / "job.json")],
        # As torchrun on one machine: see ehr_pipeline.defs.launchers.torchrun.
        environment={
            "OMP_NUM_THREADS": str(threads(settings)),
            "TOKENIZERS_PARALLELISM": "false",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        },
        resources=resources,
    )


def threads(settings: LauncherSettings) -> int:
    """CPU threads of each process of a job: a pod sees all cores of its node, and may use those that it asked for."""
    return settings.threads or max(1, int(settings.kubernetes.job_cpus))


def parsed(text: str, settings: LauncherSettings) -> dict[str, Any]:
    """A filled template as the API takes it. Raises UserError when it is not a Job."""
    where = f"{settings.kubernetes.template or OURS} (launcher.kubernetes.template)"
    try:
        body = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: what it gives is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(body, dict) or body.get("kind") != "Job":
        raise UserError(f"{where}: what it gives is not one Job. Begin with a copy of {OURS}.")
    return body


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
