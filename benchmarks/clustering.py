"""Is our spectral clustering faster than scikit-learn's, with the same clusters? Beside `spectral_baseline.py`, in turn.

Twenty planted groups on curved sheets, 53,228 x 256; with `--hard` their noise makes them touch. Seconds are of the call alone, on
both sides: imports are left out, compilation is in. The same partition: ours beside LAPACK's full solver on part of the hard data.
`--million` is a million patients instead, in a process of its own. Uniform noise is the graph without a clear gap. RESULTS.md keeps
the figures of each processor.

Usage: python benchmarks/clustering.py --baseline FOLDER [--million] [--note TEXT]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import results
from time_and_memory import watched

GROUPS, NEIGHBOURS = 20, 15
EXACT_ON = 3000


def ours(path: Path, patients: int) -> dict[str, Any]:
    """Cluster one file, and tell how long it took and how well it went."""
    from sklearn.metrics import adjusted_rand_score

    from ehr_pipeline.clusters.neighbour_graph import neighbour_graph
    from ehr_pipeline.clusters.spectral import spectrum

    with np.load(path) as stored:
        x, truth = stored["x"][:patients], stored["truth"][:patients]
    start = time.perf_counter()
    graph = neighbour_graph(x, NEIGHBOURS, 0)
    middle = time.perf_counter()
    found = spectrum(graph, GROUPS, 0)
    labels = found.labels(GROUPS)
    end = time.perf_counter()
    return {
        "patients": len(x),
        "seconds": end - start,
        "neighbours_s": middle - start,
        "ari": float(adjusted_rand_score(truth, labels)),
        "parts": graph.parts,
        "exact": graph.exact,
        "converged": int(found.leading.converged.sum()),
        "residual": float(found.leading.residuals.max()),
        "products": found.leading.products,
        "cpu_s": time.process_time(),
    }


def same_as_exact(path: Path) -> float:
    """Agreement of our clusters with those of LAPACK's full eigenvectors, on the first patients of a file."""
    from sklearn.metrics import adjusted_rand_score

    from ehr_pipeline.clusters.neighbour_graph import neighbour_graph
    from ehr_pipeline.clusters.spectral import cluster_qr, spectrum

    with np.load(path) as stored:
        x = stored["x"][:EXACT_ON]
    graph = neighbour_graph(x, NEIGHBOURS, 0)
    root = np.sqrt(graph.links.sum(axis=1))
    vectors = np.linalg.eigh(graph.links.toarray().astype(np.float64) / root[:, None] / root)[1]
    exact = cluster_qr(vectors[:, ::-1][:, :GROUPS] / root[:, None])
    return float(adjusted_rand_score(exact, spectrum(graph, GROUPS, 0).labels(GROUPS)))


def in_process(*arguments: str) -> tuple[dict[str, Any], float]:
    """One of the above in a process of its own: what it told, and its peak of memory in GB."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.json"
        _, peak = watched([sys.executable, __file__, "--ours", *arguments, "--told", str(told)])
        found: dict[str, Any] = json.loads(told.read_text())
    return found, peak / 1e9


def theirs(script: Path, path: Path, *arguments: str) -> dict[str, Any]:
    """scikit-learn on the same data; writes the data as well."""
    command = [sys.executable, "-W", "ignore", str(script), str(path), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1]) if "--make-only" not in arguments else {}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--baseline", type=Path, help="folder of spectral_baseline.py")
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--note", default="")
    parser.add_argument("--ours", type=Path)
    parser.add_argument("--patients", type=int, default=10**9)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--told", type=Path)
    options = parser.parse_args()
    if options.ours:
        found = {"agreement": same_as_exact(options.ours)} if options.exact else ours(options.ours, options.patients)
        options.told.write_text(json.dumps(found))
        return
    if not options.baseline:
        parser.error("--baseline is needed: its script makes the data")
    script = options.baseline / "spectral_baseline.py"
    with tempfile.TemporaryDirectory() as scratch:
        made, what = (million, "A million patients") if options.million else (compared, "53,228 patients")
        text = made(script, Path(scratch), options.note)
    results.write_part("clustering.py", "Clustering", f"{what}, on {results.machine()}", text)


def compared(script: Path, folder: Path, note: str) -> str:
    """Both sides on both kinds of data, the exact solver, and noise."""
    rows, facts = [], {}
    for name, arguments in (("easy", ()), ("hard", ("--hard",))):
        path = folder / f"{name}.npz"
        baseline = theirs(script, path, *arguments)
        facts[name], peak = in_process(str(path))
        own = facts[name]
        ratio = own["seconds"] / baseline["seconds"]
        rows.append((name, "scikit-learn", baseline["seconds"], "", baseline["ari"], baseline["peak_memory_GB"], ""))
        seconds, nearest = f"{own['seconds']:.1f}", f"{own['neighbours_s']:.1f}"
        rows.append((name, "ours", seconds, nearest, f"{own['ari']:.4f}", f"{peak:.2f}", f"**{ratio:.2f}**"))
    header = ("data", "", "seconds", "of them neighbours", "adjusted Rand index to the truth", "GB", "ratio")
    exact, _ = in_process(str(folder / "hard.npz"), "--exact")
    noise = folder / "noise.npz"
    x = np.random.default_rng(0).normal(size=(20_000, 256)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    np.savez(noise, x=x, truth=np.zeros(len(x), int))
    lost, _ = in_process(str(noise))
    words = (
        f"The same partition as LAPACK's full solver on {EXACT_ON:,} patients of the hard data: adjusted Rand index"
        f" {exact['agreement']:.4f}.\n\n"
        f"Without a gap (20,000 points of uniform noise): {lost['converged']} of {GROUPS} eigenvectors within the tolerance,"
        f" largest residual {lost['residual']:.1e}, {lost['seconds']:.1f} s. Easy and hard data:"
        f" {facts['easy']['converged']} and {facts['hard']['converged']} of {GROUPS}, residuals to"
        f" {facts['easy']['residual']:.1e} and {facts['hard']['residual']:.1e}."
    )
    return f"53,228 x 256, {GROUPS} groups{note}.\n\n{results.table(header, rows)}\n\n{words}"


def million(script: Path, folder: Path, note: str) -> str:
    """A million patients."""
    path = folder / "million.npz"
    theirs(script, path, "--patients", "1000000", "--make-only")
    own, peak = in_process(str(path))
    return (
        f"1,000,000 x 256{note}: **{own['seconds'] / 60:.1f} minutes** ({own['neighbours_s'] / 60:.1f} of them"
        f" {'exact' if own['exact'] else 'approximate'} neighbours;"
        f" {own['cpu_s'] / 60:.1f} minutes of processor time in all), **{peak:.1f} GB** at most, adjusted Rand index"
        f" {own['ari']:.4f}; {own['converged']} of {GROUPS} eigenvectors within the tolerance."
    )


if __name__ == "__main__":
    main()
