"""One of several nodes of a heavy job: `python -m ehr_pipeline.engines.node HEAD PORT NODES NAME WORD…`.

Becomes torchrun with these words, and with those by which it finds its like on the other nodes: the first node (HEAD) listens at
the port, and the others wait for it, as long as it takes; who started them ends them when that is in vain. torchrun alone would
guess from host names who is first, wrongly where these stand for a loopback address or are not known to the other nodes yet.

Which node this is, and its address, are in the environment, from Slurm or from the manifest of a Job in Kubernetes.
Standard library only.
"""

import os
import socket
import sys
import time

from ehr_pipeline.work.progress import REPEATED

# Seconds for which a node waits for others that are still to be started: a full cluster may have room for one of two.
JOINING = 86400


def listening(head: str, port: int) -> str:
    """The address of the first node, once it listens there."""
    told = -REPEATED
    while True:
        try:
            with socket.create_connection((head, port), timeout=10) as found:
                return str(found.getpeername()[0])
        except OSError as error:
            if time.monotonic() - told > REPEATED:
                told = time.monotonic()
                print(f"waiting for the first node at {head}:{port} ({error})", file=sys.stderr, flush=True)
            time.sleep(0.5)


def torchrun(head: str, port: int, nodes: int, name: str, number: int, own: str) -> list[str]:
    """The beginning of the command line of the node with this number and this address of its own."""
    address = listening(head, port) if number else own
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nnodes={nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-id={name}",
        f"--rdzv-endpoint={f'[{address}]' if ':' in address else address}:{port}",
        f"--rdzv-conf=is_host={int(number == 0)},join_timeout={JOINING}",
        f"--local-addr={own}",
    ]


def main(head: str, port: int, nodes: int, name: str, words: list[str]) -> None:
    """Become torchrun."""
    place = os.environ
    number = int(place["SLURM_NODEID"] if "SLURM_NODEID" in place else place["JOB_COMPLETION_INDEX"])
    own = place["SLURMD_NODENAME"] if "SLURM_NODEID" in place else place["POD_IP"]
    command = [*torchrun(head, port, nodes, name, number, own), *words]
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])
