"""How long it takes, and how much memory, to get from patients' vectors to the page: clusters, windows, findings, sections.

The cohort is one of the base world (`cohorts.py`), with the settings of the demo, but with windows of at most 20,000 patients. Its
vectors are made first, and are not part of the time. Left out are the sections on the encoder's concepts and on new extracts, which
do not depend on the number of patients.

Usage: python benchmarks/vectors_to_page.py --work FOLDER [--patients 53228]
"""

import argparse
import dataclasses
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import results
from cohorts import Cohort, Kind, here

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.clusters import build as clusters
from ehr_pipeline.reports import page
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import asset_names as assets
from ehr_pipeline.trajectories import build as trajectories

TITLE = "From vectors to the page"
LEFT_OUT = ("concepts", "new_extracts")
READ = (
    assets.EXTRACT_CATALOG,
    assets.DATA_SPLIT,
    assets.MAPPED_EVENTS,
    assets.VOCABULARY,
    assets.PATIENT_DATASET,
    assets.COHORT,
    assets.PATIENT_EMBEDDINGS,
    assets.CLUSTERS,
    assets.PATIENT_TRAJECTORIES,
    assets.ENCODER_CHECKPOINT,
    assets.CONCEPT_EMBEDDINGS,
)


@dataclass
class Clock:
    """Wall time and processor time of each step, in seconds, and the most memory so far, in GB."""

    rows: list[tuple[str, float, float, float]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        self.rows.append((name, time.perf_counter() - wall, time.process_time() - processor, most))
        print(*self.rows[-1], flush=True)


def of_stage(study: Study, name: str) -> dict[str, Any]:
    """The settings of the stage that makes an asset, as its manifest has them."""
    if name == assets.COHORT:
        return {"cohort": [dataclasses.asdict(disease) for disease in study.embeddings.cohort]}
    section = getattr(study, ASSETS[name].section, None)
    return dataclasses.asdict(section) if dataclasses.is_dataclass(section) and not isinstance(section, type) else {}


def told(study: Study, name: str, artifact: Artifact) -> Artifact:
    """The artifact, with the settings that a run would have noted."""
    manifest = {
        "data_version": "",
        **artifact.manifest,
        "settings": artifact.manifest["settings"] or of_stage(study, name),
    }
    return replace(artifact, manifest=manifest)


def measure(cohort: Cohort, clock: Clock) -> None:
    """Make everything after the vectors."""
    study = cohort.learned.pipeline.study
    study = replace(study, clusters=replace(study.clusters, n="auto", examine_up_to=30))
    names = [assets.PATIENT_DATASET, assets.COHORT, assets.PATIENT_EMBEDDINGS, assets.VOCABULARY]
    read = {name: told(study, name, artifact) for name, artifact in cohort.artifacts(*names).items()}

    def make(name: str, build: Callable[[Path], Any]) -> None:
        cohort.make(name, build, of_stage(study, name))

    with clock.step("clusters"):
        make(assets.CLUSTERS, lambda out: clusters.build(read, study.clusters, study.study.seed, out))
    with clock.step("windows"):
        read |= cohort.artifacts(assets.CLUSTERS, assets.ENCODER_CHECKPOINT)
        job = cohort.job(read, "windows")
        make(
            assets.PATIENT_TRAJECTORIES,
            lambda out: trajectories.build(read, study.trajectories, job, out, launch=here, planted=None),
        )
    read = {name: told(study, name, artifact) for name, artifact in cohort.artifacts(*READ).items()}
    used = {name: artifact.manifest["settings"] for name, artifact in read.items()}
    findings = Findings(Inputs("", [], read, used, study.study.seed, {}), study.reports, cohort.folder / "notes")
    for section in page.SECTIONS:
        if section.name not in LEFT_OUT:
            with clock.step(f"section {section.name}"):
                section.content(findings)


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for world and cohort")
    parser.add_argument("--patients", type=int, default=53_228)
    options = parser.parse_args()
    cohort = Cohort(options.work, Kind("base", "base"), options.patients, 0)
    cohort.embed()
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    clock, before = Clock(), os.getloadavg()[0]
    measure(cohort, clock)
    slow = [row for row in clock.rows if row[1] >= 1]
    total = "all", sum(row[1] for row in clock.rows), sum(row[2] for row in clock.rows), clock.rows[-1][3]
    rows = [(name, f"{wall:.0f}", f"{processor:.0f}", f"{most:.1f}") for name, wall, processor, most in (*slow, total)]
    text = (
        f"A cohort of the base world, of {options.patients:,} patients drawn; {threads} threads; the machine"
        f" had a load of {before:.1f} when it began. Steps of less than a second are in the sum alone. Vectors were made before;"
        " the sections on concepts and on new extracts are not made."
    )
    header = ("Step", "Seconds", "Of a processor", "Most memory so far, GB")
    results.write("vectors_to_page.py", TITLE, f"{text}\n\n{results.table(header, rows)}")


if __name__ == "__main__":
    main()
