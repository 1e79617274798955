"""Which vectors find planted groups? One mechanism at a time, over several seeds and starts of k-means.

Worlds (docs/worlds.md): `base`, with ten groups of five skin diseases, as in the demo; and each mechanism of the plan `subtle`,
alone. On each extract the whole chain runs, with the demo's encoder. Vectors of the preset `recommended` are set beside those of
the preset `published`, beside what is left of them without a part, and beside counts of the same concepts with a truncated SVD,
which need no model. The members of the groups are divided by k-means into as many clusters as there are groups.

In `base`, it is also counted how many of a group's companions mark the cluster that has most of the group, by being more frequent
there; and, as what a test that says little would give, how many companions of the other groups do.

Seeds are the units of the intervals: the starts of a seed are averaged, and the interval is Student's t over seeds.

Figures of each extract stay in the folder of --keep, and are not measured again; the section shows all of them. So worlds and seeds
can be run one by one. All of them take about 40 minutes on two cores.

Usage: python benchmarks/planted_groups.py [--worlds base order-middle ...] [--seeds 0 1 2] [--keep FOLDER]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import results
from numpy.typing import NDArray
from scipy.stats import t
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from ehr_pipeline.clusters import baseline
from ehr_pipeline.clusters.marker_concepts import Marks
from ehr_pipeline.clusters.planted import PlantedGroups, read_agreement
from ehr_pipeline.clusters.truth import within_diseases
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings import ablations, quality
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.vectors import Vectors, pooled_tokens
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.synthetic.worlds.groups_by_mechanism import KINDS
from ehr_pipeline.synthetic.worlds.write import write
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.vocabulary.table import Vocabulary

BASE = "base"
WORLDS = (BASE, *KINDS)
SHARE = 0.9
"""Share of the patients who are chosen for a skin disease: only they belong to groups."""
NEAREST, EPOCHS = 15, 2
RUN, PUBLISHED, COUNTS = "this run (recommended)", "published", "counts + SVD"
PARTS = {ablations.NETWORK: "network alone", ablations.NO_NETWORK: "no network"}
"""Rows by the names of `embeddings.ablations`."""
ROWS = (RUN, PUBLISHED, *PARTS.values(), COUNTS)
Floats = NDArray[np.float32]
Figures = dict[str, dict[str, Any]]
"""Of one extract, by row: the adjusted Rand index of each start, and the share of nearest neighbours of the patient's group."""


def study_in(
    folder: Path, seed: int, pooling: str = "types", epochs: int = EPOCHS, preset: str = "recommended"
) -> settings.Study:
    """The demo's study, with its files in a folder."""
    chosen = {
        "study": {"seed": seed},
        "patients": {"split": {"validation_share": 0.02}},
        "encoder": {"max_epochs": epochs},
        "embeddings": {"preset": preset, "pooling": {"select": pooling}},
    }
    return settings.load(shipped("demo/settings.toml"), settings.merged(places(folder), chosen))


def measured(folder: Path, world: str, seed: int, options: argparse.Namespace) -> Figures:
    """All rows on one extract, among the members of the groups who have a vector in every row.

    The findings of most mechanisms are in no list, so that concepts are pooled by semantic type there.
    """
    write(folder, (BASE if world == BASE else f"subtle-{world}",), options.patients, seed, SHARE)
    truth = PlantedGroups.read(folder / "truth")
    how = seed, "list" if world == BASE else "types", options.epochs
    pipeline = Pipeline(study_in(folder, *how))
    pipeline.make(EXTRACT, until="patient_embeddings")
    run = pipeline.store.current("patient_embeddings")
    marked = {"marks": companions(pipeline, truth)} if world == BASE else {}
    found = {
        PARTS[name]: (variant.ids, variant.whole) for name, variant in ablations.read(run).items() if name in PARTS
    }
    for name, artifact in (
        (RUN, run),
        (PUBLISHED, Pipeline(study_in(folder, *how, preset=PUBLISHED)).patient_embeddings()),
    ):
        vectors = Vectors.read(artifact)
        found[name] = vectors.ids, vectors.all()
    ids = {name: own.to_pylist() for name, (own, _) in found.items()}
    members = sorted(set.intersection(set(truth.group_of), *map(set, ids.values())))
    place = {name: {patient: row for row, patient in enumerate(own)} for name, own in ids.items()}
    spaces = {name: vectors[[place[name][patient] for patient in members]] for name, (_, vectors) in found.items()}
    spaces[COUNTS] = counted(pipeline, members, pooled_tokens(run.path))
    cohort = Cohort.read(pipeline.store.current("cohort").path).of(pa.array(members))
    named = np.array([truth.group_of[patient] for patient in members])
    diseases = np.array(cohort.table.column("disease").to_pylist())
    figures = judged(spaces, named, diseases, options.starts) | marked
    return figures | {"share": {"chosen": run.counts["encoder_share"]["share"]}}


