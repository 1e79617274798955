"""Does the science work? The demo's chain on synthetic extracts of several seeds, and on one without groups.

For each preset and pooling: adjusted Rand index with as many clusters as planted groups, homogeneity with 20, whether every
companion marks its group's main cluster; beside the honest baseline on the same concepts. For the concept vectors: how often one
of a concept's planted companions is among its ten nearest neighbours in the whole vocabulary, beside chance.

Usage: python benchmarks/planted_groups.py [--seeds 0 1 2] [--patients 5000] [--keep FOLDER]
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import results

from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.clusters.planted import COUNTS, THIS_RUN, PlantedGroups
from ehr_pipeline.concepts.neighbours import nearest
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT, generate, is_there
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

VARIANTS = (
    ("recommended", "list"),
    ("recommended", "types"),
    ("recommended", "all"),
    ("published", "list"),
    ("published", "all"),
)
FIRST = "recommended, list"


def study_in(folder: Path, seed: int, preset: str = "recommended", pooling: str = "list") -> settings.Study:
    """The demo's study with its files in a folder, a preset of vectors, and a choice of tokens."""
    chosen = {
        "study": {"seed": seed},
        "embeddings": {"preset": preset, "pooling": {"select": pooling}},
        "trajectories": {"windows": "off"},
    }
    return settings.load(shipped("demo/settings.toml"), settings.merged(places(folder), chosen))


def neighbour_hits(pipeline: Pipeline, truth: PlantedGroups) -> tuple[float, float]:
    """Share of planted companions with a companion of theirs among the ten nearest concepts, and the same by chance."""
    vocabulary = Vocabulary.read(pipeline.store.current("vocabulary").path)
    vectors = np.load(pipeline.store.current("concept_embeddings").file("vectors.npy"))
    fellows: dict[int, set[int]] = {}
    for group in truth.companions.values():
        tokens = [vocabulary.token_of[concept] for concept in group]
        for token in tokens:
            fellows.setdefault(token, set()).update(set(tokens) - {token})
    queries = np.array(sorted(fellows))
    found, _ = nearest(queries, np.arange(FIRST_CONCEPT, vocabulary.size), vectors, 10)
    others = vocabulary.size - FIRST_CONCEPT - 1
    hits = [bool(fellows[token] & set(row)) for token, row in zip(queries.tolist(), found.tolist(), strict=True)]
    chance = [
        1 - np.prod([(others - len(fellows[token]) - i) / (others - i) for i in range(10)])
        for token in queries.tolist()
    ]
    return float(np.mean(hits)), float(np.mean(chance))


def run(folder: Path, patients: int, seed: int, null: bool) -> dict[str, dict[str, float]]:
    """The chain on one extract. Returns figures by preset and pooling, and those of the concept vectors under 'concepts'."""
    if not is_there(folder, patients, seed, null=null):
        generate(folder, patients, seed, null=null)
    pipeline = Pipeline(study_in(folder, seed, *VARIANTS[0]))
    pipeline.make(EXTRACT, until="cohort")
    truth = PlantedGroups.read(folder / "truth")
    hits, chance = neighbour_hits(pipeline, truth)
    figures = {"concepts": {"hits": hits, "chance": chance}}
    for preset, pooling in VARIANTS if not null else VARIANTS[:1]:
        variant = f"{preset}, {pooling}"
        own = Pipeline(study_in(folder, seed, preset, pooling))
        own.patient_embeddings()
        clusters = own.clusters()
        own.patient_trajectories()
        report = own.cluster_reports()
        recovered = json.loads(report.file("agreement.json").read_text(encoding="utf-8"))
        agreement = recovered["vectors"]
        companions = [there for _, _, found in recovered["recovered"] for _, there in found]
        figures[variant] = {
            "index": agreement[THIS_RUN]["adjusted_rand_index"],
            "homogeneity": agreement[THIS_RUN]["homogeneity"],
            "baseline index": agreement[COUNTS]["adjusted_rand_index"],
            "baseline homogeneity": agreement[COUNTS]["homogeneity"],
            "companions": float(np.mean(companions)),
            "excess": clusters.counts["split_half"]["excess"],
            "patients": clusters.counts["kept"],
        }
        print(f"seed {seed}{' null' if null else ''}, {variant}: {figures[variant]}", flush=True)
    return figures


def report(seeds: list[int], planted: list[dict[str, dict[str, float]]], null: dict[str, dict[str, float]]) -> str:
    """The section for RESULTS.md."""

    def mean(variant: str, name: str) -> str:
        values = [figures[variant][name] for figures in planted]
        return f"{np.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"

    rows = []
    for variant in (f"{preset}, {pooling}" for preset, pooling in VARIANTS):
        rows.append((variant, mean(variant, "index"), mean(variant, "homogeneity"), mean(variant, "companions")))
    for pooling in dict.fromkeys(pooling for _, pooling in VARIANTS):
        variant = f"recommended, {pooling}"
        figures_of = mean(variant, "baseline index"), mean(variant, "baseline homogeneity")
        rows.append((f"baseline, {pooling}", *figures_of, ""))
    header = (
        "vectors, and what they are pooled over",
        "adjusted Rand index, n = groups",
        "homogeneity, n = 20",
        "companions among the top 50 of the main cluster",
    )
    hits = [figures["concepts"]["hits"] for figures in planted]
    chance = [figures["concepts"]["chance"] for figures in planted]
    excess = [f"{figures[FIRST]['excess']:.2f}" for figures in planted]
    cohort = ", ".join(f"{figures[FIRST]['patients']:,}" for figures in planted)
    return "\n\n".join(
        (
            f"Seeds {seeds}; means, and the value of each seed. Cohort patients: {cohort}. Baseline: square-rooted counts of"
            " the same concepts, truncated SVD, the same clustering.",
            results.table(header, rows),
            f"Nearest neighbours: a companion of the same group is among the ten nearest in the whole vocabulary for"
            f" {np.mean(hits):.2f} of the planted companions ({', '.join(f'{value:.2f}' for value in hits)}); chance is"
            f" {np.mean(chance):.3f}, so that is {np.mean(hits) / np.mean(chance):.0f} times chance.",
            f"Split-half test, excess over chance: {', '.join(excess)} with planted groups;"
            f" {null[FIRST]['excess']:.3f} on the null cohort (below 0.05 the report says that there is no evidence).",
            f"Null cohort (no groups planted): adjusted Rand index {null[FIRST]['index']:.3f} for the recommended vectors,"
            f" {null[FIRST]['baseline index']:.3f} for the baseline.",
        )
    )


def main() -> None:
    """Run all seeds and the null cohort, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--patients", type=int, default=5000)
    parser.add_argument("--keep", type=Path, help="folder to keep the studies in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        planted = [run(folder / f"seed{seed}", options.patients, seed, null=False) for seed in options.seeds]
        null = run(folder / "null", options.patients, options.seeds[0], null=True)
    results.write("planted_groups.py", "Planted groups", report(options.seeds, planted, null))


if __name__ == "__main__":
    main()
