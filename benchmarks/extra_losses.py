"""What losses beside masking make of the encoder's space: contrast of patients, and attributes of patients.

On worlds with planted groups (docs/worlds.md), encoders that differ only in what is learned beside masking are trained on half of
the patients, for the same number of epochs. The others are judged by the plain mean of the encoder's states over a record, centred:
k-means into as many clusters as there are groups against the planted groups (adjusted Rand index), and measures of the space
(`embeddings.measures`) with random halves of each patient's visits. The loss of masking itself stands beside. The first row needs
no encoder: square roots of concept counts, reduced to 64 directions.

Seeds are the units of the intervals: differences to masking alone are paired by seed, and the interval is Student's t.
Figures of each extract stay in the folder of --keep, and are not measured again; the section shows all of them.

Usage: python benchmarks/extra_losses.py [--worlds base subtle-age] [--seeds 0 1 2] [--keep FOLDER]; three minutes an extract
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import results
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from scipy.stats import t
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.metrics import adjusted_rand_score

from ehr_pipeline.assets.identity import encoder_shape
from ehr_pipeline.clusters.planted import PlantedGroups
from ehr_pipeline.embeddings import measures
from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.pooling import over_chunks, pool_chunks
from ehr_pipeline.embeddings.visit_halves import first_half
from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.encoder.metrics import of_concepts
from ehr_pipeline.encoder.metrics import read as read_metrics
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.synthetic.worlds.write import write
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import DATA_SPLIT, ENCODER_CHECKPOINT, PATIENT_DATASET, VOCABULARY
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

ATTRIBUTES = ["sex", "birth_decade", "region"]
VARIANTS: dict[str, dict[str, Any]] = {
    "masked": {},
    "+ contrastive": {"contrastive": {"weight": 1.0}},
    "+ metadata": {"metadata": {"weight": 1.0, "attributes": ATTRIBUTES}},
}
"""With the weights of DeCLUTR and of Taylor et al. 2024."""
PLAIN, COUNTS, DIRECTIONS = next(iter(VARIANTS)), "counts + SVD", 64
WORLDS, SHARE, STARTS = ("base", "subtle-age"), 0.9, 3
SHOWN = {
    "ARI": 3,
    "retrieved_1": 3,
    "retrieved_10": 3,
    "alignment": 3,
    "uniformity": 2,
    "effective_rank": 1,
    "masked loss": 3,
    "seconds": 0,
}
"""Figures, with the decimals that are shown."""
Floats = NDArray[np.float32]


def study_in(folder: Path, seed: int, beside: dict[str, Any], options: argparse.Namespace) -> settings.Study:
    """The demo's study with losses beside masking, and 45 % of the patients kept for judging."""
    chosen = {
        "study": {"seed": seed},
        "encoder": {"max_epochs": options.epochs, **beside},
        "patients": {"split": {"validation_share": 0.05, "test_share": 0.45}},
        "launcher": {"backend": "inline", "threads": 1},
    }
    return settings.load(shipped("demo/settings.toml"), settings.merged(places(folder), chosen))


def counts(shard: Shard, rows: NDArray[np.int64], size: int) -> csr_array:
    """Visits of patients (rows, V) with each concept."""
    starts = shard.patient_tokens
    own = [shard.tokens[starts[row] : starts[row + 1]] for row in rows]
    owner = np.repeat(np.arange(len(rows)), [len(each) for each in own])
    table = csr_array((np.ones(len(owner)), (owner, np.concatenate(own))), shape=(len(rows), size))
    table.sum_duplicates()
    return table[:, FIRST_CONCEPT:]


