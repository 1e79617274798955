"""Build `clusters`: a cluster and a place on the map for every embedded patient, and how trustworthy the clusters are.

The artifact holds

clusters.arrow one row per patient: patient_id, the cluster's number, stability, the clusters by other methods and by the baseline
(0: none), x, y, age, concepts, the attributes that the reports audit, whether the patient was assigned to an existing cluster, and
a hash of the vector marks.arrow the concepts that mark each cluster groups.json which clusters form one group evidence.json the
verdicts trust.json stability of each cluster choice.csv eigengap and stability for each number of clusters support.csv how far
halves of records agree for each number of clusters comparison.csv the methods compared numbers.json the clusters that kept their
numbers overlap.json overlap with the previous artifact's clusters model/, voters.arrow data for assigning new patients (`assign`)
contributions.json what each part of the method contributes occlusion.json which concepts the vectors of each cluster depend on
agreement.json agreement with the planted groups (only for synthetic extracts)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from ehr_pipeline.clusters import (
    baseline,
    contributions,
    evidence,
    groups,
    marker_concepts,
    number_of_clusters,
    occlusion,
    on_new_extract,
    overlap,
    planted,
    scores,
    trait_correlations,
    truth,
)
from ehr_pipeline.clusters.assign import Model
from ehr_pipeline.clusters.clustering import Division, divide
from ehr_pipeline.clusters.covariates import Covariates
from ehr_pipeline.clusters.mark_test import Halves, root_shares
from ehr_pipeline.clusters.matching import Matching
from ehr_pipeline.clusters.methods import checked
from ehr_pipeline.clusters.settings import ClustersSettings
from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.drawing.umap import project
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.transform import Transform
from ehr_pipeline.embeddings.vectors import HALVES, Vectors, pooled_tokens
from ehr_pipeline.embeddings.visit_halves import first_half
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import align, json_files, schemas
from ehr_pipeline.tables.asset_names import COHORT, PATIENT_DATASET, PATIENT_EMBEDDINGS, VOCABULARY
from ehr_pipeline.vocabulary.table import Vocabulary

TIMES = ("middle", "length")
"""Columns of `Patients.described` that are used only for matching: mean calendar time and length of the record, in years."""
MOST_OTHERS = 20_000
"""Largest number of patients outside the cohort with whom traits are compared; it bounds the memory."""


def build(
    artifacts: Mapping[str, Artifact],
    settings: ClustersSettings,
    seed: int,
    out: Path,
    *,
    earlier: Artifact | None = None,
    clustered: Artifact | None = None,
    shifted_dates: bool = False,
) -> Counts:
    """Cluster the embedded patients. Return sizes and measures of agreement. Raises UserError if there are too few patients.

    A cluster that matches one of the artifact `earlier` keeps its number. With `clustered`, an artifact whose vectors are
    comparable, nothing is clustered again: patients with unchanged vectors keep their cluster, and all others are assigned to one
    of its clusters. With `shifted_dates`, patients are not compared by calendar time.
    """
    embeddings = artifacts[PATIENT_EMBEDDINGS]
    vectors = (embedded := Vectors.read(embeddings)).all()
    patients = Patients.of(artifacts, ids := embedded.ids)
    halves, people = (patients.half(HALVES[0], seed), patients.half(HALVES[1], seed)), patients.described()
    plain = baseline.vectors(patients.visits(), settings.baseline_components, seed)
    if clustered:
        everybody = _everybody(artifacts[PATIENT_DATASET])
        divided, points = on_new_extract.divide(vectors, ids, everybody, clustered, out, neighbours=settings.neighbours)
    else:
        unit = checked(vectors, 1 if settings.n == "auto" else settings.n)
        tried = number_of_clusters.of_cohort(unit, halves, Matching.of(people), settings, seed)
        divided = divide(vectors, plain, settings, seed, out, tried=tried, ids=ids, earlier=earlier)
        points = project(vectors, 2, settings.neighbours, seed)
        Model.of(unit_length(vectors), divided.numbers[divided.labels], points, ids, seed).write(out)
    labels, numbers = divided.labels, divided.numbers
    _table(people.drop_columns(list(TIMES)), divided, points, vectors).write(out)
    shared = overlap.overlap(ids, numbers[labels], before) if (before := clustered or earlier) else None
    if shared:
        json_files.write(out / overlap.FILE, shared)
    _marks(out, vectors, divided, people, halves=halves, counts=patients.visits(), neighbours=settings.neighbours)
    both, votes = evidence.votes(vectors, labels, halves, settings.neighbours)
    predictions = evidence.Predictions.of(votes, halves, both, seed)
    drawn = {"permutations": settings.permutations, "seed": seed}
    covariates = Covariates.of(people, shifted_dates=shifted_dates).among(both)
    tested = evidence.split_half(predictions, labels[both], covariates, **drawn)
    together = trait_correlations.correlation_test(compared_records(artifacts, patients, people, halves, seed), **drawn)
    figures = tested.as_dict(numbers, together)
    json_files.write(out / evidence.FILE, figures)
    spaces = {planted.THIS_RUN: vectors, planted.COUNTS: plain}
    places = patients.dataset, patients.cohort
    if used := occlusion.measure(Transform.read(embeddings.path), *places, vectors, labels, numbers=numbers, seed=seed):
        used.write(out)
    _compare(out, settings, divided, spaces, people, halves=halves, embeddings=embeddings, seed=seed)
    sizes = np.bincount(labels, minlength=len(numbers))
    return {
        "rows_in": len(ids),
        "kept": len(ids),
        "clusters": int((sizes > 0).sum()),
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
        **divided.counts,
        **({"agreement_with_the_clusters_before": shared["adjusted_rand_index"]} if shared else {}),
        "split_half": {name: figures[name] for name in ("recognised", "expected", "excess", "verdict")},
    }


def machine(_: Path) -> Mapping[str, str]:
    """Return which number format this machine uses to search for neighbours. Between formats, about 1 pair of patients in 500
    million may be ranked differently (`clusters.scores`)."""
    return {"neighbours": "int8" if scores.multiplies_bytes() else "float32"}


def _table(people: pa.Table, divided: Division, points: NDArray[np.float32], vectors: NDArray[np.float32]) -> Clusters:
    """Return the table of patients with their attributes, clusters and places on the map."""
    columns = {
        "cluster": pa.array(divided.numbers[divided.labels], pa.int32()),
        "stability": pa.array(divided.stability, pa.float32(), from_pandas=True),
        **{f"cluster_{name}": pa.array(labels + 1, pa.int32()) for name, labels in divided.others.items()},
        **{name: pa.array(values) for name, values in zip("xy", points.T, strict=True)},
        "assigned": pa.array(divided.assigned),
        "vector_hash": pa.array(on_new_extract.vector_hashes(vectors)),
    }
    for name, values in columns.items():
        people = people.append_column(name, values)
    return Clusters(people)


def _marks(
    out: Path,
    vectors: NDArray[np.float32],
    divided: Division,
    people: pa.Table,
    *,
    halves: tuple[evidence.Half, evidence.Half],
    counts: csr_array,
    neighbours: int,
) -> None:
    """Find and write the concepts that distinguish each cluster, and the groups of clusters. `counts` (n, V) are numbers of visits
    with each concept in whole records."""
    both, (one, other) = evidence.votes(vectors, divided.labels, halves, neighbours)
    roots = [root_shares(half.counts[both]) for half in halves]
    tested, alike = Halves((one, other), (roots[0], roots[1])), Matching.of(people).among(both)
    markers = marker_concepts.test(tested, alike.blockings(), counts, divided.labels, divided.numbers)
    markers.write(out)
    diseases = np.array(people.column("disease").to_pylist())
    groups.find(markers, tested, alike, groups.main_diseases(diseases, divided.labels, len(divided.numbers))).write(out)


def compared_records(
    artifacts: Mapping[str, Artifact],
    patients: "Patients",
    people: pa.Table,
    halves: tuple[evidence.Half, evidence.Half],
    seed: int,
) -> trait_correlations.Records:
    """Return the half records of the patients, in or outside the cohort, who have a pooled concept in both halves."""
    others = patients.others(artifacts, seed)
    more = [others.visits(others.part(name, seed)) for name in HALVES]
    counts = [csr_array(vstack([half.counts, other], format="csr")) for half, other in zip(halves, more, strict=True)]
    both = np.flatnonzero(np.all([np.asarray(half.sum(axis=1)).ravel() > 0 for half in counts], axis=0))
    tables = [
        table.select([name for name in people.column_names if name != "disease"])
        for table in (people, others.described())
    ]
    disease = [*people.column("disease").to_pylist(), *[""] * len(others.cohort)]
    everybody = pa.concat_tables(tables).append_column("disease", pa.array(disease, pa.string()))
    alike = Covariates.of(everybody).among(both)
    halved = counts[0][both], counts[1][both]
    blocks = alike.whatever_disease
    return trait_correlations.Records(halved, alike.disease, blocks, alike.sex, alike.age, alike.practice)


def _compare(
    out: Path,
    settings: ClustersSettings,
    divided: Division,
    spaces: dict[str, NDArray[np.float32]],
    people: pa.Table,
    *,
    halves: tuple[evidence.Half, evidence.Half],
    embeddings: Artifact,
    seed: int,
) -> None:
    """Write the agreement with planted groups, if there are any, and what each part of the method contributes."""
    groups = planted.PlantedGroups.read(Path(settings.truth)) if settings.truth else None
    if groups and not groups.companions:
        json_files.write(out / planted.AGREEMENT, {"groups": 0})
    elif groups:
        agreement = truth.agreement(
            groups,
            people.column("patient_id").to_pylist(),
            np.array(people.column("disease").to_pylist()),
            divided.labels,
            spaces,
            method=settings.method,
            neighbours=settings.neighbours,
            seed=seed,
        )
        main = {group: int(divided.numbers[label]) for group, label in agreement["main_cluster"].items()}
        json_files.write(out / planted.AGREEMENT, agreement | {"main_cluster": main})
    compared = contributions.of_sample(
        embeddings,
        spaces[planted.THIS_RUN],
        halves,
        people,
        groups=groups,
        clusters=len(divided.numbers),
        components=settings.baseline_components,
        seed=seed,
    )
    if compared:
        compared.write(out)


@dataclass(frozen=True)
class Patients:
    """Patients of the data set: the embedded ones in the order of their vectors, or patients outside the cohort."""

    dataset: list[Path]
    """Shards of the data set."""
    cohort: Cohort
    embeddings: Artifact
    pooled: NDArray[np.float32]
    """1 for each token id (V,) that is pooled into patient vectors, else 0."""

    @classmethod
    def of(cls, artifacts: Mapping[str, Artifact], ids: pa.Array) -> "Patients":
        """Return the patients `ids`."""
        embeddings = artifacts[PATIENT_EMBEDDINGS]
        pooled = np.zeros(Vocabulary.read(artifacts[VOCABULARY].path).size, np.float32)
        pooled[pooled_tokens(embeddings.path)] = 1
        cohort = Cohort.read(artifacts[COHORT].path).of(ids)
        return cls(artifacts[PATIENT_DATASET].files("patients"), cohort, embeddings, pooled)

    def visits(self, part: Callable[[Path, Shard], Shard] = lambda path, shard: shard) -> csr_array:
        """Return the number of visits (n, V) with each pooled concept. `part` may reduce each shard, for example to half."""
        counts = baseline.visits(self.dataset, self.cohort, len(self.pooled), part)
        return counts.multiply(self.pooled).tocsr()

    def half(self, folder: str, seed: int) -> evidence.Half:
        """Return one half of the records, named by the `folder` of its vectors, divided as in `embeddings.embed`."""
        vectors = Vectors.read(self.embeddings, folder)
        there = align.rows(self.cohort.ids, vectors.ids) >= 0
        placed = np.zeros((len(there), vectors.width), np.float32)
        placed[there] = vectors.of(self.cohort.ids.filter(pa.array(there)))

        return evidence.Half(placed, self.visits(self.part(folder, seed)), there)

    def part(self, folder: str, seed: int) -> Callable[[Path, Shard], Shard]:
        """Return a function that reduces a shard to one half of these patients' visits."""

        def part(path: Path, shard: Shard) -> Shard:
            first = first_half(path, shard, self.cohort.rows(path.name), seed)
            return shard.keep_visits(first == (folder == HALVES[0]))

        return part

    def others(self, artifacts: Mapping[str, Artifact], seed: int) -> "Patients":
        """Return at most MOST_OTHERS patients outside the cohort, drawn at random from each shard."""
        known, rng = Cohort.read(artifacts[COHORT].path), np.random.default_rng([seed, 0x07E5])
        parts = [schemas.COHORT.empty_table()]
        for path in self.dataset:
            ids = align.one_chunk(schemas.read(path, ["patient_id"]).column("patient_id"))
            free = np.setdiff1d(np.arange(len(ids)), known.rows(path.name))
            rows = np.sort(rng.permutation(free)[: -(-MOST_OTHERS // len(self.dataset))])
            drawn = {"patient_id": ids.take(pa.array(rows)), "shard": pa.array([path.name] * len(rows), pa.string())}
            columns = drawn | {"row": pa.array(rows, pa.int32()), "disease": pa.array([""] * len(rows), pa.string())}
            missing = {
                name: pa.nulls(len(rows), schemas.COHORT.field(name).type) for name in ("diseases", "first_date")
            }
            parts.append(pa.table(columns | missing, schemas.COHORT))
        return replace(self, cohort=Cohort(pa.concat_tables(parts)))

    def described(self) -> pa.Table:
        """Return the patients' attributes as a table, with disease, age at the last visit, mean age over the record, TIMES, and
        numbers of concepts and visits."""
        parts = []
        for path in self.dataset:
            shard, table, rows = Shard.read(path), schemas.read(path), self.cohort.rows(path.name)
            last = np.maximum(shard.patient_start[1:] - 1, 0)
            age = (shard.visit_day[last] - shard.birth_day) / DAYS_IN_YEAR if len(shard.birth_day) else np.zeros(0)
            middle, size = shard.mean_days(), np.diff(shard.patient_tokens)
            first = np.minimum(shard.patient_start[:-1], max(len(shard.visit_day) - 1, 0))
            length = shard.visit_day[last] - shard.visit_day[first] if len(last) else np.zeros(0)
            table = table.drop_columns(["visits", "birth_date", "birth_precision"]).take(pa.array(rows))
            for name, values, kind in (
                ("age", np.floor(age), pa.int32()),
                ("mean_age", (middle - shard.birth_day) / DAYS_IN_YEAR, pa.float64()),
                ("middle", middle / DAYS_IN_YEAR, pa.float64()),
                ("length", length / DAYS_IN_YEAR, pa.float64()),
                ("concepts", size, pa.int32()),
                ("visits", np.diff(shard.patient_start), pa.int32()),
            ):
                table = table.append_column(name, pa.array(values[rows], kind))
            parts.append(table)
        back = pa.array(np.argsort(self.cohort.order))
        people = pa.concat_tables(parts).take(back).combine_chunks()
        return people.append_column("disease", align.one_chunk(self.cohort.table.column("disease")))


def _everybody(dataset: Artifact) -> pa.Array:
    """Return the ids of all patients of the data set."""
    ids = [schemas.read(path, ["patient_id"]).column("patient_id") for path in dataset.files("patients")]
    return pa.concat_arrays([chunk for column in ids for chunk in column.chunks])
