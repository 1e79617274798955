"""Run a command that ends when its parent does: `python die_with_parent.py COMMAND …`.

Without it, a training whose Dagster step is killed would keep its GPU forever. Linux only; elsewhere the command runs unchanged.
Standard library only, and started by path, to save the time of importing the package.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(by: signal.Signals) -> None:
    """Ask the kernel to send this signal when the parent dies."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)
        if os.getppid() != parent:  # the parent died before the request reached the kernel
            sys.exit(1)


def main() -> None:
    """Arrange to die with the parent, undo inherited signal handling, and become the command."""
    die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