def counted(pipeline: Pipeline) -> tuple[list[str], list[Floats]]:
    """Of the test set, without an encoder: ids and reduced counts, of whole records and both halves."""
    store, ids, tables = pipeline.store, [], []
    size = Vocabulary.read(store.current(VOCABULARY).path).size
    for path, shard, rows, names in shards(pipeline):
        first = first_half(path, shard, rows, pipeline.study.study.seed)
        each = [counts(part, rows, size) for part in (shard, shard.keep_visits(first), shard.keep_visits(~first))]
        both = (each[1].sum(axis=1) > 0) & (each[2].sum(axis=1) > 0)
        ids += [name for name, kept in zip(names, both, strict=True) if kept]
        tables.append([table[both].sqrt() for table in each])
    whole, one, other = (vstack(parts, format="csr") for parts in zip(*tables, strict=True))
    reduced = TruncatedSVD(DIRECTIONS, random_state=0).fit(whole)
    return ids, [reduced.transform(table).astype(np.float32) for table in (whole, one, other)]


def shards(pipeline: Pipeline) -> Iterator[tuple[Path, Shard, NDArray[np.int64], list[str]]]:
    """Each shard with its file, and the rows and ids of the test set."""
    store = pipeline.store
    for path in store.current(PATIENT_DATASET).files("patients"):
        sides = schemas.read(store.current(DATA_SPLIT).file(f"split/{path.name}"))
        rows = np.flatnonzero(sides.column("side").to_numpy() == "test")
        ids = sides.column("patient_id").to_pylist()
        yield path, Shard.read(path), rows, [ids[row] for row in rows]


def vectors(pipeline: Pipeline) -> Iterator[tuple[list[str], tuple[Floats, Floats, Floats]]]:
    """Of the test set, shard by shard: ids, and the mean states of the whole record and of its halves, of patients with both."""
    store, study = pipeline.store, pipeline.study
    vocabulary = Vocabulary.read(store.current(VOCABULARY).path)
    model = checkpoint.load(store.current(ENCODER_CHECKPOINT).file("checkpoint"), vocabulary, torch.device("cpu"))
    how = Inference(**encoder_shape(study) | {"precision": "float32"}, batch_tokens=4096)
    weights = (np.arange(vocabulary.size) >= FIRST_CONCEPT).astype(float)
    for path, shard, rows, ids in shards(pipeline):
        first = first_half(path, shard, rows, study.study.seed)
        pooled = [
            over_chunks(pool_chunks(model, each, rows, weights, how), len(rows), None)
            for each in (shard, shard.keep_visits(first), shard.keep_visits(~first))
        ]
        both = (pooled[1].tokens > 0) & (pooled[2].tokens > 0)
        whole, one, other = (each.vectors_PD[both] for each in pooled)
        yield [name for name, kept in zip(ids, both, strict=True) if kept], (whole, one, other)


def encoded(pipeline: Pipeline) -> tuple[list[str], list[Floats]]:
    """The same as `counted`, by the encoder."""
    found = list(vectors(pipeline))
    ids = [patient for own, _ in found for patient in own]
    return ids, [np.concatenate([arrays[number] for _, arrays in found]) for number in range(3)]


def judged(ids: list[str], arrays: list[Floats], folder: Path) -> dict[str, float]:
    """The figures of one set of vectors: of whole records and of halves."""
    whole, one, other = arrays
    space = measures.of_space(whole, (one, other))["centred"]
    truth = PlantedGroups.read(folder / "truth").group_of
    rows = [row for row, patient in enumerate(ids) if patient in truth]
    groups = np.unique([truth[ids[row]] for row in rows], return_inverse=True)[1]
    unit = unit_length(unit_length(whole) - unit_length(whole).mean(axis=0))[rows]
    labels = [KMeans(int(groups.max()) + 1, n_init=10, random_state=start).fit_predict(unit) for start in range(STARTS)]
    return {
        "ARI": float(np.mean([adjusted_rand_score(groups, each) for each in labels])),
        **{name: space[name] for name in SHOWN if name in space},
        "patients": len(ids),
        "members": len(rows),
    }


