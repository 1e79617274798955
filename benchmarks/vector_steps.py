"""At which step does a patient's vector lose planted groups that plain counts still have? And what would keep them?

On the worlds of `planted_groups.py`, the default vectors are made step by step: shares of concepts, mean age, directions that both
halves of a record confirm, centring. Beside them stand variants that are not in the product: the confirmed directions with the
weights that they have in the record, a profile weighted by inverse frequency, and ways to pool the network's token vectors, among
them *prototypes*: each token vector is assigned softly to 256 centres, and a record is the root of its shares over the centres.

Seeds are the units of the intervals, as in `planted_groups.py`. Variants were looked at with seed 100 before; the section shows
other seeds. Extracts and figures stay in the folder of --keep, and are not made again. One seed of all worlds takes about 20
minutes on one core.

Usage: python benchmarks/vector_steps.py --keep FOLDER [--worlds base age ...] [--seeds 0 1 2]
"""

import argparse
import json
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import results
import torch
from numpy.typing import NDArray
from planted_groups import BASE, COUNTS, SHARE, WORLDS, counted, interval, judged, study_in
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import adjusted_rand_score

from ehr_pipeline.assets.identity import encoder_shape
from ehr_pipeline.clusters.methods import cluster
from ehr_pipeline.clusters.planted import PlantedGroups
from ehr_pipeline.clusters.truth import within_diseases
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings import canonical_correlation, profile
from ehr_pipeline.embeddings.embed import part_of
from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.embeddings.geometry import spatial_median, unit_length
from ehr_pipeline.embeddings.transform import Transform
from ehr_pipeline.embeddings.vectors import HALVES, Vectors, pooled_tokens
from ehr_pipeline.encoder import checkpoint, packing
from ehr_pipeline.encoder.sequences import Sequences, cut
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.worlds.write import write
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import Vocabulary

Floats = NDArray[np.float32]
PATIENTS = {BASE: 2800}
"""Patients drawn where the groups are many; elsewhere `--patients`."""
EPOCHS, STARTS, COMPONENTS = 2, 5, 64
CENTRES, SAMPLED, BLOCK = 256, 30_000, 8192
"""Prototypes; token vectors from which they are learned; token vectors that are assigned at once."""
SHARES = (0.3, 0.5)
FIGURES = "vector_steps.json"
METHODS, CUT = ("spectral", "kmeans", "agglomerative"), ("index", "within", "largest")
TODAY, PROFILE, PROTOTYPES = "the default", "4. centred: the profile alone", "network: prototypes"
STEPS = (
    "1. roots of smoothed shares",
    "2. and mean age",
    "3. and the directions confirmed by halves, all of like weight",
    PROFILE,
)


