"""Which vectors find planted groups? One mechanism at a time, over several seeds and starts of k-means.

Worlds (docs/worlds.md): `base`, with ten groups of five skin diseases, as in the demo; and each mechanism of the plan `subtle`,
alone. On each extract the whole chain runs up to the cohort, with the demo's encoder. Vectors of the preset `recommended` are set
beside those of the published method, beside what is left without a part, and beside counts of the same concepts with a truncated
SVD, which need no model. The members of the groups are divided by k-means into as many clusters as there are groups.

Seeds are the units of the intervals: the starts of a seed are averaged, and the interval is Student's t over seeds.

Figures of each extract stay in the folder of --keep, and are not measured again; the section shows all of them. So worlds and seeds
can be run one by one. All of them take about 40 minutes on two cores.

Usage: python benchmarks/planted_groups.py [--worlds base order-middle ...] [--seeds 0 1 2] [--keep FOLDER]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import results
from numpy.typing import NDArray
from scipy.stats import t
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.clusters import baseline
from ehr_pipeline.clusters.planted import PlantedGroups
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings import build, quality
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.settings import EmbeddingsSettings, VectorSettings
from ehr_pipeline.embeddings.vectors import Vectors, pooled_tokens
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.synthetic.worlds.subtle import KINDS
from ehr_pipeline.synthetic.worlds.write import is_there, write
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.vocabulary.table import Vocabulary

BASE = "base"
WORLDS = (BASE, *KINDS)
SHARE = 0.9
"""Share of the patients who are chosen for a skin disease: only they belong to groups."""
ROWS: dict[str, dict[str, Any]] = {
    "this run (recommended)": {},
    "published": EmbeddingsSettings.PRESETS["published"]["vectors"],
    "network alone": {"profile": 0},
    "profile alone": {"encoder_share": 0.0},
    "no network": {"encoder_share": 0.0, "kinship": 0.0},
}
"""Settings of the vectors. The profile alone still has what the network says about which concepts are alike (`kinship`)."""
COUNTS = "counts + SVD"
INPUTS = ("patient_dataset", "cohort", "encoder_checkpoint", "concept_embeddings", "vocabulary")
NEAREST, EPOCHS = 15, 2
Floats = NDArray[np.float32]
Figures = dict[str, dict[str, Any]]
"""Of one extract, by row: the adjusted Rand index of each start, and the share of nearest neighbours of the patient's group."""


def study_in(folder: Path, seed: int, pooling: str = "types", epochs: int = EPOCHS) -> settings.Study:
    """The demo's study, with its files in a folder."""
    chosen = {
        "study": {"seed": seed},
        "encoder": {"max_epochs": epochs},
        "embeddings": {"pooling": {"select": pooling}},
        "trajectories": {"windows": "off"},
    }
    return settings.load(shipped("demo/settings.toml"), settings.merged(places(folder), chosen))


def studied(folder: Path, world: str, seed: int, patients: int, epochs: int) -> Pipeline:
    """The chain up to the cohort. The findings of most mechanisms are in no list, so that concepts are pooled by semantic type."""
    plans = (BASE if world == BASE else f"subtle-{world}",)
    if not is_there(folder, plans, patients, seed, SHARE):
        write(folder, plans, patients, seed, SHARE)
    pipeline = Pipeline(study_in(folder, seed, "list" if world == BASE else "types", epochs))
    pipeline.make(EXTRACT, until="cohort")
    return pipeline


def embedded(pipeline: Pipeline, scratch: Path) -> Iterator[tuple[str, list[str], Floats, Path]]:
    """For each row its name, the patients, their vectors, and the artifact. Rows of the same concepts share chunks."""
    artifacts = {name: pipeline.store.current(name) for name in INPUTS}
    substitutes = 0
    for name, values in ROWS.items():
        own = replace(pipeline.study.embeddings, vectors=VectorSettings(**values))
        out = Path(tempfile.mkdtemp(dir=scratch))
        job = pipeline.embedding_job(
            artifacts, scratch / ("apart" if substitutes and not own.vectors.habits else "chunks")
        )
        counts = build.build(artifacts, own, job, out, listed=pipeline.pooled_concepts, launch=pipeline.engine.launch)
        substitutes = max(substitutes, counts.get("substitutes", 0))
        vectors = Vectors.read(Artifact(out, {}))
        yield name, vectors.ids.to_pylist(), vectors.all(), out


def counted(pipeline: Pipeline, ids: list[str], chosen: list[int]) -> Floats:
    """Counts of the chosen concepts in some patients, square-rooted, with a truncated SVD."""
    members = Cohort.read(pipeline.store.current("cohort").path).of(pa.array(ids))
    width = Vocabulary.read(pipeline.store.current("vocabulary").path).size
    counts = baseline.visits(pipeline.store.current("patient_dataset").files("patients"), members, width)
    weights = np.isin(np.arange(width), chosen).astype(np.float32)
    return baseline.vectors(counts.multiply(weights).tocsr(), 64, pipeline.study.study.seed)


