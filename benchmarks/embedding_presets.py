"""Which vectors are best? Published, recommended and parts of it beside the honest baseline, on several planted cohorts.

Cohorts: the demo's groups, which counts of concepts tell apart, and the groups of `synth --plant subtle`, which differ by the order
of their companions, by age, or by synonymous codes. For each set of vectors: adjusted Rand index with as many clusters as planted
groups; its difference to the baseline (square-rooted counts of the same concepts, truncated SVD) with a 95 % interval over 1,000
bootstraps of the patients; the homogeneity of twenty spectral clusters, as the pipeline makes them; and the collapse, as rank
correlations of the distance to the centre. Groups by counts are clustered spectrally for the index too; subtle groups, each kind
alone and all together, by k-means: the cheapest cuts of a graph of a few hundred patients are small tight sets, for all vectors.

The baseline counts the concepts of the variant that chooses most of them, with their substitutes; patients without a vector in any
variant are left out.

With --keep the studies and the vectors of their chunks stay, and with --reuse as well no encoder is trained that is there.

Usage: python benchmarks/embedding_presets.py [--counts 0 1] [--subtle 0 1] [--patients 5000] [--epochs 7] [--keep FOLDER [--reuse]]
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import planted_groups
import pyarrow as pa
import results
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, homogeneity_score

from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.clusters import baseline
from ehr_pipeline.clusters.methods import cluster
from ehr_pipeline.clusters.planted import PlantedGroups
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings import build, quality
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.settings import EmbeddingsSettings, VectorSettings
from ehr_pipeline.embeddings.vectors import Vectors, pooled_tokens
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.synthetic.generate import EXTRACT, generate, is_there
from ehr_pipeline.synthetic.subtle import KINDS
from ehr_pipeline.vocabulary.table import Vocabulary

PUBLISHED = EmbeddingsSettings.PRESETS["published"]["vectors"]
VARIANTS: dict[str, dict[str, Any]] = {
    "published": PUBLISHED,
    "published, trained attention": PUBLISHED | {"attention": "trained"},
    **{f"encoder only, {name}": {"weighting": name, "profile": 0} for name in ("equal", "sif", "log", "root")},
    "recommended without the encoder": {"encoder_share": 0.0},
    "recommended": {},
    "recommended, log": {"weighting": "log"},
    "recommended without habits": {"habits": ""},
    "recommended without smoothing, encoder 0.2": {"smoothing": 0.0, "encoder_share": 0.2},
    "recommended without smoothing and ages, encoder 0.35": {"smoothing": 0.0, "ages": False, "encoder_share": 0.35},
}
INPUTS = ("patient_dataset", "cohort", "encoder_checkpoint", "concept_embeddings", "vocabulary")
BOOTSTRAPS = 1000


@dataclass(frozen=True)
class Figures:
    """What was measured of one set of vectors on one cohort."""

    cohort: str
    vectors: str
    index: float
    purity: float
    """Share of the 15 nearest neighbours that are of the patient's group."""
    homogeneity: float
    """Of twenty spectral clusters."""
    against: tuple[float, float, float]
    """Difference to the baseline: the value, and the ends of its interval."""
    collapse: dict[str, float]


def studied(folder: Path, patients: int, seed: int, plant: str, epochs: int, reuse: bool) -> Pipeline:
    """The chain up to the cohort on one extract; with `reuse`, as it stands in the folder, if it does."""
    if reuse and (folder / "store/embeddings/cohort/current").exists():
        return Pipeline(planted_groups.study_in(folder, seed))
    if not is_there(folder, patients, seed, plant=plant):
        generate(folder, patients, seed, plant=plant)
    study = planted_groups.study_in(folder, seed)
    pipeline = Pipeline(replace(study, encoder=replace(study.encoder, max_epochs=epochs)))
    pipeline.make(EXTRACT, until="cohort")
    return pipeline


