"""Show the map of patients in a browser, by embedding-atlas (github.com/apple/embedding-atlas): points, neighbours, filters.

It has many dependencies, so it is not an extra of this project: `pip install embedding-atlas`, in an environment on the PATH.
"""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

from ehr_pipeline.errors import UserError
from ehr_pipeline.export import results
from ehr_pipeline.store import build_lock
from ehr_pipeline.work import die_with_parent

PROGRAM = "embedding-atlas"


def command(patients: Path, port: int) -> list[str]:
    """Return the command that starts the explorer: for this machine only, with the existing map positions and without a model.

    Raises UserError if the explorer is not installed.
    """
    beside = Path(sys.executable).with_name(PROGRAM)
    program = str(beside) if beside.is_file() else shutil.which(PROGRAM)
    if not program:
        raise UserError(
            f"{PROGRAM} is not installed. It shows the map in a browser: pip install {PROGRAM} (in an environment of its own, and"
            " put its bin folder on the PATH). Or write the tables with `ehr-pipeline export results`, and use another explorer."
        )
    places = ["--x", "x", "--y", "y", "--neighbors", "neighbours", "--disable-projection"]
    return [program, str(patients), *places, "--host", "127.0.0.1", "--port", str(port)]


def explore(found: results.Inputs, store: Path, seed: int, port: int) -> int:
    """Write the results to a scratch folder of the store, and serve them until the user stops the explorer.

    The explorer's output is hidden, since it prints rows of the table. Raises UserError when the explorer fails.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # remove the tables at once, not in the next run
    with build_lock.scratch(store) as folder:
        out = folder / "results"
        started = command(out / "patients.parquet", port)
        results.export(found, out, seed)
        print(f"http://127.0.0.1:{port}  (Ctrl-C ends it; the tables are removed then)", flush=True)
        try:
            ends_too = [sys.executable, str(die_with_parent.__file__)]  # otherwise it would go on serving after a kill
            done = subprocess.run(
                [*ends_too, *started], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except KeyboardInterrupt:
            return 0
    if done.returncode:
        raise UserError(
            f"{PROGRAM} ended with status {done.returncode}. Is port {port} in use (--port)? Else write the tables with"
            f" `ehr-pipeline export results`, and start {PROGRAM} on patients.parquet yourself to see what it says."
        )
    return 0
