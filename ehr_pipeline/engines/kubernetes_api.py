"""Access to the Kubernetes API through its official client: Jobs, the states of their pods, and the pods' logs."""

import json
import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_pipeline.engines.scheduler import SchedulerUnavailable, State
from ehr_pipeline.engines.settings import KubernetesSettings
from ehr_pipeline.errors import UserError

_log = logging.getLogger("ehr_pipeline")
TIMEOUT = (10.0, 60.0)  # seconds to connect, and to wait for an answer
IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
OF_JOB = "batch.kubernetes.io/job-name"
LINES = 15
# Reasons why a container does not start, and will not until somebody fixes the cause.
WILL_NOT_START = {
    *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    *("ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "ImagePullBackOff", "InvalidImageName"),
}


class Refusal(Exception):
    """The cluster refuses a request; `status` is the HTTP status."""

    def __init__(self, status: int, message: str):
        self.status = status
        super().__init__(message)


@dataclass(frozen=True)
class Manifest:
    """The objects to create for one piece of work, in the form that the API accepts."""

    job: dict[str, Any]
    services: tuple[dict[str, Any], ...] = ()
    """Services through which the pods of one Job find each other; they are removed with the Job."""

    @property
    def name(self) -> str:
        """Name of the Job."""
        return str(self.job["metadata"]["name"])


class Cluster:
    """The cluster and the namespace given in the settings."""

    def __init__(self, settings: KubernetesSettings):
        try:
            from kubernetes import client
        except ModuleNotFoundError:
            raise UserError(
                "launcher.backend is 'kubernetes', but its client is not installed: pip install -c constraints.txt '.[k8s]'"
            ) from None
        configuration = client.Configuration()
        namespace = _connect(settings.context, configuration)
        self.namespace = settings.namespace or namespace or "default"
        api = client.ApiClient(configuration)
        self._jobs, self._core = client.BatchV1Api(api), client.CoreV1Api(api)

    def try_out(self, manifests: list[Manifest]) -> None:
        """Have the cluster check the manifests in a dry run, which creates nothing, and try the query that `look` will make.

        Raises UserError with the reason why the cluster refuses a manifest or the query, or when it does not answer.
        """
        try:
            for each in manifests:
                self._make(each, dry_run="All")
            self.look(manifests[0].name)
        except SchedulerUnavailable as silence:
            raise UserError(f"launcher.backend is 'kubernetes', but the cluster does not answer: {silence}") from None
        except Refusal as refusal:
            raise self._refused(refusal) from None

    def submit(self, manifest: Manifest) -> None:
        """Create a Job with its Services. Raises UserError if the cluster refuses (with its reason) or does not answer."""
        try:
            self._make(manifest)
        except SchedulerUnavailable as silence:
            raise UserError(f"Kubernetes does not answer, so the Job was not sent: {silence}") from None
        except Refusal as refusal:
            raise self._refused(refusal) from None

    def _make(self, manifest: Manifest, **how: str) -> None:
        """Create a Job and its Services, which are removed with the Job because it owns them (no owner in a dry run)."""
        job, how = manifest.job, how | {"field_validation": "Strict"}
        made = _call(self._jobs.create_namespaced_job, self.namespace, job, **how)
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": manifest.name, "uid": made.metadata.uid}
        belonging = {} if "dry_run" in how else {"ownerReferences": [owner]}
        for service in manifest.services:
            body = service | {"metadata": service["metadata"] | belonging}
            _call(self._core.create_namespaced_service, self.namespace, body, **how)

    def _refused(self, refusal: Refusal) -> UserError:
        return UserError(
            f"Kubernetes rejected the Job in the namespace {self.namespace} ({refusal.status}): {refusal} Look at"
            " launcher.kubernetes in the settings, and at `ehr-pipeline job-scripts`."
        )

    def look(self, job: str) -> State:
        """Return the state of a Job. Raises SchedulerUnavailable if the cluster does not answer, UserError if it denies access."""
        try:
            pods = _call(self._core.list_namespaced_pod, self.namespace, label_selector=f"{OF_JOB}={job}").items
            found = _call(self._jobs.read_namespaced_job, job, self.namespace)
        except Refusal as refusal:
            if refusal.status == 404:
                return State(f"somebody removed the Job {job} from Kubernetes", ended="removed")
            raise UserError(
                f"Kubernetes does not give the state of a Job in the namespace {self.namespace} ({refusal.status}): {refusal}"
                " The rights that are needed stand in deploy/role.yaml."
            ) from None
        for condition in found.status.conditions or []:
            if condition.type in ("Complete", "Failed") and condition.status == "True":
                text = f"{condition.reason or ''}: {condition.message or ''}".strip(": ")
                return State(text or condition.type, ended="well" if condition.type == "Complete" else "badly")
        counted: Counter[str] = Counter()
        stuck = ""
        for pod in pods:
            phase, why, mends = _of(pod)
            counted[f"{phase} ({why})" if why else phase] += 1
            stuck = stuck or (why if mends else "")
        phases = ", ".join(f"{number} {phase}" for phase, number in sorted(counted.items()))
        waits = not pods or any(phase.startswith("pending") for phase in counted)
        if found.spec.suspend:
            phases = "suspended"
        elif not pods:
            phases = f"no pod yet{self._warning(job)}"
        if stuck:
            stuck = f"a pod of the Job {job} cannot start ({stuck}). Look at launcher.kubernetes in the settings."
        return State(phases, waits, stuck)

    def _warning(self, job: str) -> str:
        """Return why a Job has no pod, such as a quota; empty when no reason is known, or events may not be read."""
        try:
            chosen = f"involvedObject.kind=Job,involvedObject.name={job},type=Warning"
            events = _call(self._core.list_namespaced_event, self.namespace, field_selector=chosen).items
        except (Refusal, SchedulerUnavailable):
            return ""
        return f" ({events[-1].reason}: {events[-1].message})" if events else ""

    def logs(self, job: str) -> str:
        """Return the last log lines of up to three pods that failed, for a message."""
        lines = []
        try:
            pods = _call(self._core.list_namespaced_pod, self.namespace, label_selector=f"{OF_JOB}={job}").items
            for pod in [pod for pod in pods if pod.status.phase == "Failed"][-3:]:
                name, end = pod.metadata.name, _end(pod)
                text = _call(self._core.read_namespaced_pod_log, name, self.namespace, tail_lines=LINES)
                lines += [f"The last lines of pod {name}{end}:", *(f"    {line}" for line in text.splitlines())]
        except (Refusal, SchedulerUnavailable) as error:
            lines.append(f"The logs of its pods cannot be read: {error}")
        return "\n".join(lines)

    def delete(self, job: str, wait: bool = False) -> bool:
        """Remove a Job with its pods. Return True if the cluster accepted the request or no longer had the Job.

        With `wait`, the Job stays until its pods have ended, so `is_there` shows when they have.
        """
        try:
            policy = "Foreground" if wait else "Background"
            _call(self._jobs.delete_namespaced_job, job, self.namespace, propagation_policy=policy)
        except (Refusal, SchedulerUnavailable) as error:
            if not (isinstance(error, Refusal) and error.status == 404):
                _log.warning("the Job %s in Kubernetes could not be removed: %s", job, error)
                return False
        return True

    def is_there(self, job: str) -> bool:
        """Return whether a Job still exists; True also if the cluster does not answer."""
        try:
            _call(self._jobs.read_namespaced_job, job, self.namespace)
        except Refusal as refusal:
            return refusal.status != 404
        except SchedulerUnavailable:
            pass
        return True


def _of(pod: Any) -> tuple[str, str, bool]:
    """Return the phase of a pod, why it waits, and whether somebody has to fix the cause."""
    phase = str(pod.status.phase or "Pending").lower()
    if phase != "pending":
        return phase, "", False
    for container in pod.status.container_statuses or []:
        waiting = container.state.waiting if container.state else None
        if waiting and waiting.reason in WILL_NOT_START:
            return phase, f"{waiting.reason}: {waiting.message or 'no message'}", True
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return phase, f"{condition.reason}: {condition.message}", False
    return phase, "", False


def _end(pod: Any) -> str:
    """Return how the container of a pod ended, such as ' (OOMKilled, exit code 137)'; empty when unknown."""
    for container in pod.status.container_statuses or []:
        ended = container.state.terminated if container.state else None
        if ended:
            return f" ({ended.reason or 'ended'}, exit code {ended.exit_code})"
    return f" ({pod.status.reason})" if pod.status.reason else ""


def _connect(context: str, configuration: Any) -> str:
    """Configure access to the cluster as kubectl does (kubeconfig, else the pod's service account). Returns the namespace."""
    from kubernetes import config

    files = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    try:
        if any(Path(file).is_file() for file in files.split(os.pathsep)):
            config.load_kube_config(files, context=context or None, client_configuration=configuration)
            contexts, current = config.list_kube_config_contexts(files)
            chosen = next((each for each in contexts if each["name"] == context), current)
            return str(chosen["context"].get("namespace", ""))
        config.load_incluster_config(client_configuration=configuration)
        return IN_POD.read_text(encoding="utf-8").strip()
    except (config.ConfigException, OSError) as error:
        raise UserError(
            f"launcher.backend is 'kubernetes', but how the cluster is reached cannot be read from {files}: {error}"
        ) from None


def _call(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call the API and return its answer. Raises Refusal, or SchedulerUnavailable when a retry may help."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return call(*arguments, **named, _request_timeout=TIMEOUT)
    except ApiException as error:
        message = _message(error)
        if not error.status or error.status >= 500 or error.status == 429:
            raise SchedulerUnavailable(f"{error.status} {message}") from None
        raise Refusal(error.status, message) from None
    except HTTPError as error:
        raise SchedulerUnavailable(" ".join(str(error).split())) from None


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, TypeError, KeyError):
        return str(error.reason or "no message")
