"""Nearest neighbours: our exact search, faiss' flat and inverted indexes. Seconds, processor seconds, memory, recall.

Each method runs in a process of its own, one after the other. Points lie around 200 centres on a sheet of 24 dimensions, with noise
in all 256: the groups touch. Recall is the share of the k true neighbours that are found, over 1,000 points.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any
from unittest import mock

import numpy as np
import results
from numpy.typing import NDArray

from ehr_pipeline.clusters import neighbours, scores
from ehr_pipeline.clusters.neighbour_graph import approximate_neighbours
from ehr_pipeline.embeddings.geometry import unit_length

K, WIDTH, CENTRES, SHEET = 14, 256, 200, 24
METHODS = ("exact, int8 products", "exact, float32 products", "faiss, flat", "inverted file (faiss), as used")


def points(n: int) -> NDArray[np.float32]:
    """Unit vectors (n, WIDTH)."""
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(SHEET, WIDTH)).astype(np.float32)
    centres = rng.normal(size=(CENTRES, SHEET)).astype(np.float32)
    places = centres[rng.integers(0, CENTRES, n)] + rng.normal(scale=0.5, size=(n, SHEET)).astype(np.float32)
    return unit_length(places @ axes + rng.normal(scale=1.0, size=(n, WIDTH)).astype(np.float32))


def found_by(method: str, unit: NDArray[np.float32]) -> NDArray[np.integer]:
    """The neighbours (n, K) by a method."""
    if method.startswith("exact"):
        with mock.patch.object(scores, "multiplies_bytes", return_value="int8" in method):
            return neighbours.exact_neighbours(unit, K)[0]
    if method.startswith("inverted"):
        return approximate_neighbours(unit, K, 0)
    import faiss

    index = faiss.IndexFlatIP(WIDTH)
    index.add(unit)
    rows: NDArray[np.int64] = index.search(unit, K + 1)[1]
    return rows[:, 1:]


def measure(method: str, patients: int) -> dict[str, Any]:
    """What one method needs and finds."""
    unit = points(patients)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, own = time.perf_counter(), time.process_time()
    found = found_by(method, unit)
    wall, own = time.perf_counter() - wall, time.process_time() - own
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sample = np.linspace(0, patients - 1, 1000).astype(np.int64)
    true = neighbours.nearest_of(unit[sample], unit, K + 1)[:, 1:]
    recall = float((found[sample][:, :, None] == true[:, None, :]).any(1).mean())
    return {"seconds": wall, "processor": own, "gb": (peak - before) / 1e6, "recall": recall}


def main() -> None:
    """Run every method, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=53_228)
    parser.add_argument("--without", nargs="*", default=[], help="methods that are left out, by the first letters")
    parser.add_argument("--method", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.method:
        print(json.dumps(measure(options.method, options.patients)))
        return
    rows = []
    for method in METHODS:
        if method.startswith(tuple(options.without)):
            continue
        command = [sys.executable, __file__, "--patients", str(options.patients), "--method", method]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        told = json.loads(done.stdout.splitlines()[-1])
        own = (f"{told['seconds']:.1f}", f"{told['processor']:.1f}", f"{told['gb']:.2f}", f"{told['recall']:.3f}")
        rows.append((method, *own))
    header = ("method", "seconds", "of processor", "GB more than the points", f"recall of {K}")
    results.write_part(
        "neighbours.py",
        "Nearest neighbours",
        f"{options.patients:,} x {WIDTH}",
        results.table(header, rows),
    )


if __name__ == "__main__":
    main()
