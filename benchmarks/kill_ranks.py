"""Does a training on two processes survive the death of one? One of two ranks is killed with SIGKILL at a random moment.

torchrun has to start both again by itself, from the last checkpoint. Weights and metrics are compared, bit for bit, with those of
two processes that nothing interrupted.

Usage: python benchmarks/kill_ranks.py [--trials 10]
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import results
from kill_resume import Folder, Trials, finished
from time_and_memory import children_of

from ehr_pipeline.encoder.training_job import TrainingJob
from ehr_pipeline.work import jobs


def torchrun(job: TrainingJob, log: Path) -> subprocess.Popen[bytes]:
    """Start a training on two processes of one thread, as the launcher does; it may start again once by itself."""
    described = job.out.with_name("job.json")
    described.write_text(jobs.as_json(replace(job, threads=1)))
    words = (
        "-m torch.distributed.run --standalone --nproc-per-node=2 --max-restarts=1 -m ehr_pipeline.encoder.train --job"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    with log.open("wb") as stream:
        return subprocess.Popen([sys.executable, *words.split(), str(described)], stderr=stream, env=environment)


def killed_rank(folder: Folder, options: argparse.Namespace, rng: np.random.Generator) -> Trials:
    """Two processes, one of them killed in each trial, at a random moment after the first checkpoint."""
    whole, log = folder.of("two"), folder.folder / "log.txt"
    began = time.monotonic()
    running = torchrun(whole, log)
    first = _first_checkpoint(folder, "two", running) - began
    running.wait()
    span = time.monotonic() - began - first
    expected, done = finished(whole), Trials()
    for trial in range(options.trials):
        name = f"two{trial}"
        job = folder.of(name)
        running = torchrun(job, log)
        _first_checkpoint(folder, name, running)
        time.sleep(rng.uniform(0, span * 0.3))
        ranks = sorted(children_of(running.pid))
        if running.poll() is None and len(ranks) == 2:
            os.kill(ranks[rng.integers(2)], signal.SIGKILL)
            done.kills += 1
        running.wait()
        done.resumed += b"going on from update" in log.read_bytes()
        done.different += running.returncode != 0 or finished(job) != expected
        shutil.rmtree(folder.folder / name)
        print(f"trial {trial + 1} of two processes: {done}", flush=True)
    return done


def _first_checkpoint(folder: Folder, name: str, running: subprocess.Popen[bytes]) -> float:
    while running.poll() is None and not folder.checkpoints(name):
        time.sleep(0.01)
    return time.monotonic()


def main() -> None:
    """Run the trials, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        done = killed_rank(Folder(Path(scratch), threads=1), options, np.random.default_rng(0))
    text = (
        f"{options.trials} trainings on two processes under torchrun; {done.kills} times one of the two was killed with"
        f" SIGKILL, at a random moment after the first checkpoint. torchrun started both again by itself, and {done.resumed}"
        " went on from a checkpoint. Trainings whose weights, model card or metrics differ in any bit from those of two"
        f" processes that nothing interrupted: **{done.different}**."
    )
    results.write("kill_ranks.py", "One of two processes killed", text)
    if done.different:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
