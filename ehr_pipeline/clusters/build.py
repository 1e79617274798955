"""`clusters`: a cluster and a place on the map for every embedded patient, and how far the division can be trusted.

The artifact holds `clusters.arrow` (patient_id, cluster from 1, the cluster by the other method and by the baseline, x, y, age,
concepts, and the attributes that the reports audit) and `evidence.json`; on synthetic extracts `agreement.json` as well.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from ehr_pipeline import schemas
from ehr_pipeline.artifacts import Artifact, Counts
from ehr_pipeline.clusters import baseline, evidence, truth
from ehr_pipeline.clusters.methods import METHODS, cluster
from ehr_pipeline.clusters.settings import ClustersSettings
from ehr_pipeline.encoder.sequences import DAYS_IN_YEAR, Shard
from ehr_pipeline.projection import project


def build(
    dataset: Artifact,
    cohort: Artifact,
    embeddings: Artifact,
    vocabulary_size: int,
    settings: ClustersSettings,
    seed: int,
    out: Path,
) -> Counts:
    """Divide the embedded patients. Returns sizes and agreement figures. Raises UserError when there are too few of them."""
    ids, vectors = read_vectors(embeddings, "embeddings")
    labels = cluster(vectors, settings.method, settings.n, settings.neighbours, seed)
    other_method = next(name for name in METHODS if name != settings.method)
    other = cluster(vectors, other_method, settings.n, settings.neighbours, seed)
    people = _people(dataset, cohort.file("cohort.arrow"), ids)
    counts = baseline.concept_counts(
        dataset.files("patients"), schemas.read(cohort.file("cohort.arrow")), vocabulary_size
    )
    row_of = {patient_id: row for row, patient_id in enumerate(_cohort_ids(dataset, cohort))}
    chosen = np.zeros(vocabulary_size)
    chosen[json.loads(embeddings.file("selected.json").read_text(encoding="utf-8"))] = 1
    counts = counts[np.array([row_of[patient_id] for patient_id in ids])].multiply(chosen).tocsr()
    plain = baseline.vectors(counts, settings.baseline_components, seed)
    without_model = cluster(plain, settings.method, settings.n, settings.neighbours, seed)
    points = project(vectors, 2, settings.neighbours, seed)
    table = people.append_column("cluster", pa.array(labels + 1, pa.int32()))
    for name, column in ((f"cluster_{other_method}", other), ("cluster_baseline", without_model)):
        table = table.append_column(name, pa.array(column + 1, pa.int32()))
    for name, values in zip("xy", points.T, strict=True):
        table = table.append_column(name, pa.array(values))
    schemas.write(out / "clusters.arrow", table)
    tested = _evidence(embeddings, ids, vectors, labels, people, settings, seed)
    (out / "evidence.json").write_text(json.dumps(tested.as_dict(), indent=1) + "\n", encoding="utf-8")
    if settings.truth:
        planted = truth.PlantedGroups.read(Path(settings.truth))
        both = {"encoder": vectors, "baseline": plain}
        found = truth.agreement(planted, ids, labels, both, settings.method, settings.neighbours, seed)
        (out / "agreement.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sizes = np.bincount(labels, minlength=settings.n)
    return {
        "rows_in": len(ids),
        "kept": len(ids),
        "clusters": int((sizes > 0).sum()),
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
        f"agreement_with_{other_method}": float(adjusted_rand_score(labels, other)),
        "agreement_with_baseline": float(adjusted_rand_score(labels, without_model)),
        "split_half": {
            "agreement": tested.agreement,
            "expected": tested.expected,
            "excess": tested.excess,
            "verdict": tested.verdict,
        },
    }


def read_vectors(embeddings: Artifact, folder: str) -> tuple[list[str], NDArray[np.float32]]:
    """Patient ids and vectors (n, D) of an embeddings artifact, in order of shard and row."""
    table = pa.concat_tables([schemas.read(path) for path in embeddings.files(folder)]).combine_chunks()
    vector = table.column("vector").combine_chunks()
    flat = vector.values.to_numpy().reshape(table.num_rows, vector.type.list_size)
    return table.column("patient_id").to_pylist(), flat


def _cohort_ids(dataset: Artifact, cohort: Artifact) -> list[str]:
    """Cohort ids in the order of `baseline.concept_counts`: by shard, then row."""
    table = schemas.read(cohort.file("cohort.arrow")).sort_by([("shard", "ascending"), ("row", "ascending")])
    ids: list[str] = table.column("patient_id").to_pylist()
    return ids


def _people(dataset: Artifact, cohort_file: Path, ids: list[str]) -> pa.Table:
    """What is known of the embedded patients: attributes, disease, age at the last visit, number of concepts and visits."""
    parts = []
    for path in dataset.files("patients"):
        shard = Shard.read(path)
        table = schemas.read(path)
        last = np.maximum(shard.patient_start[1:] - 1, 0)
        age = (shard.visit_day[last] - shard.birth_day) / DAYS_IN_YEAR if len(shard.birth_day) else np.zeros(0)
        table = table.drop_columns(["visits", "birth_date", "birth_precision"])
        table = table.append_column("age", pa.array(np.floor(age), pa.int32()))
        table = table.append_column("concepts", pa.array(np.diff(shard.patient_tokens), pa.int32()))
        parts.append(table.append_column("visits", pa.array(np.diff(shard.patient_start), pa.int32())))
    everyone = pa.concat_tables(parts).combine_chunks()
    wanted = pa.array(ids, pa.string())
    people = everyone.take(pc.index_in(wanted, value_set=everyone.column("patient_id").combine_chunks()))
    members = schemas.read(cohort_file)
    place = pc.index_in(wanted, value_set=members.column("patient_id").combine_chunks())
    return people.append_column("disease", members.column("disease").combine_chunks().take(place))


def _evidence(
    embeddings: Artifact,
    ids: list[str],
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    people: pa.Table,
    settings: ClustersSettings,
    seed: int,
) -> evidence.Evidence:
    halves, have = [], []
    for folder in ("half_a", "half_b"):
        half_ids, half = read_vectors(embeddings, folder)
        place = {patient_id: row for row, patient_id in enumerate(half_ids)}
        row = np.array([place.get(patient_id, -1) for patient_id in ids])
        halves.append(half[row] if len(half) else np.zeros_like(vectors))
        have.append(row >= 0)
    columns: list[NDArray[Any]] = [
        np.array(people.column(name).to_pylist()) for name in ("disease", "sex", "age", "concepts")
    ]
    strata = evidence.strata_of(*columns)
    return evidence.split_half(
        vectors,
        labels,
        halves[0],
        halves[1],
        have[0] & have[1],
        strata,
        settings.neighbours,
        settings.permutations,
        seed,
    )