def embedded(pipeline: Pipeline, vectors: dict[str, Any], scratch: Path, kept: Path) -> tuple[Artifact, dict[str, Any]]:
    """The cohort embedded with other settings. Variants with the same weights share their chunk vectors, which stay in `kept`."""
    study = pipeline.study
    own = replace(study.embeddings, vectors=VectorSettings(**vectors))
    artifacts = {name: pipeline.store.current(name) for name in INPUTS}
    out = Path(tempfile.mkdtemp(dir=scratch))
    names = (artifacts["encoder_checkpoint"].path.name, artifacts["cohort"].path.name, own.vectors.weighting)
    work = kept / "-".join((*names, own.vectors.habits or "apart"))
    listed, launch = pipeline.pooled_concepts, pipeline.engine.launch
    job = pipeline.embedding_job(artifacts, work)
    counts = build.build(artifacts, own, job, out, listed=listed, launch=launch)
    return Artifact(out, {}), counts


def plain(pipeline: Pipeline, ids: list[str], selected: Path) -> NDArray[np.float32]:
    """The baseline's vectors of some patients."""
    members = Cohort.read(pipeline.store.current("cohort").path).of(pa.array(ids))
    width = Vocabulary.read(pipeline.store.current("vocabulary").path).size
    counts = baseline.visits(pipeline.store.current("patient_dataset").files("patients"), members, width)
    chosen = np.zeros(width, np.float32)
    chosen[pooled_tokens(selected)] = 1
    return baseline.vectors(counts.multiply(chosen).tocsr(), 64, pipeline.study.study.seed)


def parts(truth: PlantedGroups, ids: list[str]) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    """Each cohort that is clustered alone: its name, the rows of its patients, and their groups."""
    names = np.array([truth.group_of.get(patient, "") for patient in ids])
    kinds = [kind for kind in KINDS if np.char.startswith(names, f"{kind}:").any()]
    for kind in (*kinds, ""):
        rows = np.flatnonzero((names != "") & np.char.startswith(names, kind))
        yield kind or ("all" if kinds else "counts"), rows, np.unique(names[rows], return_inverse=True)[1]


def divide(vectors: NDArray[np.float32], n: int, seed: int, spectral: bool) -> NDArray[np.int64]:
    """Labels of n clusters."""
    if spectral:
        return cluster(vectors, "spectral", n, 15, seed)
    labels: NDArray[np.int64] = KMeans(n, n_init=10, random_state=seed).fit_predict(unit_length(vectors))
    return labels


def measure(pipeline: Pipeline, name: str, variants: list[str], scratch: Path, kept: Path) -> Iterator[Figures]:
    """All variants on the cohorts of one extract, and the baseline."""
    truth, seed = PlantedGroups.read(Path(pipeline.study.clusters.truth)), pipeline.study.study.seed
    made: dict[str, tuple[Vectors, dict[str, float]]] = {}
    chosen: dict[Path, int] = {}
    for variant in variants:
        artifact, counts = embedded(pipeline, VARIANTS[variant], scratch, kept)
        made[variant] = Vectors.read(artifact), counts["quality"]["collapse"]
        chosen[artifact.path] = counts["selected_concepts"]
        told = [counts.get(fact) for fact in ("selected_concepts", "substitutes", "reliable", "aggregator")]
        print(name, variant, counts["quality"], *told, flush=True)
    ids = sorted(set.intersection(*(set(vectors.ids.to_pylist()) for vectors, _ in made.values())))
    found = {variant: (vectors.of(pa.array(ids)), collapse) for variant, (vectors, collapse) in made.items()}
    found["baseline"] = (plain(pipeline, ids, max(chosen, key=chosen.__getitem__)), {})
    rng = np.random.default_rng(0)
    for kind, rows, groups in parts(truth, ids):
        labels = {
            variant: divide(vectors[rows], int(groups.max()) + 1, seed, spectral=kind == "counts")
            for variant, (vectors, _) in found.items()
        }
        draws = [rng.integers(0, len(rows), len(rows)) for _ in range(BOOTSTRAPS)]
        reference = np.array([adjusted_rand_score(groups[draw], labels["baseline"][draw]) for draw in draws])
        for variant, (_, collapse) in found.items():
            own = np.array([adjusted_rand_score(groups[draw], labels[variant][draw]) for draw in draws])
            index = float(adjusted_rand_score(groups, labels[variant]))
            apart = index - float(adjusted_rand_score(groups, labels["baseline"]))
            low, high = np.quantile(own - reference, [0.025, 0.975]).tolist()
            near = quality.nearest(found[variant][0][rows], 15)
            purity = float((groups[near] == groups[:, None]).mean())
            many = homogeneity_score(groups, cluster(found[variant][0][rows], "spectral", 20, 15, seed))
            figures = Figures(f"{name}: {kind}", variant, index, purity, float(many), (apart, low, high), collapse)
            print(figures, flush=True)
            yield figures


