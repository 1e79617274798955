"""What parts and variants of the patient vectors bring: planted groups found, and the other half of a record found.

Worlds (docs/worlds.md): `base`, `age` and `synonyms`, the only ones in which any vectors find planted groups
(`planted_groups.py`). On each extract the chain runs to the vectors, with the demo's encoder; all else is computed here from one
pass of the encoder over whole records and halves. Each row changes one thing. `Within a disease` is the mean adjusted Rand index
among the patients of each disease of `base`, in which a group belongs to a disease.

For each way to pool what the network says, the share that the rule of the product chooses (`embeddings.share`) is shown too. There,
directions of the blocks are learned from all patients, which favours the blocks.

Figures of each extract stay in the folder of --keep, and are not measured again.

Usage: python benchmarks/ablation.py [--worlds base age synonyms] [--seeds 100 101] [--keep FOLDER]; some minutes an extract
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import results
import torch
from numpy.typing import NDArray
from planted_groups import interval, study_in, within
from scipy.sparse import csr_array
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import adjusted_rand_score

from ehr_pipeline.assets.identity import encoder_shape
from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.clusters import contributions
from ehr_pipeline.clusters.build import Patients
from ehr_pipeline.clusters.contributions import Space
from ehr_pipeline.clusters.planted import PlantedGroups
from ehr_pipeline.concepts import substitutes
from ehr_pipeline.concepts.table import read_vectors
from ehr_pipeline.embeddings import canonical, share, transform
from ehr_pipeline.embeddings.blocks import matched_blocks, mean_over_blocks
from ehr_pipeline.embeddings.embed import PARTS, part_of
from ehr_pipeline.embeddings.geometry import spatial_median, unit_length
from ehr_pipeline.embeddings.halves import half_to_learn_from
from ehr_pipeline.embeddings.job import Inference
from ehr_pipeline.embeddings.pooling import ChunkVectors
from ehr_pipeline.embeddings.settings import VectorSettings
from ehr_pipeline.embeddings.transform import Part, Transform
from ehr_pipeline.encoder import checkpoint, packing
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.sequences import Sequences, cut
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.worlds.write import write
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

WORLDS, PATIENTS, SHARE, PROTOTYPES, STARTS, DIRECTIONS = ("base", "age", "synonyms"), 1200, 0.9, 256, 5, 64
DRAWN = 20_000
"""Token vectors that prototypes are learned from."""
Floats = NDArray[np.float32]
Five = tuple[Floats, ...]
"""Vectors of the same patients: whole records, both halves of the test, and both halves of another division."""


@dataclass(frozen=True)
class Extract:
    """The patients of an extract who have chosen concepts in whole records and in both halves of the test."""

    parts: list[list[Part]]
    """For each of the five parts, one for each shard."""
    pooled: dict[str, Five]
    """By the way to pool: 'mean', 'inverse frequency', 'prototypes'."""
    there: NDArray[np.bool_]
    people: pa.Table
    counts: tuple[csr_array, csr_array, csr_array]
    group: NDArray[Any]
    learned: dict[str, Transform]
    """By the name of the profile: 'profile', 'with kinship', 'with course'."""
    seed: int

    def of_profile(self, name: str) -> Five:
        """Features of a profile."""
        learned = self.learned[name]
        return tuple(
            np.concatenate([learned.profile(part.shard, part.patients) for part in parts])[self.there]
            for parts in self.parts
        )


def states(
    model: PackedEncoder, part: Part, weights: Floats, how: Inference
) -> Iterator[tuple[NDArray[np.int64], Floats, NDArray[np.int64]]]:
    """Batch by batch, of the chosen tokens: the patient (M,), the contextual vector (M, D), and the token (M,)."""
    chunks = cut(part.shard, 0, part.patients, how.context)
    sequences = Sequences((part.shard,), chunks, how.age_unit, how.max_positions)
    for rows in packing.group_rows(
        sequences, np.arange(len(chunks)), how.context, max(how.batch_tokens // how.context, 1)
    ):
        batch = packing.build(sequences, rows, how.context)
        chosen = (weights[batch.tokens_RT] > 0) & (batch.segments_RT > 0)
        places = np.flatnonzero(chosen)
        if len(places):
            arrays = (batch.tokens_RT, batch.positions_RT, batch.segments_RT, places, batch.order_RT)
            with torch.no_grad():
                hidden = model.hidden(*map(torch.from_numpy, arrays)).numpy()
            owner = np.searchsorted(part.patients, chunks.patient[batch.chunks.reshape(-1)[places]])
            yield owner, hidden, batch.tokens_RT.reshape(-1)[places]


def pooled_in(
    model: PackedEncoder, parts: list[list[Part]], weights: Floats, rare: Floats, how: Inference
) -> dict[str, Five]:
    """Patient vectors of all parts, by the way to pool."""
    some = [hidden for part in parts[0] for _, hidden, _ in states(model, part, weights, how)]
    everything = np.concatenate(some)
    drawn = everything[np.random.default_rng(0).permutation(len(everything))[:DRAWN]]
    centres = MiniBatchKMeans(PROTOTYPES, n_init=3, random_state=0, batch_size=4096).fit(drawn).cluster_centers_
    near = float(np.sort(_squares(drawn[:2000], centres), axis=1)[:, 0].mean())
    found: dict[str, list[Floats]] = {"mean": [], "inverse frequency": [], "prototypes": []}
    for own in parts:
        sums: dict[str, list[Floats]] = {name: [] for name in found}
        for part in own:
            count, width = len(part.patients), everything.shape[1]
            made = {name: np.zeros((count, PROTOTYPES if name == "prototypes" else width)) for name in found}
            for owner, hidden, tokens in states(model, part, weights, how):
                np.add.at(made["mean"], owner, hidden)
                np.add.at(made["inverse frequency"], owner, hidden * rare[tokens][:, None])
                away = -_squares(hidden, centres) / near
                soft = np.exp(away - away.max(1, keepdims=True))
                np.add.at(made["prototypes"], owner, soft / soft.sum(1, keepdims=True))
            for name, one in made.items():
                total = np.maximum(one.sum(1, keepdims=True), 1e-9)
                sums[name].append(
                    (np.sqrt(one / total) if name == "prototypes" else unit_length(one.astype(np.float32))).astype(
                        np.float32
                    )
                )
        for name, those in sums.items():
            found[name].append(np.concatenate(those))
    return {name: tuple(five) for name, five in found.items()}


def _squares(vectors: Floats, centres: Floats) -> Floats:
    found: Floats = (vectors**2).sum(1)[:, None] - 2 * vectors @ centres.T + (centres**2).sum(1)
    return found


def extract(folder: Path, world: str, seed: int) -> Extract:
    """Draw a world, run the chain to the vectors, and compute what all rows need."""
    write(folder, (world if world == "base" else f"subtle-{world}",), PATIENTS, seed, SHARE)
    pipeline = Pipeline(study_in(folder, seed, "list" if world == "base" else "types"))
    pipeline.make(EXTRACT, until="patient_embeddings")
    names = (
        "patient_embeddings",
        "cohort",
        "patient_dataset",
        "vocabulary",
        "encoder_checkpoint",
        "concept_embeddings",
    )
    artifacts = {name: pipeline.store.current(name) for name in names}
    weights = Transform.read(artifacts["patient_embeddings"].path).weights
    vocabulary = Vocabulary.read(artifacts["vocabulary"].path).first(len(weights))
    appearances = np.array([1.0] * FIRST_CONCEPT + [concept.appearances for concept in vocabulary.concepts])
    model = checkpoint.load(artifacts["encoder_checkpoint"].file("checkpoint"), vocabulary, torch.device("cpu"))
    how = Inference(**encoder_shape(pipeline.study) | {"precision": "float32"}, batch_tokens=4096)
    everybody = Patients.of(artifacts, artifacts_ids(artifacts))
    parts, samples = divided(everybody, len(weights), seed)
    pooled = pooled_in(model, parts, weights, np.sqrt(1 / appearances).astype(np.float32), how)
    there = np.all([mean.any(axis=1) for mean in pooled["mean"][:3]], axis=0)
    fit = {
        "weights": weights,
        "vectors": np.asarray(read_vectors(artifacts["concept_embeddings"].path)),
        "substitutes": substitutes.find(
            everybody.dataset, "practice", len(weights), seed, substitutes.everybody
        ) or substitutes.Substitutes.none(),
        "occurrences": np.sum([_tokens(part, len(weights)) for part in parts[0]], axis=0),
        "samples": samples,
        "seed": seed,
    }  # fmt: skip
    plain = VectorSettings(encoder_share=0.0, common_components=0, kinship=0.0, course=False)
    learned = {
        "profile": transform.fit(plain, **fit)[0],
        "with kinship": transform.fit(replace(plain, kinship=0.3), **fit)[0],
        "with course": transform.fit(replace(plain, course=True), **fit)[0],
        "with both": transform.fit(replace(plain, course=True, kinship=0.3), **fit)[0],
    }
    truth = PlantedGroups.read(folder / "truth").group_of
    people = everybody.described()
    group = np.array([truth.get(patient, "") for patient in people.column("patient_id").to_pylist()])[there]
    halves = [everybody.visits(everybody.part(name, seed))[there] for name in ("half_a", "half_b")]
    counts = (everybody.visits()[there], halves[0], halves[1])
    kept = {name: tuple(one[there] for one in five) for name, five in pooled.items()}
    return Extract(parts, kept, there, people.filter(pa.array(there)), counts, group, learned, seed)


def artifacts_ids(artifacts: dict[str, Any]) -> pa.Array:
    """The embedded patients, in the order of shard and row."""
    from ehr_pipeline.embeddings.vectors import Vectors

    return Vectors.read(artifacts["patient_embeddings"]).ids


def divided(everybody: Patients, size: int, seed: int) -> tuple[list[list[Part]], list[transform.Sample]]:
    """All five parts of every shard, and samples to learn from. Chunks only say that everybody has a vector."""
    parts: list[list[Part]] = [[], [], [], [], []]
    samples = []
    for number, path in enumerate(everybody.dataset):
        shard, rows = Shard.read(path).below(size), everybody.cohort.rows(path.name)
        half = half_to_learn_from(len(shard.visit_day), number, seed)
        shards = [part_of(path, shard, rows, name, seed) for name in PARTS]
        shards += [shard.keep_visits(half), shard.keep_visits(~half)]
        ones = np.ones(len(rows), np.float32)
        chunks = ChunkVectors(ones[:, None], np.arange(len(rows)), ones, np.ones(len(rows), np.int64))
        own = [Part(one, rows, chunks) for one in shards]
        for five, part in zip(parts, own, strict=True):
            five.append(part)
        samples.append(transform.Sample(own[0], (own[1], own[2]), (shards[3], shards[4])))
    return parts, samples


def _tokens(part: Part, size: int) -> NDArray[np.int64]:
    wanted = np.zeros(len(part.shard.birth_day), bool)
    wanted[part.patients] = True
    kept = np.repeat(wanted, np.diff(part.shard.patient_tokens))
    return np.bincount(part.shard.tokens[kept], minlength=size)


def centred(five: Five) -> Five:
    """Vectors of length 1, centred at the spatial median of whole records, and scaled again."""
    unit = [unit_length(one) for one in five]
    middle = spatial_median(unit[0])
    return tuple(unit_length(one - middle) for one in unit)


def confirmed(five: Five, seed: int) -> Five:
    """Vectors in the directions that the halves of the other division confirm, centred."""
    found = canonical.fit(five[3], five[4], DIRECTIONS, seed)
    assert found is not None, "halves agree in some direction"
    return centred(tuple(((one - five[0].mean(0)) @ found.directions).astype(np.float32) for one in five))


def without_age(five: Five, ages: Five) -> Five:
    """Vectors less what a cubic of the mean age of the part says of them."""
    powers = [np.hstack([age**power for power in range(4)]) for age in ages]
    fitted = np.linalg.lstsq(powers[0], five[0], rcond=None)[0]
    return tuple((one - power @ fitted).astype(np.float32) for one, power in zip(five, powers, strict=True))


def space(five: Five) -> Space:
    """What the contributions compare."""
    return Space(five[0], (five[1], five[2]))


def joined(one: Space, other: Space, weight: float) -> Space:
    """Two blocks; `weight` is the share of the other."""
    sides = [
        np.hstack([np.sqrt(1 - weight) * unit_length(a), np.sqrt(weight) * unit_length(b)])
        for a, b in zip((one.whole, *one.halves), (other.whole, *other.halves), strict=True)
    ]
    return Space(sides[0], (sides[1], sides[2]))


def measured(folder: Path, world: str, seed: int) -> dict[str, Any]:
    """The figures of one extract."""
    drawn = extract(folder, world, seed)
    profiles = {name: drawn.of_profile(name) for name in drawn.learned}
    spaces = {name: space(tuple(drawn.learned[name].centred(one) for one in five)) for name, five in profiles.items()}
    ages = tuple(10 * one[:, -1:] - 5 for one in profiles["profile"])  # centuries, about -5 to 5
    mean = drawn.pooled["mean"]
    blocks = {
        "mean": centred(mean),
        "mean, age regressed out": confirmed(without_age(mean, ages), seed),
        "inverse frequency": centred(drawn.pooled["inverse frequency"]),
        "prototypes": confirmed(drawn.pooled["prototypes"], seed),
    }
    profile = spaces["profile"]
    counted = contributions.counted(drawn.counts[0], drawn.counts[1:], 64, seed)
    rows = {
        "profile (no network)": profile,
        "profile, kinship 0.3": spaces["with kinship"],
        "profile, course": spaces["with course"],
        "the default before: kinship, course, mean at 10 %": joined(spaces["with both"], space(blocks["mean"]), 0.1),
        "profile, mean at 10 %": joined(profile, space(blocks["mean"]), 0.1),
        **{f"profile, {name} at 30 %": joined(profile, space(five), 0.3) for name, five in blocks.items()},
        **{f"{name} alone": space(five) for name, five in blocks.items()},
        "profile, counts + SVD at 50 %": joined(profile, counted, 0.5),
        "counts + SVD": counted,
    }
    people = drawn.people
    diseases, sexes = (np.array(people.column(name).to_pylist()) for name in ("disease", "sex"))
    alike = matched_blocks([diseases, sexes], [people.column(name).to_numpy() for name in ("mean_age", "concepts")])
    told = {name: judged(one, drawn.group, diseases, alike) for name, one in rows.items()}
    features = profiles["profile"]
    chosen = {}
    for name, five in blocks.items():
        whole, *halves = features[:3]
        own = (whole, halves[0], halves[1]), (five[0], five[1], five[2])
        found = share.compared(own[0], (features[3], features[4]), own[1], alike, most=DIRECTIONS, seed=seed)
        assert found.adds is not None
        gain = found.adds.gain
        chosen[name] = {"share": found.share, "at": found.adds.share, "gain": [gain.value, gain.low, gain.high]}
    return {"rows": told, "chosen": chosen}


def judged(one: Space, group: NDArray[Any], diseases: NDArray[Any], alike: NDArray[np.int64]) -> dict[str, float]:
    """Agreement with the planted groups, over all and within diseases, and how many halves find each other."""
    known = group != ""
    unit = unit_length(one.whole[known])
    labels = [
        KMeans(len(np.unique(group[known])), n_init=10, random_state=start).fit_predict(unit) for start in range(STARTS)
    ]
    several = np.bincount(alike)[alike] > 1
    return {
        "index": float(np.mean([adjusted_rand_score(group[known], own) for own in labels])),
        "within": float(np.mean([within(group[known], diseases[known], own) for own in labels])),
        "retrieved": mean_over_blocks(contributions.retrieved(*one.halves, alike)[several], alike[several]).value,
    }


def section(found: dict[str, dict[int, dict[str, Any]]]) -> str:
    """The text for RESULTS.md."""
    worlds = [world for world in WORLDS if found.get(world)]

    def cell(world: str, row: str, name: str) -> str:
        return interval([one["rows"][row][name] for one in found[world].values()]).split(" ")[0]

    rows = [
        (
            row,
            *(cell(world, row, "index") for world in worlds),
            *(cell(world, row, "within") for world in worlds if world == "base"),
            *(cell(world, row, "retrieved") for world in worlds),
        )
        for row in next(iter(found[worlds[0]].values()))["rows"]
    ]
    chosen = [
        (
            world,
            str(seed),
            name,
            f"{one['share']:.0%}",
            "{:+.3f} ({:+.3f} to {:+.3f}) at {:.0%}".format(*one["gain"], one["at"]),
        )
        for world in worlds
        for seed, told in found[world].items()
        for name, one in told["chosen"].items()
    ]  # fmt: skip
    seeds = "; ".join(f"{world} {', '.join(map(str, found[world]))}" for world in worlds)
    return "\n\n".join(
        (
            f"{PATIENTS:,} patients drawn in each extract, {SHARE:.0%} of them with a skin disease; the demo's encoder, 2 epochs."
            f" Seeds: {seeds}. Means over seeds of the adjusted Rand index (k-means, {STARTS} starts), and of the share of patients"
            " whose other half is the nearest among patients alike (retrieved):",
            results.table(
                (
                    "vectors",
                    *(f"{world}, index" for world in worlds),
                    *(f"{world}, within a disease" for world in worlds if world == "base"),
                    *(f"{world}, retrieved" for world in worlds),
                ),
                rows,
            ),
            "The share that the rule of the product chooses for each way to pool, and what it adds to the agreement of halves on"
            " groups at the best share, with its interval (95 % for all shares together):",
            results.table(("world", "seed", "pooling", "chosen", "adds"), chosen),
        )
    )


def main() -> None:
    """Measure what is asked for and not there, and write the section of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="*", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[100, 101])
    parser.add_argument("--keep", type=Path, help="folder of the figures (default: a temporary one)")
    options = parser.parse_args()
    found: dict[str, dict[int, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        kept = options.keep or Path(scratch)
        kept.mkdir(parents=True, exist_ok=True)
        for seed in options.seeds:
            for world in options.worlds:
                path = kept / f"{world} {seed}.json"
                if not path.is_file():
                    with tempfile.TemporaryDirectory() as folder:
                        told = measured(Path(folder), world, seed)
                    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
                    print(path.stem, told, flush=True)
        for path in sorted(kept.glob("*.json")):
            world, number = path.stem.rsplit(" ", 1)
            found.setdefault(world, {})[int(number)] = json.loads(path.read_text(encoding="utf-8"))
    results.write("ablation.py", "Parts and variants of the vectors", section(found))


if __name__ == "__main__":
    main()