class Extract:
    """The patients of an extract who have a chosen concept, and vectors of theirs that are made in several ways."""

    def __init__(self, pipeline: Pipeline):
        current = pipeline.store.current
        self.pipeline, self.run = pipeline, current("patient_embeddings")
        self.transform = Transform.read(self.run.path)
        self.cohort = Cohort.read(current("cohort").path)
        self.paths = current("patient_dataset").files("patients")
        self.ids: list[str] = []
        for path in self.paths:
            everybody = schemas.read(path, ["patient_id"]).column("patient_id")
            self.ids += everybody.take(pa.array(self.cohort.rows(path.name))).to_pylist()

    def parts(self, name: str = "whole") -> list[tuple[Shard, NDArray[np.int64]]]:
        """Each shard, or one half of its visits, with the rows of the cohort."""
        seed, found = self.pipeline.study.study.seed, []
        for path in self.paths:
            shard, rows = Shard.read(path).below(len(self.transform.weights)), self.cohort.rows(path.name)
            found.append((part_of(path, shard, rows, name, seed), rows))
        return found

    def profiles(self, name: str, passed: Floats, basis: Floats) -> Floats:
        """Profile and mean age."""
        some = {key: self.transform.arrays[key] for key in ("concepts", "usual")}
        return np.concatenate(
            [
                profile.features(shard, rows, **some, passed=passed, basis=basis, course=False, ages=True)
                for shard, rows in self.parts(name)
            ]
        )

    def basis(self, passed: Floats) -> Floats:
        """Leading components of the profiles."""
        concepts, usual = self.transform.arrays["concepts"], self.transform.arrays["usual"]
        gram = profile.Gram(len(concepts))
        for shard, rows in self.parts():
            for block in profile.profiles(shard, rows, concepts, passed, usual):
                gram.add(block)
        return gram.components(min(COMPONENTS, len(concepts)))

    @cached_property
    def shares_of_patients(self) -> Floats:
        """For each token id, the share of the patients who have it."""
        count = np.zeros(len(self.transform.weights))
        for shard, rows in self.parts():
            owner, tokens = shard.tokens_of(rows)
            count += np.bincount(np.unique(owner * len(count) + tokens) % len(count), minlength=len(count))
        return (np.maximum(count, 1) / len(self.ids)).astype(np.float32)

    @torch.no_grad()
    def tokens(self) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
        """Of each chosen token: the network's vector (T, D) of length 1, the patient, and the token id."""
        store, study = self.pipeline.store, self.pipeline.study
        vocabulary = Vocabulary.read(store.current("vocabulary").path)
        model = checkpoint.load(store.current("encoder_checkpoint").file("checkpoint"), vocabulary, torch.device("cpu"))
        how = Inference(**encoder_shape(study) | {"precision": "float32"}, batch_tokens=16384)
        chosen, found, before = torch.from_numpy(self.transform.weights > 0), [], 0
        for shard, rows in self.parts():
            chunks = cut(shard, 0, rows, how.context)
            sequences = Sequences((shard,), chunks, how.age_unit, how.max_positions)
            for some in packing.group_rows(
                sequences, np.arange(len(chunks)), how.context, how.batch_tokens // how.context
            ):
                batch = packing.build(sequences, some, how.context)
                ids, positions, segments, owner, order = (
                    torch.from_numpy(array)
                    for array in (batch.tokens_RT, batch.positions_RT, batch.segments_RT, batch.chunks, batch.order_RT)
                )
                places = torch.nonzero((chosen[ids] & (segments > 0)).reshape(-1))[:, 0]
                hidden = model.hidden(ids, positions, segments, places, order).float().numpy()
                patient = np.searchsorted(rows, chunks.patient[owner.reshape(-1)[places].numpy()])
                found.append((unit_length(hidden), before + patient, ids.reshape(-1)[places].numpy()))
            before += len(rows)
        vectors, owners, ids_of = (np.concatenate(column) for column in zip(*found, strict=True))
        return vectors, owners, ids_of


def assigned(vectors: Floats, owner: NDArray[np.int64], weights: Floats, patients: int) -> Floats:
    """Roots of each patient's shares (patients, CENTRES) over prototypes, to which token vectors (T, D) are assigned softly.

    The distance at which an assignment softens is a quarter of the mean squared distance of a vector to its centre.
    """
    some = np.random.default_rng(0).permutation(len(vectors))[:SAMPLED]
    model = MiniBatchKMeans(CENTRES, random_state=0, n_init=1, batch_size=2048, max_iter=20).fit(vectors[some])
    centres = model.cluster_centers_.astype(np.float32)
    soft = float(((vectors[some] - centres[model.labels_]) ** 2).sum(1).mean()) / 4
    sums = np.zeros((patients, CENTRES))
    for start in range(0, len(vectors), BLOCK):
        block = slice(start, start + BLOCK)
        logits = (2 * vectors[block] @ centres.T - (centres**2).sum(1)) / soft
        parts = np.exp(logits - logits.max(1, keepdims=True))
        np.add.at(sums, owner[block], parts / parts.sum(1, keepdims=True) * weights[block, None])
    roots: Floats = np.sqrt(sums / np.maximum(sums.sum(1, keepdims=True), 1e-9)).astype(np.float32)
    return roots


def mean(vectors: Floats, owner: NDArray[np.int64], weights: Floats, patients: int) -> Floats:
    """Weighted mean of each patient's token vectors."""
    sums = np.zeros((patients, vectors.shape[1]), np.float32)
    np.add.at(sums, owner, vectors * weights[:, None])
    total = np.maximum(np.bincount(owner, weights, patients), 1e-9)[:, None]
    found: Floats = (sums / total).astype(np.float32)
    return found


def centred(vectors: Floats, there: NDArray[np.bool_]) -> Floats:
    """As the transform does at its end: unit length, centred at the spatial median, unit length."""
    unit = unit_length(vectors.astype(np.float32))
    return unit_length(unit - spatial_median(unit[there]))


