"""A real Slurm on this machine, for tests: munged, slurmctld and slurmd of its own, on the loopback address."""

import getpass
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

from ehr_pipeline_tests.engines.disturbing import until

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
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10
"""


def absent() -> str:
    """Why no Slurm can be started here; empty where it can."""
    missing = [name for name in NEEDED if shutil.which(name, path=SYSTEM) is None]
    if missing:
        return f"there is no {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "Slurm's daemons start jobs as other users, so they need root"


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

    def start(self, daemon: str, *arguments: str) -> None:
        path = shutil.which(daemon, path=SYSTEM)
        assert path
        with (self.folder / f"{daemon}.out").open("ab") as out:
            command = [path, *arguments]
            self.daemons[daemon] = subprocess.Popen(command, env=self.environment, stdout=out, stderr=out)

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

    def forget(self) -> None:
        """Leave all jobs that there are out of `states`."""
        self.forgotten |= set(self.states())

    def idle(self) -> bool:
        """Whether the node waits for work."""
        try:
            return "idle" in self.run("sinfo", "--noheader", "--Format=StateCompact")
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
def running(cpus: int = 2) -> Iterator[Site]:
    """Start Slurm with one node of so many CPUs, and stop what was started."""
    if reason := absent():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="ehr-slurm-"))
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o755)
    folder.chmod(0o755)
    host = socket.gethostname().split(".")[0]
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(folder=folder, host=host, ports=_free_ports(2), cpus=cpus, user=getpass.getuser())
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
        site.start("slurmd", "-D", "-f", str(configuration))
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