def counted(pipeline: Pipeline, members: list[str], chosen: list[int]) -> Floats:
    """Counts of the chosen concepts in some patients, square-rooted, with a truncated SVD."""
    cohort = Cohort.read(pipeline.store.current("cohort").path).of(pa.array(members))
    width = Vocabulary.read(pipeline.store.current("vocabulary").path).size
    counts = baseline.visits(pipeline.store.current("patient_dataset").files("patients"), cohort, width)
    weights = np.isin(np.arange(width), chosen).astype(np.float32)
    return baseline.vectors(counts.multiply(weights).tocsr(), 64, pipeline.study.study.seed)


def judged(spaces: dict[str, Floats], named: NDArray[Any], diseases: NDArray[Any], starts: int) -> Figures:
    """The figures of each space (n, D), for patients of the groups `named` (n,), who have `diseases` (n,)."""
    names, groups = np.unique(named, return_inverse=True)
    shares = np.bincount(groups) / len(groups)
    figures: Figures = {
        "members": {
            "count": len(groups),
            "by chance": float((shares**2).sum()),
            "disease itself": float(adjusted_rand_score(groups, diseases)),
        }
    }
    for name, vectors in spaces.items():
        unit = unit_length(vectors)
        found = [KMeans(len(names), n_init=10, random_state=start).fit_predict(unit) for start in range(starts)]
        figures[name] = {
            "indices": [float(adjusted_rand_score(groups, labels)) for labels in found],
            "within": float(np.mean([within_diseases(groups, diseases, labels) for labels in found])),
            "disease": float(np.mean([adjusted_rand_score(diseases, labels) for labels in found])),
            "nearest": float((groups[quality.nearest(unit, NEAREST)] == groups[:, None]).mean()),
        }
    return figures


def companions(pipeline: Pipeline, truth: PlantedGroups) -> dict[str, list[int]]:
    """Numbers of companions that mark a group's main cluster by being more frequent, and of all: its own, and those of others."""
    clusters = pipeline.clusters()
    vocabulary, marks = Vocabulary.read(pipeline.store.current("vocabulary").path), Marks.read(clusters.path)
    tokens = {
        group: {vocabulary.token_of[concept] for concept in concepts if concept in vocabulary.token_of}
        for group, concepts in truth.companions.items()
    }
    counts = {"own": [0, 0], "others": [0, 0]}
    for group, number in (read_agreement(clusters.path) or {})["main_cluster"].items():
        more = set(marks.ranked(number, more=True))
        others = set().union(*tokens.values()) - tokens[group]
        for name, those in (("own", tokens[group]), ("others", others)):
            counts[name] = [counts[name][0] + len(those & more), counts[name][1] + len(those)]
    return counts


def interval(values: list[float], signed: bool = False) -> str:
    """Mean of seeds, with the 95 % interval of Student's t."""
    mean = float(np.mean(values))
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))) if values[1:] else 0.0
    ends = (mean - half, mean, mean + half)
    low, middle, high = (f"{round(value, 3) + 0.0:{'+' if signed else ''}.3f}" for value in ends)
    return f"{middle} ({low} to {high})" if values[1:] else middle


