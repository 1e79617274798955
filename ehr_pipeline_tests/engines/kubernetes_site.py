"""Stands in for a Kubernetes cluster, for tests: an API server on the loopback address, whose pods are processes of this machine.

It answers what the client asks (Jobs of batch/v1, pods, their logs, events) with the wire format of the real one, checks what it is
sent against the API's published schema where `kubernetes-validate` is installed, and does what the Job controller documents:
indexed completions, backoffLimit, podFailurePolicy, foreground deletion. Each pod has an address of its own, and knows others by
the names that headless Services give them. What it is not: a real cluster. Nothing of nodes, volumes, quotas, service accounts or
the scheduler is in it but what the tests set; of the image, that pods can import only what the recipe of the workers' image
installs.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ehr_pipeline.encoder import devices
from ehr_pipeline_tests.engines.kubernetes_image import ROOT, slim
from ehr_pipeline_tests.engines.kubernetes_objects import IMAGE, Job, Pod

NAMESPACE = "research"
VERSION = "1.31"  # of the schema
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{{name: here, context: {{cluster: here, user: me, namespace: {namespace}}}}}]
clusters: [{{name: here, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: me, user: {{token: "not a secret"}}}}]
"""


# The names of the cluster, as Python resolves them.
NAMES = """
import socket
def asked(host, *arguments, found=socket.getaddrinfo, **named):
    with open({dns!r}) as lines:
        return found(dict(map(str.split, lines)).get(host, host), *arguments, **named)
socket.getaddrinfo = asked
"""
# A processor's matrix units are those of this machine: what the tests are told of them, pods are told too.
FORCED = {name: value for name, value in os.environ.items() if name == devices.BFLOAT16_VARIABLE}


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str):
        self.status = status
        super().__init__(message)


