"""`clusters`: a cluster and a place on the map for every embedded patient, and how far the division can be trusted.

The artifact holds `clusters.arrow` (patient_id, cluster by its number, stability, the clusters by other methods and by the
baseline (0 is nobody's), x, y, age, concepts, the attributes that the reports audit, whether it was assigned to a cluster that
there was, and a hash of the vector), `evidence.json` (the split-half test),
`trust.json` (stability of each cluster), `choice.csv` (eigengap and stability over their number), `comparison.csv` (methods
beside each other), `numbers.json` (which clusters kept their numbers), `overlap.json` (with the clusters before) and `model/` with
`voters.arrow` (for new patients: see `assign`); on synthetic extracts `agreement.json` as well.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ehr_pipeline.clusters import baseline, continued, evidence, overlap, scores, truth
from ehr_pipeline.clusters.assign import Model
from ehr_pipeline.clusters.divide import divide
from ehr_pipeline.clusters.settings import ClustersSettings
from ehr_pipeline.cohort.members import rows_of_shard
from ehr_pipeline.drawing.umap import project
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.halves import first_half
from ehr_pipeline.encoder.sequences import DAYS_IN_YEAR, Shard
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import schemas


def build(
    dataset: Artifact,
    cohort: Artifact,
    embeddings: Artifact,
    vocabulary_size: int,
    settings: ClustersSettings,
    seed: int,
    out: Path,
    earlier: Artifact | None = None,
    clustered: Artifact | None = None,
) -> Counts:
    """Divide the embedded patients. Returns sizes and agreement figures. Raises UserError when there are too few of them.

    Clusters that the artifact `earlier` held keep its numbers. Where patients were `clustered` already in the same space, the
    others are assigned to their clusters in place of a new division.
    """
    ids, vectors = read_vectors(embeddings, "embeddings")
    people = _people(dataset, cohort.file("cohort.arrow"), ids)
    counter = _Counter(dataset, cohort, embeddings, vocabulary_size, ids)
    plain = baseline.vectors(counter.count(), settings.baseline_components, seed)
    if clustered:
        present = _everybody(dataset)
        divided, points = continued.divide(vectors, ids, present, settings.neighbours, clustered, out)
    else:
        divided = divide(vectors, ids, plain, settings, seed, earlier, out)
        points = project(vectors, 2, settings.neighbours, seed)
        Model.of(unit_length(vectors), divided.numbers[divided.labels], points, ids, seed).write(out)
    labels, numbers = divided.labels, divided.numbers
    table = people.append_column("cluster", pa.array(numbers[labels], pa.int32()))
    table = table.append_column("stability", pa.array(divided.stability, pa.float32(), from_pandas=True))
    for name, column in divided.others.items():
        table = table.append_column(f"cluster_{name}", pa.array(column + 1, pa.int32()))
    for name, values in zip("xy", points.T, strict=True):
        table = table.append_column(name, pa.array(values))
    table = table.append_column("assigned", pa.array(divided.assigned))
    table = table.append_column("vector_hash", pa.array(continued.vector_hashes(vectors)))
    schemas.write(out / "clusters.arrow", table)
    shared = overlap.overlap(ids, numbers[labels], before) if (before := clustered or earlier) else None
    if shared:
        (out / overlap.FILE).write_text(json.dumps(shared, indent=1) + "\n", encoding="utf-8")
    alike = evidence.matched_blocks(
        [np.array(people.column(name).to_pylist()) for name in ("disease", "sex")],
        [people.column(name).to_numpy() for name in ("mean_age", "concepts")],
    )
    halves = (
        _half(embeddings, "half_a", ids, counter, True, seed),
        _half(embeddings, "half_b", ids, counter, False, seed),
    )
    tested = evidence.split_half(vectors, labels, halves, alike, settings.neighbours, settings.permutations, seed)
    told = tested.as_dict()
    for name in ("per_cluster", "expected_per_cluster"):
        told[name] = {str(numbers[label]): share for label, share in told[name].items()}
    (out / "evidence.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if settings.truth:
        planted = truth.PlantedGroups.read(Path(settings.truth))
        compared = {"encoder": vectors, "baseline": plain}
        found = truth.agreement(planted, ids, labels, compared, settings.method, settings.neighbours, seed)
        found["main_cluster"] = {group: int(numbers[label]) for group, label in found["main_cluster"].items()}
        (out / "agreement.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sizes = np.bincount(labels, minlength=settings.n)
    return {
        "rows_in": len(ids),
        "kept": len(ids),
        "clusters": int((sizes > 0).sum()),
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
        **divided.counts,
        **({"agreement_with_the_clusters_before": shared["adjusted_rand_index"]} if shared else {}),
        "split_half": {name: getattr(tested, name) for name in ("recognised", "expected", "excess", "verdict")},
    }


def machine(_: Path) -> Mapping[str, str]:
    """In which products nearest neighbours are looked for here: a pair in 500 million may be another (`clusters.scores`)."""
    return {"neighbours": "int8" if scores.multiplies_bytes() else "float32"}


@dataclass(frozen=True)
class _Counter:
    """Counts the chosen concepts of the embedded patients, in their order."""

    dataset: Artifact
    cohort: Artifact
    embeddings: Artifact
    vocabulary_size: int
    ids: list[str]

    def count(self, part: Callable[[Shard, int], Shard] = lambda shard, number: shard) -> csr_array:
        """Visits (n, V) with each chosen concept."""
        members = schemas.read(self.cohort.file("cohort.arrow")).sort_by([("shard", "ascending"), ("row", "ascending")])
        counts = baseline.concept_counts(self.dataset.files("patients"), members, self.vocabulary_size, part)
        row = pc.index_in(
            pa.array(self.ids, pa.string()), value_set=members.column("patient_id").combine_chunks()
        ).to_numpy()
        chosen = np.zeros(self.vocabulary_size, np.float32)
        chosen[json.loads(self.embeddings.file("selected.json").read_text(encoding="utf-8"))] = 1
        kept: csr_array = counts[row].multiply(chosen).tocsr()
        return kept


def _half(
    embeddings: Artifact, folder: str, ids: list[str], counter: _Counter, first: bool, seed: int
) -> evidence.Half:
    """One half of the records, as `embeddings.embed` divided them."""
    half_ids, vectors = read_vectors(embeddings, folder)
    row = pc.index_in(pa.array(ids, pa.string()), value_set=pa.array(half_ids, pa.string())).fill_null(-1).to_numpy()
    there = row >= 0
    placed = np.zeros((len(ids), vectors.shape[1]), np.float32)
    placed[there] = vectors[row[there]]

    paths, members = counter.dataset.files("patients"), schemas.read(counter.cohort.file("cohort.arrow"))

    def part(shard: Shard, number: int) -> Shard:
        rows = rows_of_shard(members, paths[number].name)
        return shard.keep_visits(first_half(paths[number], shard, rows, seed) == first)

    return evidence.Half(placed, counter.count(part), there)


def read_vectors(embeddings: Artifact, folder: str) -> tuple[list[str], NDArray[np.float32]]:
    """Patient ids and vectors (n, D) of an embeddings artifact, in order of shard and row."""
    table = pa.concat_tables([schemas.read(path) for path in embeddings.files(folder)]).combine_chunks()
    vector = table.column("vector").combine_chunks()
    flat = vector.values.to_numpy().reshape(table.num_rows, vector.type.list_size)
    return table.column("patient_id").to_pylist(), flat


def _everybody(dataset: Artifact) -> pa.Array:
    """The ids of all patients of the data set."""
    ids = [schemas.read(path, ["patient_id"]).column("patient_id") for path in dataset.files("patients")]
    return pa.concat_arrays([chunk for column in ids for chunk in column.chunks])


def _people(dataset: Artifact, cohort_file: Path, ids: list[str]) -> pa.Table:
    """What is known of the embedded patients: attributes, disease, age at the last visit, mean age over the record, amounts."""
    parts = []
    for path in dataset.files("patients"):
        shard = Shard.read(path)
        table = schemas.read(path)
        last = np.maximum(shard.patient_start[1:] - 1, 0)
        age = (shard.visit_day[last] - shard.birth_day) / DAYS_IN_YEAR if len(shard.birth_day) else np.zeros(0)
        size = np.diff(shard.patient_tokens)
        owner = np.repeat(np.arange(len(size)), np.diff(shard.patient_start))
        days = np.bincount(owner, shard.visit_day.astype(float) * np.diff(shard.visit_start), len(size)) / np.maximum(
            size, 1
        )
        table = table.drop_columns(["visits", "birth_date", "birth_precision"])
        table = table.append_column("age", pa.array(np.floor(age), pa.int32()))
        table = table.append_column("mean_age", pa.array((days - shard.birth_day) / DAYS_IN_YEAR))
        table = table.append_column("concepts", pa.array(size, pa.int32()))
        parts.append(table.append_column("visits", pa.array(np.diff(shard.patient_start), pa.int32())))
    everyone = pa.concat_tables(parts).combine_chunks()
    wanted = pa.array(ids, pa.string())
    people = everyone.take(pc.index_in(wanted, value_set=everyone.column("patient_id").combine_chunks()))
    members = schemas.read(cohort_file)
    place = pc.index_in(wanted, value_set=members.column("patient_id").combine_chunks())
    return people.append_column("disease", members.column("disease").combine_chunks().take(place))
