"""Random damage to the artifacts of every asset: each time a message or a remade artifact, no traceback, nothing in silence.

A trial damages one file (a bit, a zeroed block, a cut, a swap with another file; manifests and notes too; half of them with the
time of modification put back), then asks an asset that reads it to be made: its gates must end with the one message, before
anything is read. A sample of the trials goes on to a real run, which must make the damaged artifact again with the bytes of before.
Damage that changes nothing that is read (white space of a manifest) counts apart.

`--cost` measures what the looks cost instead, on the data of a settings file: seconds in them as a share of a run from nothing.

Usage: python benchmarks/damage_trials.py [--trials 1000] [--runs 40] [--cost SETTINGS --extract NAME --until ASSET --store FOLDER]
"""

import argparse
import os
import random
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import results

from ehr_pipeline.errors import Damaged, MissingArtifact
from ehr_pipeline.runs import maker
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import integrity
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT, generate
from ehr_pipeline.synthetic.study import SMALL, places
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline.terminology.shipped import shipped

SCRIPT, TITLE = "damage_trials.py", "Damaged artifacts"
READERS = {
    "raw_records": ("extract_catalog", "mapped_events", "patient_dataset", "cluster_reports"),
    "extract_catalog": ("mapped_events", "patient_dataset", "cluster_reports"),
    "mapped_events": ("vocabulary", "patient_dataset", "concept_embeddings", "cohort", "patient_embeddings"),
    "vocabulary": ("patient_dataset", "encoder_checkpoint", "concept_embeddings", "clusters", "patient_trajectories"),
    "patient_dataset": ("data_split", "encoder_checkpoint", "cohort", "patient_embeddings", "clusters"),
    "data_split": ("encoder_checkpoint", "cluster_reports"),
    "encoder_checkpoint": ("concept_embeddings", "patient_embeddings", "patient_trajectories"),
    "concept_embeddings": ("patient_embeddings", "cluster_reports"),
    "cohort": ("patient_embeddings", "clusters", "patient_trajectories"),
    "patient_embeddings": ("clusters", "patient_trajectories", "cluster_reports"),
    "clusters": ("patient_trajectories", "cluster_reports"),
    "patient_trajectories": ("cluster_reports",),
    "cluster_reports": ("release",),
}
"""Which assets read the files of an asset."""


class WouldRead(Exception):
    """An asset passed its gates, and would now read."""


def flipped(path: Path, rng: random.Random, other: Path) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


