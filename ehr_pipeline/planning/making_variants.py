"""Make the variants one after the other, each in its own process, so that its memory can be measured.

The variants share a store that begins as a copy of the study's store, by hard links that take no space. So an artifact that several
variants have in common is made once. The study's own store is only read.
"""

import logging
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from ehr_pipeline.assets import of_study
from ehr_pipeline.errors import UserError, printable
from ehr_pipeline.planning import variant_figures
from ehr_pipeline.planning.variant_figures import Figures
from ehr_pipeline.planning.variants import Variant
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.store.file_listing import walk
from ehr_pipeline.store.integrity import MANIFEST
from ehr_pipeline.tables.asset_names import RAW_RECORDS
from ehr_pipeline.work.progress import duration, repeated

BEAT = 9.0
"""Seconds between two log lines while a stage is made."""
_log = logging.getLogger("ehr_pipeline")


@dataclass(frozen=True)
class VariantResult:
    """The result of making one variant."""

    name: str
    figures: Figures = field(default_factory=dict)
    seconds: float = 0.0
    """The time of all its assets. A reused asset counts with the time that it once took to make."""
    reused: int = 0
    assets: int = 0
    gigabytes: float | None = None
    """Memory of the largest process; None if nothing was made."""
    problem: str = ""
    """Why the variant could not be completed; empty if it was."""


def prepare(store: Path, shared: Path) -> None:
    """Copy the content of the study's store into the shared store, except files that exist there.

    Files of artifacts never change, so they are hard-linked if the disk supports it. All others are copied, except the notes of
    verified files, which hold only for one location.
    """
    shared.mkdir(parents=True, exist_ok=True)
    if not store.is_dir():
        return
    files = [path for path in walk(store, hidden=True).files if path.suffix != ".verified"]
    artifacts = {path.parent for path in files if path.name == MANIFEST}
    for path in files:
        target = shared / path.relative_to(store)
        if any(part.startswith(".making") for part in path.parts) or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if artifacts.isdisjoint(path.parents):
            shutil.copy2(path, target)
            continue
        try:
            os.link(path, target)
        except OSError:  # the target is on another disk, or the disk does not support links
            shutil.copy2(path, target)


def make(variants: Sequence[Variant]) -> Iterator[VariantResult]:
    """Make each variant, and yield its result. A variant that fails does not stop the others."""
    for number, variant in enumerate(variants, 1):
        _log.info("variant %d of %d: %s", number, len(variants), printable(variant.name))
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_speak) as pool:
            try:
                yield pool.submit(one, variant).result()
            except BrokenProcessPool:
                yield VariantResult(variant.name, problem="its process was killed, perhaps because memory ran out")


def one(variant: Variant) -> VariantResult:
    """Make one variant in this process."""
    pipeline, made, reused, seconds, problem = Pipeline(variant.study), dict[str, Artifact](), 0, 0.0, ""
    assets = of_study(variant.study)
    try:
        for number, asset in enumerate(assets, 1):
            title, begun = f"[{number}/{len(assets)}] {asset}", time.monotonic()
            _log.info("%s starts", title)
            with repeated(BEAT, partial(_working, title, begun)):
                all_of_it = _artifacts(pipeline, asset)
            made[asset] = all_of_it[-1]
            skipped = all(artifact.skipped for artifact in all_of_it)
            reused += skipped
            seconds += sum(float(artifact.manifest["seconds"]) for artifact in all_of_it)
            _log.info("%s %s", title, "is reused" if skipped else f"was built in {duration(time.monotonic() - begun)}")
    except UserError as error:
        problem = str(error)
    found = variant_figures.of(made, variant.study.guard)
    peak = None if reused == len(made) else _gigabytes()
    return VariantResult(variant.name, found, seconds, reused, len(assets), peak, problem)


def _artifacts(pipeline: Pipeline, asset: str) -> list[Artifact]:
    if asset != RAW_RECORDS:
        return [pipeline.asset(asset)]
    return [pipeline.raw_records(extract) for extract in pipeline.extracts()]


def _working(title: str, begun: float) -> None:
    _log.info("%s: working for %s", title, duration(time.monotonic() - begun))


def _gigabytes() -> float:
    """Return the largest memory, so far, of this process or any process that it started, in GB."""
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most * (1 if sys.platform == "darwin" else 1024) / 1e9


def _speak() -> None:
    """Show the library's log on standard error, as the command line does."""
    from ehr_pipeline.disclosure.governance import private_files

    private_files()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("ehr_pipeline").setLevel(logging.INFO)