def section(found: dict[str, dict[int, Figures]], options: argparse.Namespace) -> str:
    """The text for RESULTS.md. `found` holds figures by world and seed."""
    worlds = [world for world in WORLDS if found.get(world)]

    def index(world: str, row: str) -> list[float]:
        return [float(np.mean(figures[row]["indices"])) for figures in found[world].values()]

    def apart(world: str, row: str) -> list[float]:
        return [a - b for a, b in zip(index(world, row), index(world, COUNTS), strict=True)]

    def near(world: str, row: str, name: str) -> float:
        return float(np.mean([figures[row][name] for figures in found[world].values()]))

    left = [world for world in WORLDS if world not in worlds]
    ranges = [
        (float(np.ptp(figures[row]["indices"])), f"{world}, {row}")
        for world in worlds
        for figures in found[world].values()
        for row in ROWS
    ]
    members = [
        (world, ", ".join(map(str, found[world])), f"{near(world, 'members', 'count'):,.0f}") for world in worlds
    ]
    tables = (
        [(row, *(interval(index(world, row)) for world in worlds)) for row in ROWS]
        + [("the disease itself, no vector", *(interval(itself(found[world])) for world in worlds))],
        [(row, *(interval(apart(world, row), signed=True) for world in worlds)) for row in ROWS[:-1]],
        [(row, *(f"{near(world, row, 'nearest'):.3f}" for world in worlds)) for row in ROWS]
        + [("by chance", *(f"{near(world, 'members', 'by chance'):.3f}" for world in worlds))],
    )
    marked = [
        f"seed {seed} {figures['marks'][name][0]} of {figures['marks'][name][1]} {whose}"
        for seed, figures in found.get(BASE, {}).items()
        if "marks" in figures
        for name, whose in (("own", "companions of the group"), ("others", "companions of other groups alone"))
    ]
    return "\n\n".join(
        (
            f"{options.patients:,} patients drawn in each extract, {SHARE:.0%} of them with a skin disease; the demo's encoder,"
            f" {options.epochs} epochs; concepts pooled by semantic type, in `base` by the demo's list. Extracts measured:",
            results.table(("world", "seeds", "members of groups, mean"), members),
            *([f"Not measured with today's vectors: {', '.join(left)}."] if left else []),
            f"Adjusted Rand index by k-means, as many clusters as groups, among the members of the groups; {options.starts} starts,"
            " each the best of ten. Mean over seeds, with the 95 % interval of Student's t over seeds (starts averaged in each);"
            " one seed has no interval:",
            results.table(("vectors", *worlds), tables[0]),
            "The same minus that of counts + SVD on the same extract:",
            results.table(("vectors", *worlds), tables[1]),
            *by_disease(found.get(BASE, {})),
            "Share of the network that the data chose: "
            + "; ".join(
                f"{world} {', '.join(format(figures['share']['chosen'], '.0%') for figures in found[world].values())}"
                for world in worlds
            )
            + ".",
            "The starts of one extract differ by at most {:.3f} ({}).".format(*max(ranges)),
            f"Share of the {NEAREST} nearest members that are of the patient's group, mean over seeds:",
            results.table(("vectors", *worlds), tables[2]),
            *(
                [f"In `base`, marks of the main cluster of each group by more frequent concepts: {'; '.join(marked)}."]
                if marked
                else []
            ),
        )
    )


def itself(found: dict[int, Figures]) -> list[float]:
    """The index of the diseases with the groups, of each seed."""
    return [figures["members"]["disease itself"] for figures in found.values()]


def by_disease(found: dict[int, Figures]) -> tuple[str, ...]:
    """In `base` a group belongs to a disease: how far an index is that of the diseases, which everybody's cohort tells."""
    if not found:
        return ()

    def seeds(row: str, name: str) -> list[float]:
        return [figures[row][name] for figures in found.values()]

    rows = [(row, interval(seeds(row, "disease")), interval(seeds(row, "within"))) for row in ROWS]
    return (
        "In `base`, each group belongs to one disease, and the disease itself, which the cohort names, has an index of"
        f" {interval(itself(found))}. So an index there tells first of all how far clusters repeat the diseases. What they tell of"
        " groups is the mean index among the patients of each disease:",
        results.table(("vectors", "index with the disease", "index within a disease"), rows),
    )


def main() -> None:
    """Measure what is asked for and not there, and write the section of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--patients", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="folder of the figures (default: a temporary one)")
    options = parser.parse_args()
    found: dict[str, dict[int, Figures]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        kept = (options.keep or Path(scratch)) / f"{options.patients}-{options.epochs}-{options.starts}"
        for seed in options.seeds:
            for world in options.worlds:
                path = kept / f"{world} {seed}.json"
                if not path.is_file():
                    start = time.perf_counter()
                    with tempfile.TemporaryDirectory() as folder:
                        figures = measured(Path(folder), world, seed, options)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
                    print(f"{world}, seed {seed}: {time.perf_counter() - start:.0f} s {figures}", flush=True)
        for path in sorted(kept.glob("*.json")):
            world, number = path.stem.rsplit(" ", 1)
            found.setdefault(world, {})[int(number)] = json.loads(path.read_text(encoding="utf-8"))
    results.write("planted_groups.py", "Planted groups, by mechanism", section(found, options))


if __name__ == "__main__":
    main()