def zeroed(path: Path, rng: random.Random, other: Path) -> None:
    """A block of 4 KB."""
    content = bytearray(path.read_bytes())
    begin = rng.randrange(-(-len(content) // 4096)) * 4096
    end = min(begin + 4096, len(content))
    content[begin:end] = bytes(end - begin)
    path.write_bytes(bytes(content))


def cut(path: Path, rng: random.Random, other: Path) -> None:
    """The end is missing."""
    os.truncate(path, rng.randrange(path.stat().st_size))


def swapped(path: Path, rng: random.Random, other: Path) -> None:
    """Another file of the store in its place, and it in the other's."""
    kept = path.with_name(f".{path.name}.swap")
    path.rename(kept)
    shutil.copy2(other, path)
    shutil.copy2(kept, other)
    kept.unlink()


HARMS: tuple[Callable[[Path, random.Random, Path], None], ...] = (flipped, zeroed, cut, swapped)


class Trials:
    """A small study with every asset made, and how it was."""

    def __init__(self, folder: Path, seed: int):
        generate(folder, patients=400, seed=7)
        self.study = settings.load(
            shipped("demo/settings.toml"),
            settings.merged(SMALL, places(folder), {"study": {"store": str(folder / "store")}}),
        )
        self.store, self.rng = Store(self.study.study.store), random.Random(seed)
        Pipeline(self.study).make(EXTRACT)
        self.pristine = Path(shutil.copytree(self.store.root, folder / "pristine"))
        self.counted: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        self.files = {asset: self._files(asset) for asset in STAGES}

    def current(self, asset: str) -> Artifact:
        """The artifact of an asset."""
        return self.store.current(asset, EXTRACT if asset == "raw_records" else None)

    def _files(self, asset: str) -> list[Path]:
        artifact = self.current(asset)
        named = [artifact.file(name) for name in integrity.listed(artifact.manifest)]
        return [
            path
            for path in (*named, artifact.file("manifest.json"), artifact.path.parent / "current")
            if path.stat().st_size
        ]

    def trial(self, asset: str, run: bool) -> None:
        """Damage one file, and ask for what reads it."""
        path = self.rng.choice(self.files[asset])
        other = self.rng.choice([each for each in self.files[asset] if each != path])
        harm = self.rng.choice(HARMS)
        before = path.stat()
        harm(path, self.rng, other)
        if self.rng.random() < 0.5:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        reader = self.rng.choice(READERS[asset])
        where = f"{harm.__name__} {path.relative_to(self.store.root)} read by {reader}"
        unchanged = all(each.read_bytes() == self._kept(each).read_bytes() for each in (path, other))
        outcome = "harmless" if unchanged else self._asked(asset, reader, where)
        if run and outcome == "message":
            outcome = self._made_again(asset, reader, where)
        self.counted[harm.__name__, outcome] += 1
        for each in (path, other):
            each.unlink(missing_ok=True)
            shutil.copy2(self._kept(each), each)

    def _kept(self, path: Path) -> Path:
        return self.pristine / path.relative_to(self.store.root)

    def _asked(self, asset: str, reader: str, where: str) -> str:
        """Ask for an asset up to the moment at which it would read."""
        known = self._read_by(asset)
        try:
            _ask(self.study, reader)
        except WouldRead:
            if self._read_by(asset) == known == self._expected(asset):
                return "harmless"
            self.wrong.append(f"silent: {where}")
            return "silent"
        except (Damaged, MissingArtifact) as error:
            if "\n" in str(error) or str(self.store.root) not in str(error):
                self.wrong.append(f"no file named: {where}: {error}")
                return "unclear"
            return "message"
        except Exception:
            self.wrong.append(f"traceback: {where}: {traceback.format_exc(limit=-1)}")
            return "traceback"
        return "silent"

    def _expected(self, asset: str) -> Any:
        path = self._kept(self.current(asset).path)
        return integrity.read_manifest(path, asset, EXTRACT if asset == "raw_records" else None)

    def _read_by(self, asset: str) -> Any:
        """What a reader of the manifest gets, if every file is right."""
        found = self.store.usable(asset, EXTRACT if asset == "raw_records" else None)
        return found.manifest if found else None

    def _made_again(self, asset: str, reader: str, where: str) -> str:
        """Run the chain for real, and compare."""
        until = reader if reader in STAGES else "cluster_reports"
        try:
            made = Pipeline(self.study).make(EXTRACT, until=until)
        except Exception:
            self.wrong.append(f"run: {where}: {traceback.format_exc(limit=-1)}")
            return "traceback"
        for name, artifact in made.items():
            kept = integrity.read_manifest(self._kept(artifact.path), name, EXTRACT if name == "raw_records" else None)
            artifact.verify()
            if artifact.data_version != kept["data_version"] and name != "cluster_reports":
                self.wrong.append(f"made anew with other bytes: {name}: {where}")
                return "other bytes"
        shutil.rmtree(self.store.root)
        shutil.copytree(self.pristine, self.store.root)
        return "made again"


def _ask(study: settings.Study, reader: str) -> None:
    if reader == "release":
        Pipeline(study).require("cluster_reports")
        raise WouldRead
    original = maker.Maker._make

    def stop(*_: Any, **__: Any) -> Artifact:
        raise WouldRead

    maker.Maker._make = stop  # type: ignore[method-assign]
    try:
        getattr(Pipeline(study), reader)()
    finally:
        maker.Maker._make = original  # type: ignore[method-assign]


def trials(number: int, runs: int, seed: int) -> None:
    """All trials, and the section."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Trials(Path(scratch), seed)
        chosen = set(made.rng.sample(range(number), min(runs, number)))
        start = time.perf_counter()
        for trial in range(number):
            made.trial(list(STAGES)[trial % len(STAGES)], trial in chosen)
        seconds = time.perf_counter() - start
    outcomes = ("message", "made again", "harmless", "silent", "traceback", "unclear", "other bytes")
    rows = [(harm.__name__, *(made.counted[harm.__name__, outcome] for outcome in outcomes)) for harm in HARMS]
    for line in made.wrong[:20]:
        print(line)
    total = Counter[str]()
    for (_, outcome), count in made.counted.items():
        total[outcome] += count
    files = sum(map(len, made.files.values()))
    named = total["message"] + total["made again"]
    text = (
        f"{number:,} random damages (seed {seed}) to the {files} files of the artifacts of every asset, manifests and notes"
        f" included, each before an asset that reads the file: **{named:,} ended in one message that names the file,"
        f" {total['silent']} in silence, {total['traceback']} in a traceback**; {total['harmless']} changed nothing that is read."
        f" {total['made again']} went on to a real run of the chain, which made the damaged artifact again, with the bytes of"
        f" before. {seconds:.0f} s.\n\n" + results.table(("damage", *outcomes), rows)
    )
    results.write_part(SCRIPT, TITLE, "Trials", text)
    if made.wrong:
        raise SystemExit(1)


def cost(path: Path, extract: str, until: str, heading: str, folder: Path) -> None:
    """Seconds of a run from nothing, and of the looks in it. A store in which a run was made already is measured as it is."""
    spent: Counter[str] = Counter()

    def timed(name: str) -> None:
        function = getattr(integrity, name)

        def measured(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[name] += time.perf_counter() - start  # type: ignore[assignment]

        setattr(integrity, name, measured)

    for name in ("verify", "read_manifest", "remember", "sealed"):
        timed(name)
    study, store = settings.load(path, {"study": {"store": str(folder)}}), Store(folder)
    assets = list(STAGES)[: list(STAGES).index(until) + 1]

    def run() -> tuple[float, float]:
        spent.clear()
        start = time.perf_counter()
        Pipeline(study).make(extract, until=until)
        return time.perf_counter() - start, float(sum(spent.values()))

    def found() -> list[Artifact]:
        return [store.intact(asset, extract if asset == "raw_records" else None) for asset in assets]

    if store.has(until):
        whole = sum(artifact.manifest["seconds"] for artifact in found())
        first = f"The stages of a run from nothing took {whole:.1f} s."
    else:
        whole, looks = run()
        first = f"A run from nothing takes {whole:.1f} s, {looks:.2f} s of it ({looks / whole:.2%}) in looks at files."
    again, looks = run()
    for note in folder.rglob("*.verified"):
        note.unlink()
    start = time.perf_counter()
    bytes_read = sum(each["bytes"] for artifact in found() for each in integrity.listed(artifact.manifest).values())
    hashed = time.perf_counter() - start
    text = (
        f"{first} A run that finds everything there takes {again:.2f} s, {looks:.2f} s of it ({looks / whole:.2%} of the run from"
        f" nothing) in looks. Without any note, as after a copy of the store, the content of all {bytes_read / 1e6:,.0f} MB is"
        f" hashed once: {hashed:.2f} s ({hashed / whole:.1%} of the run from nothing). Other work ran on the machine."
    )
    results.write_part(SCRIPT, TITLE, heading, text)


def main() -> None:
    """Trials, or the cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cost", type=Path, help="settings file of a study whose run is measured")
    parser.add_argument("--extract", default=EXTRACT)
    parser.add_argument("--until", default="cluster_reports")
    parser.add_argument("--store", type=Path, help="a store to measure in; a run is made there, if none was")
    parser.add_argument("--heading", default="Cost")
    options = parser.parse_args()
    if options.cost:
        with tempfile.TemporaryDirectory() as scratch:
            folder = (options.store or Path(scratch)).resolve()
            cost(options.cost, options.extract, options.until, options.heading, folder)
    else:
        trials(options.trials, options.runs, options.seed)


if __name__ == "__main__":
    main()
