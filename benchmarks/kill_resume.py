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
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import results
import token_data

from ehr_pipeline.encoder import train
from ehr_pipeline.encoder.settings import EncoderSettings

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
    checkpoint_updates=5,
    micro_batch_tokens=512,
    dropout=0.1,
    attention_dropout=0.1,
)


def start(job: dict[str, Any]) -> Any:
    """Start a training in a process of its own. Forked, so that a trial does not pay for imports; nothing has computed yet."""
    process = multiprocessing.get_context("fork").Process(target=train.run, args=(job,))
    process.start()
    return process


def finished(job: dict[str, Any]) -> dict[str, bytes]:
    """What a training published, but for times."""
    out = Path(job["out"])
    return {
        name: (out / name).read_bytes()
        for name in ("checkpoint/model.safetensors", "checkpoint/README.md", "metrics.json")
    }


def main() -> None:
    """Run the trials, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = token_data.write(token_data.Tokens.drawn(60, CONCEPTS), CONCEPTS + 5, folder / "data", held_out=10)
        job = {**paths, "settings": asdict(SETTINGS), "seed": 0, "threads": options.threads}

        def of(name: str) -> dict[str, Any]:
            out = folder / name / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            return job | {"out": str(out), "resume": str(folder / name / "training")}

        began = time.monotonic()
        whole = of("whole")
        process = start(whole)
        process.join()
        seconds = time.monotonic() - began
        expected = finished(whole)
        kills, resumed, different = 0, 0, 0
        for trial in range(options.trials):
            name = f"trial{trial}"
            for moment in rng.uniform(0, seconds * 0.9, options.kills):
                process = start(of(name))
                process.join(moment)
                if process.exitcode is None:
                    os.kill(process.pid, signal.SIGKILL)
                    kills += 1
                process.join()
                resumed += bool(list((folder / name / "training").glob("update-*")))
            last = of(name)
            process = start(last)
            process.join()
            different += process.exitcode != 0 or finished(last) != expected
            shutil.rmtree(folder / name)
            print(f"trial {trial + 1}: {kills} kills, {different} trainings that ended otherwise", flush=True)
        updates = json.loads(expected["metrics.json"])["epochs"][-1]["updates"]
    text = (
        f"{options.trials} trainings of {updates} updates, {options.threads} threads, dropout {SETTINGS.dropout}, killed with"
        f" SIGKILL {kills} times at random moments; {resumed} starts found a checkpoint to go on from. Trainings whose weights,"
        f" model card or metrics differ in any bit from those of the uninterrupted one: **{different}**."
    )
    results.write("kill_resume.py", "Killed and resumed", text)
    if different:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
