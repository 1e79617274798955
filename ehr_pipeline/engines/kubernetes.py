"""Kubernetes: run buckets as an indexed Job, and heavy jobs as a Job of one or more pods under torchrun; write the manifests.

The Job controller restarts pods that died, at most `launcher.restarts` times, not counting pods that were preempted or whose node
was drained. So a Job is submitted again only if its pods ended because they believed that this process was gone.
"""

import logging
import os
import sys
import zlib
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ehr_pipeline.engines import job_folder
from ehr_pipeline.engines.kubernetes_api import Cluster, Manifest
from ehr_pipeline.engines.pod import LAPSED_CODE
from ehr_pipeline.engines.scheduler import Scheduler, SchedulerUnavailable, State, fill
from ehr_pipeline.engines.settings import KubernetesSettings, LauncherSettings
from ehr_pipeline.engines.torchrun import ENVIRONMENT
from ehr_pipeline.errors import UserError
from ehr_pipeline.work import jobs

_log = logging.getLogger("ehr_pipeline")
OURS = Path(__file__).with_name("job.yaml.j2")
NODE = "ehr_pipeline.engines.node"
STUCK = 180.0  # seconds for which a pod may fail to start: image registries sometimes fail briefly


class Kubernetes(Scheduler):
    """A Kubernetes cluster. `store` is in a volume that its pods mount."""

    backend, script = "kubernetes", "job.yaml"
    section: KubernetesSettings

    def __init__(self, settings: LauncherSettings, store: Path):
        super().__init__(settings, store)
        self.tasks, self.restarts, self.continues, self.patience = self.section.tasks, 0, sys.maxsize, STUCK

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster and namespace in the settings. Raises UserError if the client or the configuration is missing."""
        return Cluster(self.section)

    def check(self) -> None:
        """Have the cluster check the Jobs that would be sent; nothing is created. Raises UserError."""
        self.refuse_other_place()
        self.cluster.try_out([self.parsed(text) for text in self.preview().values()])

    def launch(self, job: jobs.Job) -> None:
        """Run a heavy job in pods."""
        super().launch(replace(job, threads=self.threads))

    def submit(self, script: Path, name: str, what: str) -> str:
        """Create a Job and its Services, and return its name. Raises UserError."""
        self.refuse_other_place()
        cluster = self.cluster
        job_folder.note_sent(script.parent, self.backend, name)  # note it before sending, since the answer may get lost
        cluster.submit(self.parsed(script.read_text(encoding="utf-8")))
        _log.info("%s: sent to Kubernetes as Job %s in the namespace %s", what, name, cluster.namespace)
        return name

    def look(self, job: str) -> State:
        """Return the state of a Job. Raises SchedulerUnavailable when the cluster does not answer."""
        try:
            return self.cluster.look(job)
        except SchedulerUnavailable as silence:
            raise SchedulerUnavailable(
                f"the cluster does not answer; its pods continue without it ({silence})"
            ) from None

    def cancel(self, job: str) -> bool:
        """Remove a Job, which disappears once its pods have ended. Returns whether the cluster accepted the request."""
        return self.cluster.delete(job, wait=True)

    def is_gone(self, job: str) -> bool:
        """Return whether a Job no longer exists."""
        return not self.cluster.is_there(job)

    def tidy(self, job: str) -> None:
        """Remove a Job whose work is done."""
        self.cluster.delete(job)

    def why(self, job: str, state: State, folder: Path) -> str:
        """Return why the Job failed, with the last log lines of pods that failed."""
        if state.ended == "well":
            return (
                f"the Job {job} in Kubernetes is complete, but results are missing in {folder}. Do its pods see the same folder"
                " under this path (launcher.kubernetes.volumes)?"
            )
        return f"the Job {job} in Kubernetes failed ({state.text}).\n{self.cluster.logs(job)}"

    # Manifests.

    @property
    def threads(self) -> int:
        """Return the CPU threads of each process: a pod sees all cores of its node, but may use only those it requested."""
        return self.settings.threads or max(1, int(self.section.job_cpus))

    def refuse_other_place(self) -> None:
        """Raise UserError when pods made from the built-in template would not see the store."""
        if not self.section.template and not any(self.store.is_relative_to(folder) for folder in self.section.volumes):
            raise UserError(
                f"study.store is {self.store}, but the volumes of the pods lie at {', '.join(self.section.volumes) or 'no place'}"
                " (launcher.kubernetes.volumes). The store, the landing folder and the lists must lie in volumes, under the same"
                " paths."
            )

    def for_buckets(self, folder: Path, name: str, tasks: int, numbers: list[int]) -> str:
        """Return an indexed Job of `tasks` pods, each with a share of the work; pods whose share is done end at once."""
        threads = max(1, int(self.section.bucket_cpus))
        return self._render(
            folder,
            name=name,
            component="buckets",
            what=f"Work on buckets, in {tasks} pods.",
            tasks=tasks,
            nodes=1,
            command=[
                "python",
                "-m",
                "ehr_pipeline.engines.bucket_worker",
                _word(folder),
                "$(JOB_COMPLETION_INDEX)",
                str(tasks),
            ],
            environment={"POLARS_MAX_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)},
            resources=_resources(self.section.bucket_cpus, self.section.bucket_gigabytes),
        )

    def for_job(self, folder: Path, name: str, module: str) -> str:
        """Return a Job that runs a heavy job under torchrun. For one node, it has one pod. For several nodes, it is an indexed Job
        with a pod for each node, and a Service."""
        section, nodes, restarts = self.section, self.settings.nodes, self.settings.restarts
        processes = self.settings.processes // nodes
        torchrun = ["torch.distributed.run", "--standalone"]
        if nodes > 1:
            # Pods have their own ports, but if a site's template uses the host network, Jobs should not share a port.
            torchrun = [NODE, f"{name}-0.{name}", str(20000 + zlib.crc32(name.encode()) % 10000), str(nodes), name]
        resources = _resources(section.job_cpus * processes, section.job_gigabytes * processes)
        if section.job_gpus:
            resources["limits"][section.gpu_resource] = str(section.job_gpus * processes)
        options = [f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
        return self._render(
            folder,
            name=name,
            component=module.rsplit(".", 1)[-1].replace("_", "-"),
            what=f"{module} on {self.settings.processes} processes under torchrun, in {nodes} pod(s).",
            tasks=nodes if nodes > 1 else 0,
            nodes=nodes,
            # A pod that dies may make the others fail, too.
            restarts=restarts * nodes,
            command=["python", "-m", *torchrun, *options, "-m", module, "--job", _word(folder / job_folder.JOB)],
            environment={"OMP_NUM_THREADS": str(self.threads), **ENVIRONMENT},
            resources=resources,
        )

    def _render(self, folder: Path, *, environment: dict[str, str], resources: Any, **values: Any) -> str:
        # The user of a pod is a bare number, without a name or a home folder.
        somebody = {"HOME": "/tmp", "USER": "ehr", "PYTHONUNBUFFERED": "1"}  # noqa: S108
        common = {
            "folder": _word(folder),
            "image": self.section.image,
            "volumes": self.section.volumes,
            "restarts": self.settings.restarts,
            "lapse_seconds": f"{self.section.lapse_seconds:g}",
            "final_codes": [jobs.USER_ERROR_CODE, LAPSED_CODE],
            "user": os.getuid(),
            "group": os.getgid(),
            "groups": sorted(os.getgroups()),
            "environment": somebody | environment,
        }
        return fill(Path(self.section.template or OURS), "launcher.kubernetes.template", common | resources | values)

    def parsed(self, text: str) -> Manifest:
        """Parse a filled template. Raises UserError if it is not one Job, or lacks a Service that its pods need."""
        where = f"{self.section.template or OURS} (launcher.kubernetes.template)"
        try:
            bodies = [body for body in yaml.safe_load_all(text) if body is not None]
        except yaml.YAMLError as error:
            raise UserError(f"{where}: its result is not YAML: {' '.join(str(error).split())}.") from None
        kinds = [str(body.get("kind")) if isinstance(body, dict) else "" for body in bodies]
        if kinds.count("Job") != 1 or not set(kinds) <= {"Job", "Service"}:
            raise UserError(
                f"{where}: its result is not one Job, with or without Services. Begin with a copy of {OURS}."
            )
        services = [body for body, kind in zip(bodies, kinds, strict=True) if kind == "Service"]
        if NODE in text and not services:
            raise UserError(
                f"{where}: it gives no Service, by which the pods of a job on {self.settings.nodes} nodes would find each other."
                f" Begin with a copy of {OURS}."
            )
        return Manifest(bodies[kinds.index("Job")], tuple(services))


def _word(path: Path) -> str:
    """Escape a path for a command: Kubernetes would otherwise expand $(NAME) in it as a variable."""
    return str(path).replace("$", "$$")


def _resources(cpus: float, gigabytes: float) -> dict[str, dict[str, str]]:
    memory = {"memory": f"{gigabytes * 1000:.0f}M"} if gigabytes else {}
    return {"requests": {"cpu": f"{cpus:g}", **memory}, "limits": memory.copy()}