def unwhitened(whole: Floats, halves: tuple[Floats, Floats], there: NDArray[np.bool_]) -> Floats:
    """The same directions, weighed as they vary in the record: the best linear estimate of the profile that halves share."""
    one, other = (half - half.mean(0) for half in halves)
    spread = (one.T @ one + other.T @ other).astype(np.float64) / (2 * len(one))
    spread += canonical_correlation.RIDGE * float(np.trace(spread)) / len(spread) * np.eye(len(spread))
    values, axes = np.linalg.eigh(spread)
    root, inverse = (axes * np.sqrt(values)) @ axes.T, (axes / np.sqrt(values)) @ axes.T
    both = (one.T @ other + other.T @ one).astype(np.float64) / (2 * len(one))
    found, turned = np.linalg.eigh(inverse @ both @ inverse)
    turned, found = turned[:, found > 0.25], found[found > 0.25]
    made: Floats = ((whole - whole[there].mean(0)) @ inverse @ (turned * found) @ turned.T @ root).astype(np.float32)
    return made


def vectors_of(extract: Extract) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
    """The steps and variants, by name, and who has a chosen concept."""
    arrays, patients = extract.transform.arrays, len(extract.ids)
    tokens, owner, ids = extract.tokens()
    there = np.bincount(owner, minlength=patients) > 0
    rare = np.log1p(1 / extract.shares_of_patients)
    found: dict[str, Floats] = {}
    for weighted in (False, True):
        passed = arrays["passed"] * (rare[arrays["concepts"]] ** 2 if weighted else 1)
        basis = extract.basis(passed)
        whole, one, other = (extract.profiles(name, passed, basis) for name in ("whole", *HALVES))
        both = one[:, :-1].any(1) & other[:, :-1].any(1)
        kept = canonical_correlation.fit(one[both], other[both], COMPONENTS, 0)
        confirmed = (whole - whole[there].mean(0)) @ kept.directions if kept else whole
        if weighted:
            found["the profile, weighted by inverse frequency"] = centred(confirmed, there)
        else:
            found |= dict(zip(STEPS, (whole[:, :-1], whole, confirmed, centred(confirmed, there)), strict=True))
            found["the directions with their own weight"] = centred(
                unwhitened(whole, (one[both], other[both]), there), there
            )
    equal, inverse = np.ones(len(ids), np.float32), rare[ids]
    found["network: mean"] = centred(mean(tokens, owner, equal, patients), there)
    found["network: mean, inverse frequency"] = centred(mean(tokens, owner, inverse, patients), there)
    ages = np.vander(found[STEPS[1]][:, -1] * 10, 4)
    unit = unit_length(mean(tokens, owner, equal, patients))
    found["network: mean, age regressed out"] = centred(
        unit - ages @ np.linalg.lstsq(ages[there], unit[there])[0], there
    )
    found[PROTOTYPES] = centred(assigned(tokens, owner, equal, patients), there)
    found[f"{PROTOTYPES}, inverse frequency"] = centred(assigned(tokens, owner, inverse, patients), there)
    for share in SHARES:
        found[f"{PROTOTYPES}, {share:.0%} beside the profile"] = np.hstack(
            [np.sqrt(share) * found[PROTOTYPES], np.sqrt(1 - share) * found[PROFILE]]
        )
    return found, there


def measured(folder: Path, world: str, seed: int, patients: int) -> dict[str, Any]:
    """The figures of an extract, which is made in the folder if it is not there."""
    pipeline = Pipeline(study_in(folder, seed, "list" if world == BASE else "types", EPOCHS))
    if not pipeline.store.has("patient_embeddings"):
        write(folder, (BASE if world == BASE else f"subtle-{world}",), PATIENTS.get(world, patients), seed, SHARE)
        pipeline.make(EXTRACT, until="patient_embeddings")
    extract, truth = Extract(pipeline), PlantedGroups.read(folder / "truth")
    spaces, there = vectors_of(extract)
    run = Vectors.read(extract.run)
    place = {patient: row for row, patient in enumerate(run.ids.to_pylist())}
    all_ids = [patient for patient, has in zip(extract.ids, there, strict=True) if has]
    spaces = {name: vectors[there] for name, vectors in spaces.items()}
    spaces = {COUNTS: counted(pipeline, all_ids, pooled_tokens(extract.run.path))} | spaces
    spaces[TODAY] = run.all()[[place[patient] for patient in all_ids]]
    member = np.array([patient in truth.group_of for patient in all_ids])
    diseases = np.array(extract.cohort.of(pa.array(all_ids)).table.column("disease").to_pylist())[member]
    named = np.array([truth.group_of[patient] for patient in np.array(all_ids)[member].tolist()])
    figures = judged({name: own[member] for name, own in spaces.items()}, named, diseases, STARTS)
    figures["share"] = {"chosen": extract.run.counts["encoder_share"]["share"]}
    if world == BASE:
        groups = np.unique(named, return_inverse=True)[1]
        for name in (COUNTS, TODAY, PROTOTYPES):
            for method in METHODS:
                labels = cluster(spaces[name], method, len(set(named)), 15, seed)
                own = labels[member]
                figures[name][method] = {
                    "index": float(adjusted_rand_score(groups, own)),
                    "within": within_diseases(groups, diseases, own),
                    "largest": float(np.bincount(labels).max() / len(labels)),
                }
    return figures