def section(all_figures: list[Figures], trained: dict[str, int], options: argparse.Namespace) -> str:
    """The text for RESULTS.md."""
    cohorts = list(dict.fromkeys(figures.cohort for figures in all_figures))
    by = {(figures.vectors, figures.cohort): figures for figures in all_figures}
    variants = ["baseline", *options.variants]
    rows: list[tuple[object, ...]] = [
        (variant, *(f"{by[variant, cohort].index:.3f}" for cohort in cohorts)) for variant in variants
    ]
    near: list[tuple[object, ...]] = [
        (variant, *(f"{by[variant, cohort].purity:.3f}" for cohort in cohorts)) for variant in variants
    ]
    many: list[tuple[object, ...]] = [
        (variant, *(f"{by[variant, cohort].homogeneity:.3f}" for cohort in cohorts)) for variant in variants
    ]
    apart: list[tuple[object, ...]] = [
        (variant, *("{:+.3f} ({:+.3f} to {:+.3f})".format(*by[variant, cohort].against) for cohort in cohorts))
        for variant in options.variants
    ]
    names = list(quality.CORRELATED)
    collapsed: list[tuple[object, ...]] = []
    for cohort in dict.fromkeys(figures.cohort.split(":")[0] for figures in all_figures):
        for variant in options.variants:
            found = next(f for f in all_figures if f.vectors == variant and f.cohort.startswith(f"{cohort}:"))
            collapsed.append((cohort, variant, *(f"{found.collapse[name]:+.2f}" for name in names)))
    return "\n\n".join(
        (
            f"{options.patients:,} patients in each extract, half of them in the cohort; the demo's encoder and pooled concepts."
            f" Epochs of training: {', '.join(f'{name} {epochs}' for name, epochs in trained.items())}. Ages and smoothing"
            " were developed on seeds 0 and 1 and subtle 0, habits on seed 0, subtle 0 and another; on subtle 1 nothing was."
            " Adjusted Rand index:",
            results.table(("vectors", *cohorts), rows),
            "Share of the 15 nearest neighbours that are of the patient's group:",
            results.table(("vectors", *cohorts), near),
            "Homogeneity of twenty spectral clusters, as the pipeline makes them:",
            results.table(("vectors", *cohorts), many),
            "Difference of the adjusted Rand index to the baseline's, with its 95 % bootstrap interval over patients:",
            results.table(("vectors", *cohorts), apart),
            "Collapse: rank correlation of the distance to the centre with",
            results.table(("cohort", "vectors", *names), collapsed),
        )
    )


def main() -> None:
    """Run all cohorts, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="*", default=[0, 1], help="seeds of extracts with groups by counts")
    parser.add_argument("--subtle", type=int, nargs="*", default=[0, 1], help="seeds of extracts with subtle groups")
    parser.add_argument("--patients", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--subtle-epochs", type=int, default=7)
    parser.add_argument(
        "--reuse", action="store_true", help="take the studies that are in --keep as they are, whoever made them"
    )
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="default: all")
    parser.add_argument("--keep", type=Path, help="folder to keep the studies in")
    options = parser.parse_args()
    found: list[Figures] = []
    trained: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        kept = options.keep or Path(folder)
        plans = [("seed", "counts", seed, options.epochs) for seed in options.counts]
        plans += [("subtle", "subtle", seed, options.subtle_epochs) for seed in options.subtle]
        for name, plant, seed, epochs in plans:
            place = kept / f"{name}{seed}"
            pipeline = studied(place, options.patients, seed, plant, epochs, options.reuse)
            trained[f"{name} {seed}"] = pipeline.store.current("encoder_checkpoint").manifest["settings"]["max_epochs"]
            with tempfile.TemporaryDirectory() as scratch:
                found += measure(pipeline, f"{name} {seed}", options.variants, Path(scratch), place / "chunks")
    results.write("embedding_presets.py", "Embedding presets", section(found, trained, options))


if __name__ == "__main__":
    main()
