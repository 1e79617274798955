"""The map of patients in a browser, by embedding-atlas (github.com/apple/embedding-atlas): points, neighbours, filters.

It brings many packages of its own, so it is no extra of this project: `pip install embedding-atlas`, in an environment on the PATH.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ehr_pipeline.errors import UserError
from ehr_pipeline.export import results

PROGRAM = "embedding-atlas"


def command(patients: Path, port: int) -> list[str]:
    """How the explorer is started: for this machine alone, on the places that are there, with no model loaded.

    Raises UserError when it is not installed.
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


def explore(found: results.Found, seed: int, port: int) -> int:
    """Write the results into a temporary folder and serve them until the user ends it. Returns the explorer's exit status."""
    with tempfile.TemporaryDirectory(prefix="ehr-explore-") as scratch:
        out = Path(scratch) / "results"
        started = command(out / "patients.parquet", port)
        results.export(found, out, seed)
        print(f"http://127.0.0.1:{port}  (Ctrl-C ends it; the tables are removed then)", flush=True)
        try:
            return subprocess.run(started, check=False).returncode
        except KeyboardInterrupt:
            return 0
