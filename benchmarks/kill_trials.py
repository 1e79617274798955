"""Killed at random moments, the next run ends with the same bytes; and no reader ever sees half an artifact.

Each trial runs raw records to patient data set in a process group of its own, kills the whole group with SIGKILL at a random moment
of a random asset (every second trial a few times in a row), and then runs to the end. The data files are compared with those of an
undisturbed run. Meanwhile a reader asks for the current artifacts without a pause: each that it gets must be whole. At the end
nothing of the killed runs may be left in the store.

Usage: python benchmarks/kill_trials.py [--trials 32] [--patients 1500] [--seed 0]
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import results

from ehr_pipeline import typed_settings
from ehr_pipeline.errors import MissingArtifact
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT, generate
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.terminology.shipped import shipped

ASSETS = ("raw_records", "extract_catalog", "mapped_events", "vocabulary", "patient_dataset")
WORKERS = (1, 2, 5)  # inline, on threads, on processes


def chain(folder: Path, store: Path, workers: int) -> None:
    """The whole data chain, without Dagster."""
    own = {"study": {"store": str(store)}, "records": {"buckets": 16, "block_megabytes": 1}}
    own = settings.merged(own, {part: {"workers": workers} for part in ("records", "events", "patients")})
    study = settings.load(shipped("demo/settings.toml"), settings.merged(places(folder), own))
    pipeline = Pipeline(study)
    pipeline.make(EXTRACT, until=ASSETS[-1])


def start(folder: Path, store: Path, workers: int) -> subprocess.Popen[bytes]:
    """The chain as a process group of its own."""
    command = [sys.executable, __file__, "--chain", str(folder), str(store), str(workers)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)


def kill(process: subprocess.Popen[bytes]) -> bool:
    """Kill a process and all its children. Returns whether it was still running."""
    running = process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def contents(store: Path) -> dict[str, str]:
    """Hashes of the data files of all current artifacts; manifests and notes hold times."""
    found = {}
    for asset in ASSETS:
        artifact = Store(store).current(asset, EXTRACT if asset == "raw_records" else None)
        for path in sorted(artifact.path.rglob("*")):
            name = path.relative_to(artifact.path)
            if path.is_file() and name.parts[0] not in ("manifest.json", "notes"):
                found[f"{asset}/{name}"] = typed_settings.file_hash(path)
    return found


def leftovers(store: Path) -> list[str]:
    """What should not be in a store after a run: hidden files and folders."""
    return sorted(path.name for path in store.rglob(".*"))


class Reader(threading.Thread):
    """Asks for the current artifacts again and again, and looks at every file that their manifests name."""

    def __init__(self, store: Path):
        super().__init__(daemon=True)
        self.store, self.looks, self.seen, self.halves, self.ends = Store(store), 0, 0, list[str](), threading.Event()

    def run(self) -> None:
        while not self.ends.is_set():
            for asset in ASSETS:
                self.looks += 1
                try:
                    artifact = self.store.current(asset, EXTRACT if asset == "raw_records" else None)
                except MissingArtifact:
                    continue
                self.seen += 1
                for name, told in artifact.manifest["files"].items():
                    path = artifact.file(name)
                    if (
                        not path.is_file()
                        or path.stat().st_size != told["bytes"]
                        or typed_settings.file_hash(path) not in told.values()
                    ):
                        self.halves.append(f"{asset}/{name}")


def wait(rng: random.Random, process: subprocess.Popen[bytes], store: Path, seconds: dict[str, float]) -> None:
    """Until a random moment of a random asset that is not there yet."""
    missing = [asset for asset in ASSETS if not _folder(store, asset).joinpath("current").exists()]
    asset = rng.choice(missing or ASSETS)
    while process.poll() is None and not any(_folder(store, asset).glob(".making-*-*")):
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 1.5) * seconds[asset])


def _folder(store: Path, asset: str) -> Path:
    return Store(store).folder(asset, EXTRACT if asset == "raw_records" else None)


def trial(
    rng: random.Random, folder: Path, store: Path, seconds: dict[str, float], number: int
) -> tuple[Counter[str], Reader]:
    """Kill once or several times, then run to the end."""
    counted: Counter[str] = Counter()
    reader, workers = Reader(store), WORKERS[number % len(WORKERS)]
    reader.start()
    for _ in range(rng.randint(2, 4) if number % 2 else 1):
        process = start(folder, store, workers)
        wait(rng, process, store, seconds)
        counted["kills"] += kill(process)
        for path in store.rglob(".making-*-*"):
            counted[path.parent.name if path.parent.name in ASSETS else "raw_records"] += 1
        counted["with something half made"] += bool(leftovers(store))
        counted["most leftovers"] = max(counted["most leftovers"], len(leftovers(store)))
    if start(folder, store, rng.choice(WORKERS)).wait():
        raise SystemExit(f"trial {number}: the run after the kill failed")
    reader.ends.set()
    reader.join()
    return counted, reader


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--patients", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, total, problems = random.Random(options.seed), Counter[str](), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, patients=options.patients, seed=options.seed)
        began = time.monotonic()
        if start(folder, folder / "undisturbed", 2).wait():
            raise SystemExit("the undisturbed run failed")
        whole = time.monotonic() - began
        made = {
            name: Store(folder / "undisturbed").current(name, EXTRACT if name == "raw_records" else None)
            for name in ASSETS
        }
        seconds = {name: artifact.manifest["seconds"] for name, artifact in made.items()}
        wanted = contents(folder / "undisturbed")
        for number in range(options.trials):
            store = folder / f"store_{number}"
            counted, reader = trial(rng, folder, store, seconds, number)
            most = max(total["most leftovers"], counted["most leftovers"])
            total += counted
            total["most leftovers"] = most
            total["looks"] += reader.looks
            total["artifacts seen"] += reader.seen
            problems += [f"trial {number}: half an artifact was seen: {half}" for half in reader.halves]
            problems += [f"trial {number}: left over: {left}" for left in leftovers(store)]
            found = contents(store)
            problems += [f"trial {number}: {path} differs" for path in wanted if wanted[path] != found.get(path)]
            print(f"trial {number}: {dict(counted)}, {reader.seen} of {reader.looks} looks saw an artifact", flush=True)
    if problems:
        raise SystemExit("\n".join(problems))
    during = ", ".join(f"{name} {total[name]}" for name in ASSETS)
    text = (
        f"{options.trials} trials on {options.patients:,} synthetic patients; an undisturbed run takes {whole:.1f} s."
        f" **{total['kills']} kills** of the whole process group, {total['with something half made']} of them with something half"
        f" made in the store ({during}); then one run to the end, with another number of workers (inline, threads, processes)."
        f" **All {len(wanted)} data files of every trial are those of the undisturbed run, byte for byte.** A reader beside it"
        f" looked {total['looks']:,} times and got {total['artifacts seen']:,} artifacts, **none of them half** (every file of the"
        f" manifest there, with its hash). Nothing is left over after the last run; at no time did more than"
        f" {total['most leftovers']} hidden files and folders lie in a store (a lock and a folder for the artifact in work)."
    )
    if options.trials >= 30:
        results.write("kill_trials.py", "Killed at random moments", text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--chain"]:
        chain(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
