"""Does a killed training end with the same weights? It is killed with SIGKILL at random moments, and started again, many times.

Each trial kills a training a few times, wherever it is (reading, computing, validating, writing a checkpoint), then lets it end.
Its weights and metrics are compared, bit for bit, with those of a training that nothing interrupted. With dropout.

Usage: python benchmarks/kill_resume.py [--trials 100] [--kills 3] [--threads 2]
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import results
import token_data

from ehr_pipeline.encoder import train
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.encoder.training_job import TrainingJob

CONCEPTS = 200
SETTINGS = EncoderSettings(
    hidden_size=32,
    layers=2,
    heads=2,
    feed_forward=64,
    context=32,
    tokens_per_step=1024,
    warmup_steps=5,
    max_epochs=3,
    checkpoint_seconds=0,
    micro_batch_tokens=512,
    dropout=0.1,
    attention_dropout=0.1,
)


def start(job: TrainingJob) -> Any:
    """Start a training in a process of its own. Forked, so that a trial does not pay for imports; nothing has computed yet."""
    process = multiprocessing.get_context("fork").Process(target=train.run, args=(job,))
    process.start()
    return process


def finished(job: TrainingJob) -> dict[str, bytes]:
    """What a training published, but for times."""
    return {
        name: (job.out / name).read_bytes()
        for name in ("checkpoint/model.safetensors", "checkpoint/README.md", "metrics.json")
    }


@dataclass
class Trials:
    """What came of some trials."""

    kills: int = 0
    resumed: int = 0
    """Starts that found a checkpoint."""
    different: int = 0
    """Trainings that ended otherwise than the one that nothing interrupted."""


class Folder:
    """The trainings of a benchmark, each with a folder of its own for its checkpoints and a fresh one for its output."""

    def __init__(self, folder: Path, threads: int):
        self.folder = folder
        paths = token_data.write(token_data.Tokens.drawn(60, CONCEPTS), CONCEPTS + 5, folder / "data", held_out=10)
        self.job = TrainingJob(**paths, settings=SETTINGS, seed=0, threads=threads, out=folder)

    def of(self, name: str) -> TrainingJob:
        """A job that goes on where an earlier one of that name was."""
        out = self.folder / name / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        return replace(self.job, out=out, resume=self.folder / name / "training")

    def checkpoints(self, name: str) -> bool:
        """Whether there is one to go on from."""
        return bool(list((self.folder / name / "training").glob("update-*")))


def killed_alone(folder: Folder, options: argparse.Namespace, rng: np.random.Generator) -> tuple[Trials, int]:
    """One process, killed some times a trial. Also returns the number of updates of a training."""
    began = time.monotonic()
    whole = folder.of("whole")
    process = start(whole)
    process.join()
    seconds = time.monotonic() - began
    expected, done = finished(whole), Trials()
    for trial in range(options.trials):
        name = f"trial{trial}"
        for moment in rng.uniform(0, seconds * 0.9, options.kills):
            process = start(folder.of(name))
            process.join(moment)
            if process.exitcode is None:
                os.kill(process.pid, signal.SIGKILL)
                done.kills += 1
            process.join()
            done.resumed += folder.checkpoints(name)
        last = folder.of(name)
        process = start(last)
        process.join()
        done.different += process.exitcode != 0 or finished(last) != expected
        shutil.rmtree(folder.folder / name)
        print(f"trial {trial + 1}: {done}", flush=True)
    return done, json.loads(expected["metrics.json"])["epochs"][-1]["updates"]


def main() -> None:
    """Run the trials, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Folder(Path(scratch), options.threads)
        alone, updates = killed_alone(folder, options, rng)
    text = (
        f"{options.trials} trainings of {updates} updates, {options.threads} threads, dropout {SETTINGS.dropout}, killed with"
        f" SIGKILL {alone.kills} times at random moments; {alone.resumed} starts found a checkpoint to go on from. Trainings whose"
        f" weights, model card or metrics differ in any bit from those of the uninterrupted one: **{alone.different}**."
    )
    results.write(" ".join(["kill_resume.py", *sys.argv[1:]]), "Killed and resumed", text)
    if alone.different:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
