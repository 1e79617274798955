"""Do small counts follow from all that a study shows? The page, a release, summary.json, Dagster's metadata, the log.

Three studies are made: the demo, one of 600 patients, and one whose clusters are so many that some are smaller than the threshold.
Of each, `ehr_pipeline_tests/attack_on_outputs.py` reads every text that tells of a count as the integers that it is consistent
with, and narrows all counts by all texts at once, with what adds up and the threshold; see there for what counts as found. A
bound that has the digits of a hidden count but follows from a count that is known to all is no finding if it stays when the
study is shown with another hidden count; otherwise it is one.

Usage: python benchmarks/attack.py [--keep FOLDER] [--studies demo,small,tiny_clusters]
"""

import argparse
import io
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import results

from ehr_pipeline.cli.run import DEMO_PATIENTS, DEMO_PLANS, DEMO_SEED
from ehr_pipeline.export import release
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic import generate
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.study import SMALL, WITHOUT_TASKS, places
from ehr_pipeline.synthetic.worlds import write
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests import attack_on_outputs
from ehr_pipeline_tests.deduce_counts import Attack

STUDIES: dict[str, tuple[int, int, tuple[dict[str, Any], ...]]] = {
    "demo": (DEMO_PATIENTS, DEMO_SEED, ()),
    "small": (600, 11, (SMALL,)),
    "tiny_clusters": (400, 7, (SMALL, {"clusters": {"n": 24}})),
}
"""Patients, seed, and settings over the demo's. The small ones are of the first generator: of so few patients of the base world the
small encoder learns nothing that passes its check."""


def attack(folder: Path, name: str) -> tuple[Attack, list[str], list[str], int]:
    """Make a study in a folder, release it, and attack it: what was read, what was found, which bounds only look like a
    hidden count, and how many clusters are small."""
    patients, seed, more = STUDIES[name]
    if name != "demo" and not (folder / "extract/truth/dirt.json").is_file():  # written last
        generate.generate(folder / "extract", patients, seed)
    if name == "demo" and not write.is_there(folder / "extract", DEMO_PLANS, patients, seed):
        write.write(folder / "extract", DEMO_PLANS, patients, seed)
    own = {"study": {"store": str(folder / "store")}}
    placed = places(folder / "extract")
    if name == "demo":  # with its tasks and its test set
        placed = {section: values for section, values in placed.items() if section not in WITHOUT_TASKS}
    study = settings.load(shipped("demo/settings.toml"), settings.merged(*more, placed, own))
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger("ehr_pipeline").addHandler(handler)
    logging.getLogger("ehr_pipeline").setLevel(logging.INFO)
    pipeline = Pipeline(study)
    pipeline.make(EXTRACT)
    logging.getLogger("ehr_pipeline").removeHandler(handler)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "release"
        release.release(pipeline, out)
        read = attack_on_outputs.read(pipeline, out, log.getvalue())
        problems: list[str] = read.found()
        same: list[str] = []
        for bound in dict.fromkeys(read.excused):
            copy = Path(scratch) / f"another_{len(same)}_{len(problems)}"
            told = f"{bound.text} in {bound.place} has the digits of {bound.name}"
            if attack_on_outputs.stays(pipeline, read, bound, copy):
                same.append(f"{told}, and is the same when that count is {attack_on_outputs.OTHER} more")
            else:
                problems.append(f"{told}, and is not shown to be the same with another count")
            shutil.rmtree(copy, ignore_errors=True)
    sizes = [count for place, count in read.secrets.counts.items() if place.startswith("size/")]
    small = sum(size < study.reports.suppress_below for size in sizes)
    return read, [*problems, *attack_on_outputs.cells(pipeline)], same, small


def main() -> None:
    """Attack the studies, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="folder to keep the studies in")
    parser.add_argument("--studies", default=",".join(STUDIES))
    options = parser.parse_args()
    rows, found = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.studies.split(","):
            read, problems, same, small = attack((options.keep or Path(scratch)) / name, name)
            hidden = sum(0 < count < read.below for count in read.secrets.counts.values())
            rows.append(
                (
                    name.replace("_", " "),
                    STUDIES[name][0],
                    small,
                    len(read.secrets.counts),
                    hidden,
                    len(read.shown),
                    f"{read.pairs:,}",
                    len(read.texts),
                    len(same),
                    len(problems) or "nothing",
                )
            )
            found += [f"- {name}, found: {problem}" for problem in problems]
            found += [f"- {name}, no finding: {one}" for one in same]
    header = (
        "study",
        "patients",
        "clusters below the threshold",
        "counts attacked",
        "of them below the threshold",
        "texts that tell of them",
        "pairs of texts",
        "texts read digit by digit",
        "texts with the digits of a hidden count that stay with another count",
        "found",
    )
    results.write(
        "attack.py", "An attack on all that a study shows", "\n\n".join([results.table(header, rows), *found])
    )


if __name__ == "__main__":
    main()
