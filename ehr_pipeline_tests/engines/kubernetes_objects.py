"""Jobs and pods of the stand-in for a Kubernetes cluster, and how the API tells of them. A pod is a process of this machine."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IMAGE = "registry.example/ehr-worker:1"


@dataclass
class Pod:
    """A process."""

    name: str
    index: int
    log: Path
    address: str
    process: "subprocess.Popen[bytes] | None" = None
    waits: str = ""
    disrupted: bool = False
    judged: bool = False

    @property
    def code(self) -> int | None:
        """The exit code of its container."""
        found = self.process.poll() if self.process else None
        return found if found is None or found >= 0 else 128 - found

    @property
    def phase(self) -> str:
        if self.process is None:
            return "Pending"
        return {None: "Running", 0: "Succeeded"}.get(self.code, "Failed")

    def end(self, sign: int) -> None:
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, sign)

    def told(self, job: str) -> dict[str, Any]:
        """As the API tells it."""
        state: dict[str, Any] = {"running": {}}
        conditions = []
        if self.process is None and self.waits.startswith("Err"):
            state = {"waiting": {"reason": self.waits, "message": "no such image"}}
        elif self.process is None:
            conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": self.waits}]
        elif self.code is not None:
            reason = "Completed" if self.code == 0 else "Error"
            state = {"terminated": {"exitCode": self.code, "reason": reason}}
        container = {"name": "work", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 0, "state": state}
        return {
            "metadata": {"name": self.name, "labels": {"batch.kubernetes.io/job-name": job}},
            "spec": {"containers": [{"name": "work"}]},
            "status": {"phase": self.phase, "conditions": conditions, "containerStatuses": [container]},
        }


@dataclass
class Job:
    """A Job and its controller's memory."""

    body: dict[str, Any]
    pods: list[Pod] = field(default_factory=list)
    failures: int = 0
    condition: dict[str, str] | None = None
    leaving: float = 0.0

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.body["spec"]
        return spec

    def told(self) -> dict[str, Any]:
        conditions = [self.condition] if self.condition else []
        return self.body | {"status": {"conditions": conditions, "active": len(self.active())}}

    def active(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.phase in ("Pending", "Running")]