def measured(pipeline: Pipeline, starts: int) -> Figures:
    """All rows on one extract, among the members of the groups who have a vector in every row."""
    truth = PlantedGroups.read(Path(pipeline.study.clusters.truth))
    spaces: dict[str, tuple[list[str], Floats]] = {}
    chosen: list[int] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, ids, vectors, out in embedded(pipeline, Path(scratch)):
            spaces[name] = ids, vectors
            chosen = max(chosen, pooled_tokens(out), key=len)  # with the substitutes, where they are sought
    everywhere = set.intersection(*(set(ids) for ids, _ in spaces.values()))
    members = sorted(everywhere & set(truth.group_of))
    spaces[COUNTS] = members, counted(pipeline, members, chosen)
    names, groups = np.unique([truth.group_of[patient] for patient in members], return_inverse=True)
    figures: Figures = {}
    for name, (ids, vectors) in spaces.items():
        place = {patient: row for row, patient in enumerate(ids)}
        unit = unit_length(vectors[[place[patient] for patient in members]])
        found = [KMeans(len(names), n_init=10, random_state=start).fit_predict(unit) for start in range(starts)]
        figures[name] = {
            "indices": [float(adjusted_rand_score(groups, labels)) for labels in found],
            "nearest": float((groups[quality.nearest(unit, NEAREST)] == groups[:, None]).mean()),
        }
    shares = np.bincount(groups) / len(groups)
    return figures | {"members": {"count": len(members), "by chance": float((shares**2).sum())}}


def interval(values: list[float], signed: bool = False) -> str:
    """Mean of seeds, with the 95 % interval of Student's t."""
    mean = float(np.mean(values))
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))) if values[1:] else 0.0
    low, middle, high = (
        f"{round(value, 3) + 0.0:{'+' if signed else ''}.3f}" for value in (mean - half, mean, mean + half)
    )
    return f"{middle} ({low} to {high})" if values[1:] else middle


def section(found: dict[str, dict[int, Figures]], options: argparse.Namespace) -> str:
    """The text for RESULTS.md. `found` holds figures by world and seed."""
    worlds = [world for world in WORLDS if found.get(world)]
    rows = [*ROWS, COUNTS]

    def index(world: str, row: str) -> list[float]:
        return [float(np.mean(figures[row]["indices"])) for figures in found[world].values()]

    def apart(world: str, row: str) -> list[float]:
        return [a - b for a, b in zip(index(world, row), index(world, COUNTS), strict=True)]

    def near(world: str, row: str, name: str) -> float:
        return float(np.mean([figures[row][name] for figures in found[world].values()]))

    ranges = [
        (float(np.ptp(figures[row]["indices"])), f"{world}, {row}")
        for world in worlds
        for figures in found[world].values()
        for row in rows
    ]
    members = [
        (world, ", ".join(map(str, found[world])), f"{near(world, 'members', 'count'):,.0f}") for world in worlds
    ]
    tables = (
        [(row, *(interval(index(world, row)) for world in worlds)) for row in rows],
        [(row, *(interval(apart(world, row), signed=True) for world in worlds)) for row in ROWS],
        [(row, *(f"{near(world, row, 'nearest'):.3f}" for world in worlds)) for row in rows]
        + [("by chance", *(f"{near(world, 'members', 'by chance'):.3f}" for world in worlds))],
    )
    return "\n\n".join(
        (
            f"{options.patients:,} patients drawn in each extract, {SHARE:.0%} of them with a skin disease; the demo's encoder,"
            f" {options.epochs} epochs; concepts pooled by semantic type, in `base` by the demo's list. Extracts measured:",
            results.table(("world", "seeds", "members of groups, mean"), members),
            f"Adjusted Rand index by k-means, as many clusters as groups, among the members of the groups; {options.starts} starts,"
            " each the best of ten. Mean over seeds, with the 95 % interval of Student's t over seeds (starts averaged in each):",
            results.table(("vectors", *worlds), tables[0]),
            "The same minus that of counts + SVD on the same extract:",
            results.table(("vectors", *worlds), tables[1]),
            "The starts of one extract differ by at most {:.3f} ({}).".format(*max(ranges)),
            f"Share of the {NEAREST} nearest members that are of the patient's group, mean over seeds:",
            results.table(("vectors", *worlds), tables[2]),
        )
    )


def main() -> None:
    """Measure what is asked for and not there, and write the section of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--patients", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="folder of the figures (default: a temporary one)")
    options = parser.parse_args()
    found: dict[str, dict[int, Figures]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        kept = options.keep or Path(scratch)
        of = f"{options.patients}-{options.epochs}-{options.starts}"
        for seed in options.seeds:
            for world in options.worlds:
                path = kept / of / f"{world} {seed}.json"
                if not path.is_file():
                    start = time.perf_counter()
                    with tempfile.TemporaryDirectory() as folder:
                        pipeline = studied(Path(folder), world, seed, options.patients, options.epochs)
                        figures = measured(pipeline, options.starts)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
                    print(f"{world}, seed {seed}: {time.perf_counter() - start:.0f} s {figures}", flush=True)
        for path in sorted((kept / of).glob("*.json")):
            world, seed = path.stem.rsplit(" ", 1)
            found.setdefault(world, {})[int(seed)] = json.loads(path.read_text(encoding="utf-8"))
    results.write("planted_groups.py", "Planted groups, by mechanism", section(found, options))


if __name__ == "__main__":
    main()
