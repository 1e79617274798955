"""From raw text to one row for each patient: this project beside DuckDB SQL and tuned Polars, on one extract, in turn.

Ours does it with all its checks, the quarantine, the reports, and content hashes. A time counts only if all give the same
patients, visits and concepts: every patient's dates and the token ids of every visit are compared.

The extract comes from `make_extract.py` of the folder given with --baseline, the other chains from `duckdb_chain_baseline.py` and
`chain_polars.py` there. The latter is tuned for this extract: a row is one integer, since it knows where the patient ids begin, and
codes must be numbers; it keeps all rows in memory, and rejects nothing. Birth years are capped at 1999, before the first event: the
other chains know of no births, and ours rejects what lies before them.

With --beside CHECKOUT, another checkout of this project (with its own .venv, such as one of an earlier commit) takes its turns too.
Processor seconds beside those of the clock, since other work may run on the machine.

Usage: python benchmarks/data_chain.py --baseline FOLDER [--rows 3e7] [--buckets 32] [--repeats 2] [--keep FOLDER]
    [--beside CHECKOUT]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import results
from time_and_memory import watched

from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study import settings
from ehr_pipeline.tables import schemas
from ehr_pipeline.terminology.shipped import shipped

EXTRACT = "2020-01-01"
BASELINES = {"DuckDB SQL": "duckdb_chain_baseline.py", "tuned Polars": "chain_polars.py"}
OTHER, OURS_NAMED = "another checkout of this project", "ours"
OURS = """
import sys
try:
    from ehr_pipeline.study import settings
    from ehr_pipeline.runs.pipeline import Pipeline
except ImportError:  # a checkout of before the modules lay in folders
    from ehr_pipeline import settings
    from ehr_pipeline.pipeline import Pipeline
if __name__ == "__main__":
    Pipeline(settings.load(__import__("pathlib").Path(sys.argv[1]))).make(sys.argv[2], until="patient_dataset")
"""


def prepare(extract: Path, study: Path, buckets: int) -> Path:
    """Lay the extract out as a study: links to its event files, patients, and its map in the layout of the UMLS."""
    landing = study / "landing" / EXTRACT
    landing.mkdir(parents=True, exist_ok=True)
    for path in extract.glob("events_*"):
        link = landing / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
    patients = pl.read_csv(extract / "patients.txt", separator="\t")
    capped = patients.with_columns(pl.col("year_of_birth").clip(upper_bound=1999))
    capped.write_csv(landing / "patients.txt", separator="\t")
    pairs = pl.read_csv(extract / "map.tsv", separator="\t", infer_schema=False)
    with (study / "MRCONSO.RRF").open("w", encoding="utf-8") as stream:
        for number, (code, cui) in enumerate(pairs.iter_rows()):
            atom = f"L{number}|PF|S{number}|Y|A{number}||{code}||SNOMEDCT_US|PT|{code}|name of {code}|9|N||"
            stream.write(f"{cui}|ENG|P|{atom}\n")
    (study / "MRSTY.RRF").write_text("C0000001|T047|B2.2.1.2.1|Disease or Syndrome|AT1||\n", encoding="utf-8")
    path = study / "settings.toml"
    path.write_text(
        f"""
study = {{ name = "data chain", store = "store" }}
events = {{ mrconso = "MRCONSO.RRF", workers = 2 }}
vocabulary = {{ mrsty = "MRSTY.RRF" }}
patients = {{ workers = 2 }}
concepts = {{ concepts_of_interest = "{shipped("lists/diseases_of_interest.csv")}" }}
embeddings.pooling.select = "all"
embeddings.cohort = [{{ name = "any", concepts = "{shipped("lists/psoriasis.csv")}" }}]

[records]
landing = "landing"
buckets = {buckets}
workers = 2

[[records.events]]
files = "events_*"
date_formats = ["%d/%m/%Y"]
columns = {{ patient = "patient_id", date = "event_date", code = "snomed_code" }}

[[records.patients]]
files = "patients.txt"
columns = {{ patient = "patient_id", birth_year = "year_of_birth", sex = "sex" }}
""",
        encoding="utf-8",
    )
    return path


def run_ours(path: Path) -> dict[str, float]:
    """What our chain takes from nothing (`measured`); and seconds by asset."""
    taken = measured([sys.executable, "-P", "-c", OURS, str(path), EXTRACT], path.parent / "store")
    made = Store(str(path.parent / "store"))
    stages = {"raw_records": made.current("raw_records", EXTRACT)} | {
        name: made.current(name) for name in ("mapped_events", "vocabulary", "patient_dataset")
    }
    return taken | {name: artifact.manifest["seconds"] for name, artifact in stages.items()}


def run_beside(checkout: Path, path: Path) -> dict[str, float]:
    """What the chain of another checkout takes (`measured`)."""
    # -P: the package is that of the checkout's environment, not one in the current folder.
    return measured([str(checkout / ".venv/bin/python"), "-P", "-c", OURS, str(path), EXTRACT], path.parent / "store")


def measured(command: list[str], store: Path, *, quiet: bool = False) -> dict[str, float]:
    """Run a chain with an empty store. Returns seconds, processor seconds and peak memory of all its processes."""
    subprocess.run(["/bin/rm", "-rf", str(store)], check=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, peak = watched(command, quiet=quiet)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "processor": processor, "peak": peak}


def row(name: str, runs: list[dict[str, float]]) -> tuple[str, ...]:
    """A row of the table of chains: of each figure the median, and from least to most."""
    columns = (("seconds", 1, 1), ("processor", 1, 1), ("peak", 1e9, 2))
    each = ([run[key] / unit for run in runs] for key, unit, _ in columns)
    spans = zip(each, columns, strict=True)
    return name, *(f"{statistics.median(x):.{d}f} ({min(x):.{d}f} to {max(x):.{d}f})" for x, (_, _, d) in spans)


def ratios(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> str:
    """Our figures divided by another's, as text: the median over the turns, each with its own turn, and from least to most."""
    told = []
    for key, name in (("seconds", "time"), ("processor", "processor seconds"), ("peak", "memory")):
        each = [own[key] / other[key] for own, other in zip(ours, theirs, strict=True)]
        told.append(f"{statistics.median(each):.2f} of its {name} ({min(each):.2f} to {max(each):.2f})")
    return ", ".join(told)


