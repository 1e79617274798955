"""The first process of a pod: `python -m ehr_pipeline.engines.pod FOLDER SECONDS COMMAND …`.

It runs the command, and ends it when the process that sent the work is gone.

Exit codes: 2 if the command left the message of an error that the user has to fix, whatever exit code torchrun reports; 75 if the
sender was gone; otherwise the code of the command. The Job's policy does not restart pods that end with 2 or 75.
"""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ehr_pipeline.disclosure.governance import private_files
from ehr_pipeline.engines.heartbeat import Watch
from ehr_pipeline.work.jobs import ERROR, USER_ERROR_CODE, end_process

LAPSED_CODE = 75  # EX_TEMPFAIL of sysexits.h
ENDING = 20.0  # seconds that a command has to end after SIGTERM; Kubernetes gives pods 30


def main(folder: Path, lapse: float, command: list[str]) -> int:
    """Run the command until it ends, or until its sender is gone. Returns the exit code."""
    private_files()
    watch = Watch(folder, lapse)
    process = subprocess.Popen(command)

    def end(signum: int, frame: Any) -> None:
        process.terminate()

    # The first process of a pod receives only the signals for which it has a handler.
    signal.signal(signal.SIGTERM, end)
    while True:
        try:
            code = process.wait(watch.pause)
            break
        except subprocess.TimeoutExpired:
            if watch.lapsed():
                end_process(process, ENDING)
                return LAPSED_CODE
    if code and (folder / ERROR).is_file():
        return USER_ERROR_CODE
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
