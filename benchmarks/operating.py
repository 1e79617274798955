"""What operating a study costs, and what it survives.

Parts: `server` (start, memory, a step), `partitions` (10,000 extracts), `landed` (50 extracts at once, with a kill of everything),
`year` (365 daily extracts), `faults` (killed while reading, training, reporting; a full disk). Everything is made in a temporary
folder. `faults` mounts a small disk, for which it needs to be root.

Usage: python benchmarks/operating.py [--part PART …] [--extracts 10000] [--at-once 50] [--days 365] [--epochs 15]
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import results
from operations import extracts_at_once, faults, partitions, server, year

from ehr_pipeline.synthetic.generate import generate

PATIENTS, SEED = 400, 7


def main() -> None:
    """Run parts; each replaces its part of the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extracts", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--epochs", type=int, default=15)
    parts: dict[str, tuple[str, Callable[[argparse.Namespace, Path, Path], str]]] = {
        "server": ("The server", lambda options, folder, source: server.measured(folder, source)),
        "partitions": (
            "Many extracts",
            lambda options, folder, source: partitions.measured(folder, source, options.extracts),
        ),
        "landed": (
            "Many extracts at once, and a kill",
            lambda options, folder, source: extracts_at_once.measured(folder, source, options.at_once),
        ),
        "year": (
            "A year of daily extracts",
            lambda options, folder, source: year.measured(folder, source, options.days),
        ),
        "faults": ("Killed, and full", lambda options, folder, source: faults.measured(folder, source, options.epochs)),
    }
    parser.add_argument("--part", nargs="+", choices=list(parts), default=list(parts))
    options = parser.parse_args()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("ended from outside")
    )  # so that servers are ended, and disks unmounted
    with tempfile.TemporaryDirectory(prefix="ehr-operating-", ignore_cleanup_errors=True) as named:
        source = Path(named) / "source"
        generate(source, PATIENTS, SEED)
        for part in options.part:
            heading, measure = parts[part]
            folder = Path(named) / part
            folder.mkdir()
            before = os.getloadavg()[0]
            text = measure(options, folder, source)
            busy = f"Processes that ran or waited to run on the machine, with all others on it: {before:.1f} before,"
            text += f"\n\n{busy} {os.getloadavg()[0]:.1f} at the end (averages of a minute)."
            results.write_part(Path(__file__).name, "Operating it", heading, text)


if __name__ == "__main__":
    main()
