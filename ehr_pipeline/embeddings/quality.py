"""Measure the quality of the embeddings without clusters, on a sample; the results go into the artifact's counts.

Axes: P patients, D dimensions. All measures are for vectors scaled to length 1, because clustering uses them so.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import rankdata

from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings import measures
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.vectors import HALVES, WHOLE
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.align import one_chunk
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

Vectors = NDArray[np.float32]
DESCRIBED, COMPARED = 50_000, 5_000
"""Largest numbers of patients whose distances to the centre are described, and who are compared; both bound memory."""
NEIGHBOURS = 15
DECIMALS = 5
"""Number of decimals of distances between unit vectors that are kept: further ones are rounding error."""
CORRELATED = ("age", "concepts", "inverse_frequency")
"""Mean age over the record, number of its tokens, and mean of log(1 / share of all appearances) over its chosen concepts."""


def measure(
    out: Path,
    dataset: list[Path],
    cohort: Cohort,
    *,
    plain: Iterable[Vectors] | None,
    chosen: NDArray[np.bool_],
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    """Return all measures of the embeddings in `out`; with `plain` (the published method's vectors), also their `collapse`."""
    described, whole = [], []
    every = max(1, -(-len(cohort) // DESCRIBED))
    for path in dataset:
        ids, vectors = _read(out / WHOLE / path.name)
        described.append(_describe(path, cohort, ids.take(pa.array(np.arange(0, len(ids), every))), chosen, vocabulary))
        whole.append(vectors[::every].copy())
    before = [published[::every].copy() for published in plain or ()]
    facts = pa.concat_tables(described)
    vectors = np.concatenate(whole)
    numbers = {name: facts.column(name).to_numpy() for name in CORRELATED}
    step = max(1, -(-len(vectors) // COMPARED))
    some = vectors[::step]
    labels = np.unique(facts.column("disease").to_pylist(), return_inverse=True)[1][::step]
    neighbours = nearest(some, NEIGHBOURS)
    halves = [_by_id(out / folder, dataset) for folder in HALVES]
    return {
        "collapse": collapse(vectors, numbers),
        **({"collapse_published": collapse(np.concatenate(before), numbers)} if before else {}),
        "uniformity": measures.uniformity(some),
        "alignment": alignment(*halves),
        "graph_components": components(neighbours),
        "space": measures.rounded(measures.of_space(some, _pairs(*halves))),
        "disease_purity": float((labels[neighbours] == labels[:, None]).mean()) if neighbours.size else 1.0,
        "disease_purity_by_chance": float(np.bincount(labels) / len(labels) @ (np.bincount(labels) / len(labels))),
        "patients": len(some),
    }


def collapse(vectors: Vectors, numbers: dict[str, NDArray[Any]]) -> dict[str, float]:
    """Return Spearman's rank correlation of the patients' distances to the centre with each of `numbers` (P,), and the spread of
    the distances.

    Old patients with long records collapse to the centre if vectors are means over many tokens. A distance is measured from a
    patient's vector, scaled to length 1, to the mean of all such vectors. Distances that differ only by rounding count as equal.
    The spread is the standard deviation of the distances divided by their mean: ranks do not show whether some patients lie much
    nearer than others.
    """
    unit = unit_length(vectors)
    distance = np.round(np.linalg.norm(unit - unit.mean(0), axis=1), DECIMALS)
    exact = distance.astype(np.float64)  # in float32 the last digits depend on where the array lies in memory
    spread = round(float(exact.std() / max(float(exact.mean()), 1e-12)), DECIMALS)
    return {name: spearman(distance, values) for name, values in numbers.items()} | {"spread": spread}


def spearman(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return Spearman's rank correlation, with mean ranks for ties; 0 if one side is constant."""
    first, second = rankdata(one), rankdata(other)
    first, second = first - first.mean(), second - second.mean()
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / size) if size > 0 else 0.0


def _pairs(one: dict[str, Vectors], other: dict[str, Vectors]) -> tuple[Vectors, Vectors]:
    """Return the vectors of the first and of the second half, in the same order, for the patients who have both."""
    both = sorted(one.keys() & other.keys())
    if not both:
        width = len(next(iter([*one.values(), *other.values()]), np.zeros(1)))
        return np.zeros((0, width), np.float32), np.zeros((0, width), np.float32)
    return np.stack([one[name] for name in both]), np.stack([other[name] for name in both])


def alignment(one: dict[str, Vectors], other: dict[str, Vectors]) -> float:
    """Return the mean squared distance between the two halves of a patient: 0 if equal, 2 if unrelated (Wang & Isola 2020)."""
    both = sorted(one.keys() & other.keys())
    if not both:
        return 2.0
    first, second = (unit_length(np.stack([half[name] for name in both])) for half in (one, other))
    return float(((first - second) ** 2).sum(1).mean())


def nearest(vectors: Vectors, count: int) -> NDArray[np.int64]:
    """Return the `count` nearest neighbours (P, count) of each vector by cosine, without the vector itself."""
    unit = unit_length(vectors)
    count = min(count, len(unit) - 1)
    blocks = [np.zeros((0, max(count, 0)), np.int64)]
    for start in range(0, len(unit), 512):
        similar = unit[start : start + 512] @ unit.T
        similar[np.arange(len(similar)), np.arange(start, start + len(similar))] = -np.inf
        blocks.append(np.argsort(-similar, axis=1, kind="stable")[:, :count] if count > 0 else blocks[0])
    return np.concatenate(blocks)


def components(neighbours: NDArray[np.int64]) -> int:
    """Return the number of connected components of the graph in which each patient is joined to its neighbours (P, k)."""
    label = np.arange(len(neighbours))
    while neighbours.size:
        lower = np.minimum(label, label[neighbours].min(1))
        np.minimum.at(lower, neighbours.ravel(), np.repeat(lower, neighbours.shape[1]))
        lower = lower[lower]  # a label is the index of a member, so this halves chains
        if (lower == label).all():
            break
        label = lower
    return len(np.unique(label))


def _describe(path: Path, cohort: Cohort, ids: pa.Array, chosen: NDArray[np.bool_], vocabulary: Vocabulary) -> pa.Table:
    """Return a table of the patients `ids` of a shard: the columns CORRELATED, and the disease."""
    shard = Shard.read(path).below(vocabulary.size)
    members = cohort.of(ids).table
    rows = members.column("row").to_numpy().astype(np.int64)
    tokens = np.array([0] * FIRST_CONCEPT + [concept.appearances for concept in vocabulary.concepts], float)
    rare = np.where(chosen, np.log(max(tokens.sum(), 1) / np.maximum(tokens, 1)), 0)
    start = shard.patient_tokens
    sums = np.concatenate([[0], np.cumsum(rare[shard.tokens])])
    kept = np.concatenate([[0], np.cumsum(chosen[shard.tokens])])
    size = np.diff(shard.visit_start)
    days = np.concatenate([[0], np.cumsum(shard.visit_day.astype(float) * size)])
    first, last = shard.patient_start[rows], shard.patient_start[rows + 1]
    count = np.maximum(start[rows + 1] - start[rows], 1)
    return pa.table(
        {
            "age": ((days[last] - days[first]) / count - shard.birth_day[rows]) / DAYS_IN_YEAR,
            "concepts": (start[rows + 1] - start[rows]).astype(np.int64),
            "inverse_frequency": (sums[start[rows + 1]] - sums[start[rows]])
            / np.maximum(kept[start[rows + 1]] - kept[start[rows]], 1),
            "disease": members.column("disease"),
        }
    )


def _read(path: Path) -> tuple[pa.Array, Vectors]:
    table = schemas.read(path)
    return one_chunk(table.column("patient_id")), schemas.matrix(table)


def _by_id(folder: Path, dataset: list[Path]) -> dict[str, Vectors]:
    """Return vectors of about COMPARED patients from a folder, by patient id: the same number from the beginning of each shard."""
    by_id: dict[str, Vectors] = {}
    for path in dataset:
        ids, vectors = _read(folder / path.name)
        share = -(-COMPARED // max(len(dataset), 1))
        by_id |= dict(zip(ids.to_pylist()[:share], vectors[:share], strict=True))
    return by_id
