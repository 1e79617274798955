"""A real Slurm on this machine, for tests: munged, slurmctld and slurmd of its own, on the loopback address.

Debian's slurmd is not built to run several times on one machine, so each of several nodes gets a host name, an address and an
/etc/hosts of its own, in name spaces of the kernel: `unshare`.
"""

import getpass
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ehr_pipeline_tests.engines.disturbing import ROOT
from ehr_pipeline_tests.processes import until

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
SYSTEM = f"/usr/sbin:/sbin:{os.environ['PATH']}"
# Two partitions: a job in 'urgent' preempts those in 'main', which go back into the queue. What was queued again may start after
# cred_expire seconds. The node has as many CPUs as is said, however many this machine has.
CONFIGURATION = """
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldPort={port}
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""
NODE = "NodeName={name} NodeAddr={address} Port={port} CPUs={cpus} State=UNKNOWN"
# Become a daemon on a machine of this name, which knows the others.
ELSEWHERE = 'hostname "$0" && mount --bind "$1" /etc/hosts && shift && exec "$@"'


def absent() -> str:
    """Why no Slurm can be started here; empty where it can."""
    missing = [name for name in NEEDED if shutil.which(name, path=SYSTEM) is None]
    if missing:
        return f"there is no {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "Slurm's daemons start jobs as other users, so they need root"


def alone() -> str:
    """Why no second node can be started here; empty where it can."""
    command = ["unshare", "--uts", "--mount", "sh", "-c", ELSEWHERE, "ehr-node", "/etc/hosts", "true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no unshare, so a machine is one node only"
    return done.stderr.strip() and f"no machine of another name can be made up here: {done.stderr.strip()}"


@dataclass
class Site:
    """A running Slurm. Processes with `environment` reach it."""

    folder: Path
    environment: dict[str, str]
    first_job: int = 0
    forgotten: set[str] = field(default_factory=set)
    daemons: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def run(self, *command: str) -> str:
        """The output of one of Slurm's commands."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def start(self, daemon: str, *arguments: str, node: str = "") -> None:
        path = shutil.which(daemon, path=SYSTEM)
        assert path
        command = [path, *arguments]
        if node:
            command = ["unshare", "--uts", "--mount", "sh", "-c", ELSEWHERE, node, str(self.folder / "hosts"), *command]
        name = f"{daemon}-{node}" if node else daemon
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(command, env=self.environment, stdout=out, stderr=out)

    def start_scheduler(self) -> None:
        """Start it; what was killed may not have saved which numbers it gave to jobs, so others come now."""
        configuration = Path(self.environment["SLURM_CONF"])
        lines = [line for line in configuration.read_text().splitlines() if not line.startswith("FirstJobId=")]
        self.first_job += 1000
        configuration.write_text("\n".join([*lines, f"FirstJobId={self.first_job}"]) + "\n")
        self.start("slurmctld", "-D", "-f", self.environment["SLURM_CONF"])

    def kill_scheduler(self) -> None:
        self.daemons["slurmctld"].kill()
        self.daemons["slurmctld"].wait()

    def states(self) -> dict[str, str]:
        """State of every job and array element that Slurm knows of, but for those that were forgotten."""
        lines = self.run("squeue", "--noheader", "--array", "--states=all", "--Format=JobID:20,ArrayTaskID:10,State:20")
        parts = [line.split() for line in lines.splitlines()]
        found = {f"{job}_{task}": state for job, task, state in parts}
        return {name: state for name, state in found.items() if name not in self.forgotten}

    @contextmanager
    def reached(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        """Have a test's process send its work here, and hear what is logged; then end what it left."""
        for name in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(name, self.environment[name])
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        caplog.set_level(logging.INFO, "ehr_pipeline")
        yield
        self.cancel_all()
        self.forget()

    def forget(self) -> None:
        """Leave all jobs that there are out of `states`."""
        self.forgotten |= set(self.states())

    def idle(self) -> bool:
        """Whether all nodes wait for work."""
        try:
            states = self.run("sinfo", "--noheader", "--Format=StateCompact").split()
            return {state.rstrip("*") for state in states} == {"idle"}
        except subprocess.CalledProcessError:
            return False

    def cancel_all(self) -> None:
        """End every job, and wait for it: the next test starts with an empty queue."""
        self.run("scancel", "--user", getpass.getuser())
        assert until(lambda: self.run("squeue", "--noheader").strip() == "" and self.idle(), 60)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def running(cpus: int = 2, nodes: tuple[str, ...] = ()) -> Iterator[Site]:
    """Start Slurm with one node of so many CPUs, or with several of these names, and stop what was started."""
    if reason := absent() or (alone() if nodes else ""):
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="ehr-slurm-"))
    for name in ("state", "munge"):
        (folder / name).mkdir(mode=0o755)
    folder.chmod(0o755)
    host = socket.gethostname().split(".")[0]
    addresses = {name: f"127.0.0.{number}" for number, name in enumerate(nodes, start=11)} or {host: "127.0.0.1"}
    known = {"localhost": "127.0.0.1"} | addresses
    (folder / "hosts").write_text("".join(f"{address} {name}\n" for name, address in known.items()))
    port, *ports = _free_ports(1 + len(addresses))
    lines = [
        NODE.format(name=name, address=address, port=own, cpus=cpus)
        for (name, address), own in zip(addresses.items(), ports, strict=True)
    ]
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(folder=folder, host=host, port=port, nodes="\n".join(lines), user=getpass.getuser())
    )
    site = Site(folder, os.environ | {"SLURM_CONF": str(configuration), "PATH": SYSTEM})
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    try:
        munge = [f"--{name}={folder}/munge/{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
        site.start("munged", "--foreground", "--force", f"--key-file={key}", *munge)
        assert until(lambda: (folder / "munge" / "socket").exists(), 20), _logs(folder)
        site.start_scheduler()
        for node in nodes or ("",):
            site.start("slurmd", "-D", "-f", str(configuration), node=node)
        assert until(site.idle, 60), _logs(folder)
        try:
            yield site
        finally:
            site.cancel_all()
    finally:
        for daemon in reversed(site.daemons.values()):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _logs(folder: Path) -> str:
    return "\n".join(
        f"== {path}\n{path.read_text(errors='replace')[-2000:]}" for path in sorted(folder.glob("*.[lo][ou][gt]"))
    )