def measured(folder: Path, world: str, seed: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The figures of one extract, by variant."""
    write(folder, (world,), options.patients, seed, SHARE)
    told: dict[str, dict[str, float]] = {}
    for name, beside in VARIANTS.items():
        pipeline = Pipeline(study_in(folder, seed, beside, options))
        pipeline.make(EXTRACT, until=DATA_SPLIT)
        if not told:
            told[COUNTS] = judged(*counted(pipeline), folder)
            print(world, seed, COUNTS, told[COUNTS], flush=True)
        start = time.perf_counter()
        pipeline.asset(ENCODER_CHECKPOINT)
        seconds = round(time.perf_counter() - start)
        loss, _ = of_concepts(read_metrics(pipeline.store.current(ENCODER_CHECKPOINT).path))
        told[name] = {**judged(*encoded(pipeline), folder), "masked loss": loss, "seconds": seconds}
        print(world, seed, name, told[name], flush=True)
    return told


def section(found: dict[str, dict[int, dict[str, dict[str, float]]]], options: argparse.Namespace) -> str:
    """The text for RESULTS.md."""
    parts = [
        f"{options.patients:,} patients drawn for each extract, 45 % of them judged; the demo's encoder, {options.epochs}"
        f" epochs for each variant; metadata: {', '.join(ATTRIBUTES)}. Means over seeds; below each, its difference to masking"
        " alone with the 95 % interval over seeds (none with one seed). Chance of retrieval among N patients is k / N."
    ]
    for world, seeds in found.items():
        first = next(iter(seeds.values()))[PLAIN]
        rows = []
        for name in (COUNTS, *VARIANTS):
            own = {figure: _each(seeds, name, figure) for figure in SHOWN}
            rows.append(
                (
                    name,
                    *(
                        f"{own[figure].mean():.{digits}f}" if own[figure].size else ""
                        for figure, digits in SHOWN.items()
                    ),
                )
            )
            if name != PLAIN:
                pairs = ((own[figure], _each(seeds, PLAIN, figure), digits) for figure, digits in SHOWN.items())
                rows.append(
                    ("difference", *(_gain(mine - plain, digits) if mine.size else "" for mine, plain, digits in pairs))
                )
        head = f"World `{world}`, seeds {', '.join(map(str, seeds))}, about {int(first['patients'])} patients judged"
        parts += [head + f", {int(first['members'])} of them in groups:", results.table(("variant", *SHOWN), rows)]
    return "\n\n".join(parts)


def _each(seeds: dict[int, dict[str, dict[str, float]]], name: str, figure: str) -> NDArray[np.float64]:
    """A figure of a row, by seed; empty where the row has no such figure."""
    return np.array([told[name][figure] for told in seeds.values() if figure in told[name]])


def _mean(values: NDArray[np.float64], digits: int) -> str:
    return f"{values.mean():.{digits}f}" if values.size else ""


def _gain(differences: NDArray[np.float64], digits: int) -> str:
    """The mean of differences, with its interval."""
    mean, count = differences.mean(), len(differences)
    if count < 2:
        return f"{mean:+.{digits}f}"
    half = t.ppf(0.975, count - 1) * differences.std(ddof=1) / count**0.5
    return f"{mean:+.{digits}f} ({mean - half:+.{digits}f} to {mean + half:+.{digits}f})"


def main() -> None:
    """Measure what is asked for and not there, and write the section of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="*", default=WORLDS)
    parser.add_argument("--patients", type=int, default=800)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder of the figures (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        kept = (options.keep or Path(scratch)) / f"{options.patients}-{options.epochs}"
        for world in options.worlds:
            for seed in options.seeds:
                path = kept / world / f"{seed}.json"
                if not path.is_file():
                    with tempfile.TemporaryDirectory() as folder:
                        told = measured(Path(folder), world, seed, options)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        found: dict[str, dict[int, dict[str, dict[str, float]]]] = {}
        for path in sorted(kept.glob("*/*.json")):
            found.setdefault(path.parent.name, {})[int(path.stem)] = json.loads(path.read_text(encoding="utf-8"))
    results.write("extra_losses.py", "Losses beside masking", section(found, options))


if __name__ == "__main__":
    main()
