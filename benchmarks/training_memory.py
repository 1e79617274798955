"""How much memory does a training of the published preset take on a CPU, and does it grow with the data set?

The library's own training job (12.6 M parameters, dropout, updates of 32,768 slots, a checkpoint after each), on a data set and on
one of ten times the patients. Each is ended after some updates: all of its arrays have been there by then.

Usage: python benchmarks/training_memory.py [--patients 4000] [--updates 3] [--threads 2]
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import results
import token_data
from time_and_memory import watched

from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.encoder.training_job import TrainingJob
from ehr_pipeline.work import jobs

VOCABULARY = 36_063


def measure(folder: Path, patients: int, options: argparse.Namespace) -> tuple[object, ...]:
    """A row of the table."""
    data = token_data.Tokens.drawn(patients, VOCABULARY - 5)
    paths = token_data.write(data, VOCABULARY, folder / "data")
    out = folder / "out"
    out.mkdir()
    settings = replace(EncoderSettings(), checkpoint_seconds=0)
    job = TrainingJob(**paths, settings=settings, seed=0, threads=options.threads, out=out)
    (folder / "job.json").write_text(jobs.as_json(job))
    command = [sys.executable, "-m", "ehr_pipeline.encoder.train", "--job", str(folder / "job.json")]
    enough = out / "notes" / "training" / f"update-{options.updates:09d}"
    _, peak = watched(command, until=enough.is_dir)
    return f"{patients:,}", f"{len(data.tokens):,}", f"{peak / 1e9:.2f}"


def main() -> None:
    """Measure both sizes, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=4000)
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    rows = []
    for times in (1, 10):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(Path(folder), times * options.patients, options))
            print(rows[-1], flush=True)
    text = (
        "The preset `published` on a CPU: 12.6 M parameters, dropout of hidden states and of attention, updates of 32,768"
        f" slots computed in parts of 4,096, a checkpoint after each, {options.threads} threads; each ended after"
        f" {options.updates} updates. Memory: proportional set size of the whole process, mapped data included."
        " The aim was under 3 GB whatever the data set's size.\n\n"
    )
    results.write(
        "training_memory.py",
        "Memory of a training",
        text + results.table(("patients", "tokens", "GB at most"), rows),
    )


if __name__ == "__main__":
    main()
