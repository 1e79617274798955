"""Does the data chain stay as fast and as small on ten times the rows, on 1,024 buckets, and on gzip?

Extracts come from `make_extract.py` of the folder given with --baseline. All runs are ours; the number of buckets is left to the
size of the extract except where the row says otherwise.

Usage: python benchmarks/data_scale.py --baseline FOLDER [--rows 3e7] [--times 10] [--keep FOLDER]
"""

import argparse
import gzip
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import results
from data_chain import EXTRACT, prepare, run_ours

from ehr_pipeline.store.artifacts import Store

Run = dict[str, float]


def extract_of(baseline: Path, folder: Path, rows: float) -> Path:
    """A generated extract, made when it is not there yet."""
    extract = folder / f"extract_{rows:.0e}"
    if not (extract / "map.tsv").is_file():
        files = max(3, int(rows / 2.5e7))
        make = [sys.executable, str(baseline / "make_extract.py"), str(extract), "--rows", str(rows)]
        subprocess.run([*make, "--files", str(files)], check=True)
    return extract


def compress(study: Path) -> None:
    """Put gzip files in place of the event files of a study's extract."""
    for path in sorted((study / "landing" / EXTRACT).glob("events_*.txt")):
        with path.open("rb") as source, gzip.open(path.with_suffix(".txt.gz"), "wb", compresslevel=4) as target:
            shutil.copyfileobj(source, target, 1 << 24)
        path.unlink()


def measure(extract: Path, folder: Path, name: str, buckets: int, zipped: bool = False) -> Run:
    """Prepare a study, run it, and remove what it made. Returns its figures and how many buckets it had."""
    path = prepare(extract, folder / f"study_{name}", buckets)
    if zipped:
        compress(path.parent)
    run = run_ours(path)
    store = Store(str(path.parent / "store"))
    run["buckets"] = store.current("raw_records", EXTRACT).counts["buckets"]
    size = store.current("patient_dataset").counts
    run["bytes_per_event"] = size["bytes"] / size["kept"]
    shutil.rmtree(path.parent)
    print(name, run, flush=True)
    return run


def main() -> None:
    """Run each once, in turn, the smallest before and after, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, required=True, help="folder of make_extract.py")
    parser.add_argument("--rows", type=float, default=3e7)
    parser.add_argument("--times", type=float, default=10, help="how many times as many rows the large extract has")
    parser.add_argument("--keep", type=Path, help="folder to keep extracts in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        small = extract_of(options.baseline, folder, options.rows)
        large = extract_of(options.baseline, folder, options.rows * options.times)
        many = f"{options.times:g} times the rows"
        runs = {
            "the same, first": measure(small, folder, "first", 0),
            many: measure(large, folder, "large", 0),
            f"{many}, 32 buckets": measure(large, folder, "large_few", 32),
            f"{many}, 1,024 buckets": measure(large, folder, "large_many", 1024),
            "the same, again": measure(small, folder, "again", 0),
            "32 buckets": measure(small, folder, "few", 32),
            "1,024 buckets": measure(small, folder, "many", 1024),
            "gzip": measure(small, folder, "gzip", 0, zipped=True),
        }
    base = min(runs["the same, first"]["seconds"], runs["the same, again"]["seconds"])
    figures = ("raw_records", "mapped_events", "vocabulary", "patient_dataset")
    rows = [
        (
            name,
            f"{run['buckets']:,.0f}",
            f"{run['seconds']:.1f}",
            f"{run['seconds'] / base:.2f}",
            *(f"{run[figure]:.1f}" for figure in figures),
            f"{run['peak'] / 1e9:.2f}",
        )
        for name, run in runs.items()
    ]
    more = {
        rows: runs[f"{name}1,024 buckets"]["seconds"] / runs[f"{name}32 buckets"]["seconds"] - 1
        for name, rows in (("", options.rows), (f"{many}, ", options.rows * options.times))
    }
    costs = " and ".join(f"{cost:+.0%} on {rows:,.0f} rows" for rows, cost in more.items())
    text = (
        f"{options.rows:,.0f} rows, two workers; whole processes, imports included. Memory: proportional set size of all"
        " processes.\n\n"
        + results.table(("run", "buckets", "seconds", "of the base", *figures, "GB"), rows)
        + f"\n\nBeside 32 buckets 1,024 cost {costs}."
        f" {runs['the same, first']['bytes_per_event']:.1f} bytes an event in the patient data set."
    )
    results.write("data_scale.py", "The data chain at scale", text)


if __name__ == "__main__":
    main()