def run_baseline(script: Path, extract: Path, out: Path) -> dict[str, float]:
    """What another chain takes (`measured`): DuckDB's or Polars'."""
    return measured([sys.executable, str(script), str(extract), str(out)], out.with_suffix(".store"), quiet=True)


def differences(study: Path, theirs: Path) -> list[str]:
    """How the two data sets differ; empty when every patient has the same dates and the same concepts in every visit."""
    store = Store(str(study / "store"))
    shards = [schemas.read(path) for path in store.current("patient_dataset").files("patients")]
    ours = pa.concat_tables(shards).select(["patient_id", "visits"])
    vocabulary = pl.read_csv(store.current("vocabulary").file("vocabulary.csv"))
    # DuckDB's tokens: 5, 6, … by falling count and concept; ours are the same numbers in the same order.
    other = pl.read_parquet(theirs).sort("patient_id")
    visits = pl.DataFrame(ours).with_columns(pl.col("patient_id").cast(pl.Int64)).sort("patient_id")
    exploded = visits.explode("visits").unnest("visits")
    flat = other.select("patient_id", date="dates", concepts="visits").explode("date", "concepts")
    found = []
    if vocabulary.height != int(flat.explode("concepts")["concepts"].max()) - 4:  # type: ignore[arg-type]
        found.append("vocabulary sizes")
    for name in ("patient_id", "date"):
        if not exploded[name].equals(flat[name].cast(exploded[name].dtype)):
            found.append(name)
    tokens, own = (frame.explode("concepts")["concepts"].to_numpy() for frame in (flat, exploded))
    if len(tokens) != len(own) or not np.array_equal(tokens, own):
        found.append("concepts")
    return found


def main() -> None:
    """Run both in turn, compare what they made, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--baseline", type=Path, required=True, help="folder of make_extract.py and of the other chains"
    )
    parser.add_argument("--rows", type=float, default=3e7)
    parser.add_argument("--buckets", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder to keep extract and artifacts in")
    parser.add_argument("--beside", type=Path, help="another checkout of this project, to run in turn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        extract = folder / f"extract_{options.rows:.0e}"
        if not (extract / "map.tsv").is_file():
            make = [
                sys.executable,
                str(options.baseline / "make_extract.py"),
                str(extract),
                "--rows",
                str(options.rows),
            ]
            subprocess.run(make, check=True)
        path = prepare(extract, folder / f"study_{options.rows:.0e}", options.buckets)
        settings.load(path)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in (*BASELINES, OTHER, OURS_NAMED)}
        for _ in range(options.repeats):
            for name, script in BASELINES.items():
                runs[name].append(run_baseline(options.baseline / script, extract, folder / f"{script}.parquet"))
            if options.beside:  # before ours, whose store is looked at afterwards
                runs[OTHER].append(run_beside(options.beside.resolve(), path))
            runs[OURS_NAMED].append(run_ours(path))
            print(json.dumps({name: each[-1:] for name, each in runs.items()}), flush=True)
            time.sleep(1)
        found = {name: differences(path.parent, folder / f"{script}.parquet") for name, script in BASELINES.items()}
        size = Store(str(path.parent / "store")).current("patient_dataset").counts
    ours = runs[OURS_NAMED]
    stages = {name: statistics.median(run[name] for run in ours) for name in list(ours[0])[3:]}
    per_20_million = statistics.median(run["seconds"] for run in ours) / options.rows * 2e7
    same = [f"{name}: {'NO, ' + ', '.join(each) if each else 'yes'}" for name, each in found.items()]
    text = (
        f"{options.rows:,.0f} rows, {options.buckets} buckets, {options.repeats} runs in turn; whole processes, imports included."
        " Memory: proportional set size of all processes. The median (least to most):\n\n"
        + results.table(
            ("chain", "seconds", "processor seconds", "GB"), [row(name, each) for name, each in runs.items() if each]
        )
        + "\n\n"
        + "".join(
            f"Ours takes, turn by turn, of {name}: **{ratios(ours, runs[name])}**.\n"
            for name in runs
            if name != OURS_NAMED and runs[name]
        )
        + f"Of our seconds {', '.join(f'{name} {seconds:.1f}' for name, seconds in stages.items())};"
        f" {size['bytes'] / size['kept']:.1f} bytes an event in the patient data set; {per_20_million:.1f} s per 20 M rows,"
        f" where the MEDS chain was measured at 257.7 s ({257.7 / per_20_million:.0f} times as long)."
        f" Same patients, dates and concepts in every visit as {'; '.join(same)}."
    )
    results.write("data_chain.py", "The data chain", text)


if __name__ == "__main__":
    main()