def section(found: dict[str, dict[int, dict[str, Any]]], patients: int) -> str:
    """The text for RESULTS.md. `found` holds figures by world and seed."""
    worlds = [world for world in WORLDS if world in found]
    rows = [name for name in found[worlds[0]][next(iter(found[worlds[0]]))] if name not in ("members", "share")]

    def seeds(world: str, row: str, figure: str = "indices") -> list[float]:
        return [float(np.mean(figures[row][figure])) for figures in found[world].values()]

    def apart(world: str, row: str, other: str) -> str:
        return interval([a - b for a, b in zip(seeds(world, row), seeds(world, other), strict=True)], signed=True)

    def drawn(world: str) -> str:
        members = np.mean([figures["members"]["count"] for figures in found[world].values()])
        shares = ", ".join(f"{figures['share']['chosen']:.0%}" for figures in found[world].values())
        return f"{world}: seeds {', '.join(map(str, found[world]))}, {members:,.0f} members, network's share {shares}"

    others = [row for row in rows if row != TODAY]
    parts = [
        f"{patients:,} patients drawn in each extract ({PATIENTS[BASE]:,} in `base`); the demo's encoder, {EPOCHS} epochs. Index"
        f" and intervals as in `planted_groups.py`, {STARTS} starts. {'; '.join(map(drawn, worlds))}. Steps 1 to 4 follow each"
        " other; the default is step 4 where the network's share is 0, with directions learned from another division into halves.",
        results.table(
            ("vectors", *worlds), [(row, *(interval(seeds(world, row)) for world in worlds)) for row in rows]
        ),
        "The same minus that of the default on the same extract:",
        results.table(("vectors", *worlds), [(row, *(apart(world, row, TODAY) for world in worlds)) for row in others]),
        "The same minus that of counts + SVD:",
        results.table(
            ("vectors", *worlds),
            [(row, *(apart(world, row, COUNTS) for world in worlds)) for row in rows if row != COUNTS],
        ),
    ]
    if BASE in found:
        itself = interval([figures["members"]["disease itself"] for figures in found[BASE].values()])
        parts += [
            f"In `base`, the disease itself, which the cohort names, has an index of {itself}. How far clusters repeat the"
            " diseases, and their mean index among the patients of each disease:",
            results.table(
                ("vectors", "index with the disease", "index within a disease"),
                [(row, interval(seeds(BASE, row, "disease")), interval(seeds(BASE, row, "within"))) for row in rows],
            ),
            "In `base`, as many clusters as groups, of all patients, by the methods that the pipeline has:",
            results.table(
                ("vectors", "method", "index", "index within a disease", "share of patients in the largest cluster"),
                [
                    (row, method, *(interval([f[row][method][name] for f in found[BASE].values()]) for name in CUT))
                    for row in (COUNTS, TODAY, PROTOTYPES)
                    for method in METHODS
                ],
            ),
        ]
    return "\n\n".join(parts)


def main() -> None:
    """Measure what is asked for and not there, and write the section of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True, help="folder of the extracts and figures")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--patients", type=int, default=1200)
    options = parser.parse_args()
    for seed in options.seeds:
        for world in options.worlds:
            folder = options.keep / f"{world}-{seed}"
            if not (folder / FIGURES).is_file():
                start = time.perf_counter()
                folder.mkdir(parents=True, exist_ok=True)
                figures = measured(folder, world, seed, options.patients)
                (folder / FIGURES).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
                means = {
                    name: round(float(np.mean(row["indices"])), 3) for name, row in figures.items() if "indices" in row
                }
                print(f"{world}, seed {seed}: {time.perf_counter() - start:.0f} s {means}", flush=True)
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted(options.keep.glob(f"*/{FIGURES}")):
        world, number = path.parent.name.rsplit("-", 1)
        if int(number) in options.seeds:
            found.setdefault(world, {})[int(number)] = json.loads(path.read_text(encoding="utf-8"))
    results.write("vector_steps.py", "What a patient's vector loses, step by step", section(found, options.patients))


if __name__ == "__main__":
    main()
