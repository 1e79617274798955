"""Do trajectories show who changes? Patients with a planted change of group in the middle of their record, and patients without.

For each extract: share of windows whose cluster stands for the group that the patient had then; share of planted changes that were
found with both groups right, beside chance; share of the others who keep their group; and which ways between groups are gone one
way (exact binomial test, Benjamini-Hochberg value under 0.05), against the ways that were planted. The encoder is the small one of
the tests: what is asked is whether windows, assignment and transitions tell the truth, not how good an encoder can be.

Usage: python benchmarks/evolution.py [--seeds 0] [--patients 700] [--years 5] [--keep FOLDER]
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import results

from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.clusters.many_tests import benjamini_hochberg
from ehr_pipeline.clusters.planted import read_groups
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.change import CHANGES
from ehr_pipeline.synthetic.generate import EXTRACT, generate, is_there
from ehr_pipeline.synthetic.study import SMALL, places
from ehr_pipeline.tables import schemas
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.trajectories import truth
from ehr_pipeline.trajectories.transitions import Course, log_p_one_way


def made(folder: Path, seed: int, patients: int, plant: str, years: float) -> Pipeline:
    """The study of one extract, with its trajectories."""
    if not is_there(folder, patients, seed, 1.0, plant=plant):
        generate(folder, patients, seed, 1.0, plant=plant)
    few: dict[str, Any] = {"n": 20, "resamples": 2, "compare": [], "permutations": 20, "truth": str(folder / "truth")}
    chosen = {"study": {"seed": seed}, "clusters": few, "trajectories": {"years": years, "patients": patients}}
    pipeline = Pipeline(settings.load(shipped("demo/settings.toml"), settings.merged(SMALL, places(folder), chosen)))
    pipeline.make(EXTRACT, until="patient_trajectories")
    return pipeline


def one_way(pipeline: Pipeline, folder: Path) -> tuple[list[tuple[str, str]], int]:
    """The ways from group to group that more patients went than came back, most certain first; and how many patients there are."""
    planted = (
        truth.PlantedChanges.read(folder)
        if (folder / truth.CHANGES).is_file()
        else truth.PlantedChanges(read_groups(folder), {})
    )
    clustered = schemas.read(pipeline.store.current("clusters").file("clusters.arrow"))
    meaning = truth.meanings(planted, clustered)
    artifact = pipeline.store.current("patient_trajectories")
    table = pa.concat_tables([schemas.read(path) for path in artifact.files("trajectories")]).combine_chunks()
    names = sorted(set(meaning.values()))
    group = [names.index(meaning[cluster]) for cluster in table.column("cluster").to_pylist()]
    course = Course.of(table.set_column(table.column_names.index("cluster"), "cluster", pa.array(group)))
    several = course.first_and_last()
    counts = course.table(several, np.arange(len(names)))
    row, column = np.nonzero(np.triu(counts + counts.T, 1))
    values = benjamini_hochberg(log_p_one_way(counts)[row, column])
    found = []
    for value, a, b in sorted(zip(values.tolist(), row.tolist(), column.tolist(), strict=True)):
        if value < np.log(0.05):
            found.append((names[a], names[b]) if counts[a, b] > counts[b, a] else (names[b], names[a]))
    return found, len(several[0])


def main() -> None:
    """Run all seeds with and without changes, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--patients", type=int, default=700)
    parser.add_argument("--years", type=float, default=5.0)
    parser.add_argument("--keep", type=Path, help="folder to keep the studies in")
    options = parser.parse_args()
    rows, others = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in options.seeds:
            for plant in ("change", "counts"):
                folder = (options.keep or Path(scratch)) / f"{plant}{seed}"
                pipeline = made(folder, seed, options.patients, plant, options.years)
                ways, patients = one_way(pipeline, folder / "truth")
                right = [way for way in ways if plant == "change" and way in CHANGES.items()]
                others += [
                    f"{left} to {entered} ({plant}, seed {seed})"
                    for left, entered in ways
                    if (left, entered) not in right
                ]
                told = pipeline.store.current("patient_trajectories").counts.get("agreement", {})
                share = {name: f"{told[name]:.3f}" for name in told if name.endswith(("found", "chance", "right"))}
                rows.append(
                    (
                        f"{'changes planted' if plant == 'change' else 'nobody changes'}, seed {seed}",
                        f"{patients:,}",
                        share.get("windows_right", ""),
                        told.get("changed", 0),
                        share.get("changed_found", ""),
                        share.get("changed_found_by_chance", ""),
                        share.get("unchanged_found", ""),
                        f"{len(right)} of {len(CHANGES)}" if plant == "change" else "",
                        len(ways) - len(right),
                    )
                )
    header = (
        "extract",
        "patients with two windows",
        "windows right",
        "changes to be seen",
        "found, both groups right",
        "by chance",
        "others who keep their group",
        "planted ways found",
        "other ways",
    )
    text = [
        f"{options.patients:,} patients, all in the cohort; windows of {options.years:g} years from the first visit, 20 clusters;"
        " the small encoder of the tests.",
        results.table(header, rows),
        f"Other ways: {'; '.join(others) or 'none'}.",
    ]
    results.write("evolution.py", "Change over time", "\n\n".join(text))


if __name__ == "__main__":
    main()
