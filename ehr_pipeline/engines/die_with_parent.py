"""Run a command that ends when its parent does: `python die_with_parent.py COMMAND …`.

Without it, a training whose Dagster step is killed keeps its GPU for ever. Linux only; elsewhere it runs the command as it is.
Standard library only, and started by path: it must not cost an import of the package.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGTERM at the parent's death, undo inherited signal handling, and become the command."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent died before the kernel knew of the wish
            sys.exit(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
