"""Start one of several nodes of a heavy job: `python -m ehr_pipeline.engines.node HEAD PORT NODES NAME WORD…`.

This process becomes torchrun, with the given words and with options by which torchrun finds the other nodes. The first node (HEAD)
listens at the port. The others wait for it without a time limit; if it never listens, the engine that started them ends them.
torchrun alone would guess the first node from host names, and guess wrong if these resolve to a loopback address or are not yet
known on other machines.

The number of this node and its address come from the environment, set by Slurm or by the manifest of a Job in Kubernetes.
Standard library only.
"""

import os
import socket
import sys
import time

from ehr_pipeline.work.progress import REPEATED

# Seconds that a node waits for nodes that have not started: a full cluster may have room for only one of two.
JOINING = 86400


def listening(head: str, port: int) -> str:
    """Wait until the first node listens at the port, and return its address."""
    last_printed = -REPEATED
    while True:
        try:
            with socket.create_connection((head, port), timeout=10) as found:
                return str(found.getpeername()[0])
        except OSError as error:
            if time.monotonic() - last_printed > REPEATED:
                last_printed = time.monotonic()
                print(f"waiting for the first node at {head}:{port} ({error})", file=sys.stderr, flush=True)
            time.sleep(0.5)


def torchrun(head: str, port: int, nodes: int, name: str, number: int, here: str) -> list[str]:
    """Return the beginning of the torchrun command line for node `number`, whose own address is `here`."""
    address = listening(head, port) if number else here
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nnodes={nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-id={name}",
        f"--rdzv-endpoint={f'[{address}]' if ':' in address else address}:{port}",
        f"--rdzv-conf=is_host={int(number == 0)},join_timeout={JOINING}",
        f"--local-addr={here}",
    ]


def main(head: str, port: int, nodes: int, name: str, words: list[str]) -> None:
    """Replace this process with torchrun."""
    place = os.environ
    number = int(place["SLURM_NODEID"] if "SLURM_NODEID" in place else place["JOB_COMPLETION_INDEX"])
    here = place["SLURMD_NODENAME"] if "SLURM_NODEID" in place else place["POD_IP"]
    command = [*torchrun(head, port, nodes, name, number, here), *words]
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])