class Site:
    """The cluster."""

    def __init__(self, folder: Path, python: str):
        self.folder, self.python = folder, python
        self.jobs: dict[str, Job] = {}
        self.services: dict[str, dict[str, Any]] = {}
        self.names: list[str] = []
        """Of all Jobs that were ever made."""
        self.deleted: list[str] = []
        self.asked: list[str] = []
        self.room = 2
        """Pods that can run at a time."""
        self.down = False
        self.quota = ""
        self.logs_may_be_read = True
        self.pods_may_be_listed = True
        self._orphans: list[Pod] = []
        image, self._dns, self._addresses = slim(folder / "image"), folder / "dns", 0
        with (image / "sitecustomize.py").open("a") as stream:
            stream.write(NAMES.format(dns=str(self._dns)))
        self._name()
        self._path = f"{image}{os.pathsep}{ROOT}"
        self._lock = threading.RLock()
        self._ended = threading.Event()
        site = self

        class Handler(_Handler):
            pass

        Handler.site = site
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._threads = [threading.Thread(target=self._server.serve_forever), threading.Thread(target=self._control)]
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(KUBECONFIG.format(port=self._server.server_port, namespace=NAMESPACE))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        for pod in [*self._orphans, *(pod for job in self.jobs.values() for pod in job.pods)]:
            pod.end(signal.SIGKILL)
            if pod.process:
                pod.process.wait()

    def pods(self) -> list[Pod]:
        """All pods that run."""
        with self._lock:
            return [pod for job in self.jobs.values() for pod in job.pods if pod.phase == "Running"]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """What the API server answers. Raises Refused."""
        if self.down:
            raise Refused(503, "the server is currently unable to handle the request")
        with self._lock:
            self.asked.append(f"{method} {path}")
            jobs = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
            core = f"/api/v1/namespaces/{NAMESPACE}"
            if method == "POST" and path == jobs:
                return self._make(query, body)
            if method == "POST" and path == f"{core}/services":
                return self._serve(query, body)
            if path.startswith(f"{jobs}/"):
                return self._job(method, path.removeprefix(f"{jobs}/"), query)
            if method == "GET" and path == f"{core}/pods":
                return {"kind": "PodList", "apiVersion": "v1", "items": self._list(query["labelSelector"])}
            if method == "GET" and path.startswith(f"{core}/pods/") and path.endswith("/log"):
                return self._log(path.split("/")[-2], int(query["tailLines"]))
            if method == "GET" and path == f"{core}/events":
                return {"kind": "EventList", "apiVersion": "v1", "items": self._events()}
        raise Refused(403, f'User "me" cannot {method.lower()} {path}')

    def _make(self, query: dict[str, str], body: dict[str, Any]) -> Any:
        name = body["metadata"]["name"]
        problems = invalid(body)
        if problems:
            raise Refused(422, f'Job.batch "{name}" is invalid: {problems}')
        assert query["fieldValidation"] == "Strict"
        if "dryRun" in query:
            return body
        body["metadata"]["uid"] = uuid.uuid4().hex
        if name in self.jobs:
            raise Refused(409, f'jobs.batch "{name}" already exists')
        self.jobs[name] = Job(body)
        self.names.append(name)
        return self.jobs[name].told()

    def _serve(self, query: dict[str, str], body: dict[str, Any]) -> Any:
        name = body["metadata"]["name"]
        if problems := invalid(body):
            raise Refused(422, f'Service "{name}" is invalid: {problems}')
        if "dryRun" not in query:
            (owner,) = body["metadata"]["ownerReferences"]
            assert owner["uid"] == self.jobs[owner["name"]].body["metadata"]["uid"]
            self.services[name] = body
        return body

    def _name(self) -> None:
        """The names that headless Services give to pods that run, for those to see."""
        lines = [
            f"{name}-{pod.index}.{service} {pod.address}\n"
            for service, body in self.services.items()
            for name, job in self.jobs.items()
            for pod in job.pods
            if pod.phase == "Running"
            and body["spec"]["clusterIP"] == "None"
            and body["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
            and job.spec["template"]["spec"].get("subdomain") == service
        ]
        beside = self._dns.with_name("dns.new")
        beside.write_text("".join(lines))
        beside.replace(self._dns)

    def _job(self, method: str, name: str, query: dict[str, str]) -> Any:
        if name not in self.jobs:
            raise Refused(404, f'jobs.batch "{name}" not found')
        job = self.jobs[name]
        if method == "DELETE":
            self.delete(name, query["propagationPolicy"] == "Foreground")
        return job.told()

    def delete(self, name: str, foreground: bool = False) -> None:
        """As `kubectl delete job` does. Pods have 30 s to end; in the foreground the Job waits for them."""
        job = self.jobs[name]
        self.deleted.append(name)
        job.leaving = time.monotonic()
        for pod in job.pods:
            pod.end(signal.SIGTERM)
        if not foreground:
            self._control_leaving(name, job, at_once=True)

    def _list(self, selector: str) -> list[Any]:
        label, _, name = selector.partition("=")
        assert label == "batch.kubernetes.io/job-name"
        if not self.pods_may_be_listed:
            raise Refused(403, "pods is forbidden")
        return [pod.told(name) for pod in self.jobs[name].pods] if name in self.jobs else []

    def _log(self, name: str, lines: int) -> str:
        if not self.logs_may_be_read:
            raise Refused(403, "pods/log is forbidden")
        for job in self.jobs.values():
            for pod in job.pods:
                if pod.name == name:
                    return "".join(pod.log.read_text(errors="replace").splitlines(True)[-lines:])
        raise Refused(404, f'pods "{name}" not found')

    def _events(self) -> list[Any]:
        if not self.quota:
            return []
        about = {"metadata": {"name": "x"}, "involvedObject": {"kind": "Job"}, "type": "Warning"}
        return [about | {"reason": "FailedCreate", "message": self.quota}]

    def _control(self) -> None:
        """The Job controller, the scheduler and the kubelet."""
        while not self._ended.wait(0.02):
            with self._lock:
                for name, job in list(self.jobs.items()):
                    if job.leaving:
                        self._control_leaving(name, job)
                    elif job.condition is None and not self.quota:
                        self._control_job(name, job)
                if self.services:
                    self._name()

    def _control_leaving(self, name: str, job: Job, at_once: bool = False) -> None:
        if time.monotonic() - job.leaving > 30:
            for pod in job.pods:
                pod.end(signal.SIGKILL)
        # Without the Job, its pods are collected: they were told to end.
        if at_once or not any(pod.phase == "Running" for pod in job.pods):
            self.jobs.pop(name, None)
            self._orphans += job.pods
            uid = job.body["metadata"]["uid"]
            belonging = [
                name for name, body in self.services.items() if body["metadata"]["ownerReferences"][0]["uid"] == uid
            ]
            for each in belonging:
                del self.services[each]

    def _control_job(self, name: str, job: Job) -> None:
        spec = job.spec
        for pod in job.pods:
            if pod.phase == "Failed" and not pod.judged:
                pod.judged = True
                self._judge(name, job, pod)
        if job.condition:
            for pod in job.active():
                pod.end(signal.SIGTERM)
            return
        completions = spec.get("completions", 1)
        done = {pod.index for pod in job.pods if pod.phase == "Succeeded"}
        if len(done) == completions:
            job.condition = {"type": "Complete", "status": "True"}
            return
        busy = {pod.index for pod in job.active()}
        for index in sorted(set(range(completions)) - done - busy):
            if len(job.active()) < spec.get("parallelism", 1):
                pod_name = f"{name}-{index}-{uuid.uuid4().hex[:5]}"
                self._addresses += 1
                address = f"127.0.{1 + self._addresses // 250}.{2 + self._addresses % 250}"
                job.pods.append(Pod(pod_name, index, self.folder / f"{pod_name}.log", address))
        for pod in job.active():
            if pod.process is None:
                self._start(job, pod)

    def _judge(self, name: str, job: Job, pod: Pod) -> None:
        """What the Job's policy says of a pod that failed."""
        for number, rule in enumerate(job.spec["podFailurePolicy"]["rules"]):
            codes = rule.get("onExitCodes", {}).get("values", [])
            if rule["action"] == "FailJob" and pod.code in codes:
                message = f"Container work for pod {NAMESPACE}/{pod.name} failed with exit code {pod.code} matching FailJob rule"
                text = f"{message} at index {number}"
                job.condition = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": text}
                return
            if rule["action"] == "Ignore" and pod.disrupted:
                return
        job.failures += 1
        if job.failures > job.spec["backoffLimit"]:
            text = "Job has reached the specified backoff limit"
            job.condition = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": text}

    def _start(self, job: Job, pod: Pod) -> None:
        spec = job.spec["template"]["spec"]
        (container,) = spec["containers"]
        if container["image"] != IMAGE:
            pod.waits = "ErrImagePull"
            return
        if len(self.pods()) >= self.room:
            pod.waits = "0/1 nodes are available: 1 Insufficient cpu."
            return
        assert spec["securityContext"]["runAsUser"] == os.getuid()
        values = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        from_fields = {each["name"]: each["valueFrom"]["fieldRef"] for each in container["env"] if "valueFrom" in each}
        values |= {name: {"status.podIP": pod.address}[field["fieldPath"]] for name, field in from_fields.items()}
        # What the Job controller adds to the container of an indexed Job.
        values["JOB_COMPLETION_INDEX"] = str(pod.index)
        command = [expanded(word, values) for word in container["command"]]
        command[0] = self.python if command[0] == "python" else command[0]
        # Words that start Python again within the pod find the same one.
        command = [self.python if word == "python" else word for word in command]
        with pod.log.open("wb") as log:
            pod.process = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": self._path} | FORCED | values,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )


def expanded(word: str, values: dict[str, str]) -> str:
    """As Kubernetes expands the words of a command: $(NAME), and $$ for $."""
    kept = word.replace("$$", "\0")
    for name, value in values.items():
        kept = kept.replace(f"$({name})", value)
    return kept.replace("\0", "$")


def invalid(body: dict[str, Any]) -> str:
    """What the API's published schema has against an object; empty where it is not installed, too."""
    try:
        import kubernetes_validate
    except ModuleNotFoundError:
        return ""
    try:
        kubernetes_validate.validate(body, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    return ""


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        place = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(place.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        status, answer = 200, None
        try:
            answer = self.site.answer(self.command, unquote(place.path), query, body)
        except Refused as refused:
            status = refused.status
            answer = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "message": str(refused),
                "code": status,
            }
        text = answer if isinstance(answer, str) else json.dumps(answer)
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _serve


@contextmanager
def running(folder: Path, python: str = sys.executable) -> Iterator[Site]:
    """Start the cluster, and end it with all its pods."""
    folder.mkdir(parents=True, exist_ok=True)
    site = Site(folder, python)
    site.start()
    try:
        yield site
    finally:
        site.stop()
