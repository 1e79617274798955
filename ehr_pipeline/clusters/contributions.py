"""Measure what each part of the method contributes: compare this run's vectors with vectors made by parts of it, and with counts.

Two measures, for a sample of patients (see `embeddings.ablations`):

- Retrieval: each record is divided into two halves. The vector of one half is compared, by cosine, with the other half of the same
  record and with halves of other patients of the same disease and sex, and of similar age and number of concepts. Retrieval is
  the share of patients for whom the half of the same record is nearest (precision at rank 1: Manning, Raghavan & Schütze 2008,
  chapter 8). It measures how much the vectors say about a patient beyond these four attributes, and needs no ground truth.
- On synthetic extracts: agreement of k-means with the planted groups, over several random starts, because the start alone may
  change the adjusted Rand index by more than a part of the method does.

Axes: n patients, D dimensions, V concepts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.metrics import adjusted_rand_score, homogeneity_score

from ehr_pipeline.clusters.evidence import Half
from ehr_pipeline.clusters.methods import Labels, Vectors
from ehr_pipeline.clusters.planted import COUNTS, THIS_RUN, PlantedGroups
from ehr_pipeline.clusters.truth import within_diseases
from ehr_pipeline.embeddings import ablations, measures, quality
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.patient_blocks import Estimate, matched_blocks, mean_over_blocks
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import align, json_files

FILE = "contributions.json"
STARTS = 10
"""Number of random starts of k-means."""
FEWEST = 50
"""Smallest number of patients that are compared."""
TIED = 1e-6
"""Cosines that differ by less count as equal: further digits are rounding error."""


@dataclass(frozen=True)
class Space:
    """Vectors (n, D) of the same patients, made in one way: of whole records, and of both halves."""

    whole: Vectors
    halves: tuple[Vectors, Vectors]


@dataclass(frozen=True)
class Row:
    """The measures of one way to make vectors."""

    name: str
    """'this_run', 'counts', or the name of a variant (`embeddings.ablations`)."""
    dimensions: int
    retrieved: Estimate
    """Share of patients whose other half is nearest among similar patients; 95 % interval."""
    gain: Estimate
    """This run's retrieval minus that of this row, for the same patients; 95 % interval."""
    alignment: float
    """Mean squared distance between the two halves of a patient."""
    uniformity: float
    collapse: dict[str, float]
    """Rank correlations of the distance to the centre with age and number of concepts, and the spread (`quality.collapse`)."""
    adjusted_rand_index: Estimate | None = None
    """Index with as many clusters as groups: mean, lowest and highest of STARTS starts; None without truth."""
    within_diseases: Estimate | None = None
    """Mean index among the patients of each disease, for the same clusters (`truth.within_diseases`); None without truth."""
    homogeneity: Estimate | None = None
    """Homogeneity with as many clusters as the run has: mean, lowest and highest of STARTS starts; None without truth."""


@dataclass(frozen=True)
class Contributions:
    """All rows; the first row is for this run."""

    patients: int
    chance: float
    """Retrieval by vectors that hold nothing beyond the attributes on which patients are matched."""
    age_sd: float
    """Standard deviation of age, in years, among matched patients: it limits how far vectors can still distinguish them by age."""
    starts: int
    rows: list[Row]

    def write(self, folder: Path) -> None:
        """Write the file FILE."""
        json_files.write(folder / FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Contributions | None":
        """Read the file from the folder of a `clusters` artifact; None if it has none."""
        path = folder / FILE
        if not path.is_file():
            return None
        content: dict[str, Any] = json_files.read(path)
        rows = [Row(**{name: _estimate(value) for name, value in row.items()}) for row in content.pop("rows")]
        return cls(rows=rows, **content)


@dataclass(frozen=True)
class Truth:
    """Planted groups (n,), '' if unknown, and diseases (n,) of the patients; and the number of clusters that was requested."""

    group: NDArray[Any]
    disease: NDArray[Any]
    groups: int
    clusters: int


def of_sample(
    embeddings: Artifact,
    vectors: Vectors,
    halves: tuple[Half, Half],
    people: pa.Table,
    *,
    groups: PlantedGroups | None,
    clusters: int,
    components: int,
    seed: int,
) -> Contributions | None:
    """Compare this run's `vectors` (n, D) with the variants in `embeddings` and with the baseline, on the patients who have
    variants.

    `halves` and `people` cover all n patients; `components` is the number of components in the baseline. Returns None if there are
    no variants, or if too few of their patients have both halves.
    """
    variants = ablations.read(embeddings)
    if not variants:
        return None
    ids = next(iter(variants.values())).ids
    row = align.rows(ids, people.column("patient_id"))
    some = np.flatnonzero((row >= 0) & halves[0].there[row] & halves[1].there[row])
    row = row[some]
    if len(row) < FEWEST:
        return None
    parts = halves[0].counts[row], halves[1].counts[row]
    spaces = {THIS_RUN: Space(vectors[row], (halves[0].vectors[row], halves[1].vectors[row]))}
    spaces |= {name: Space(of.whole[some], (of.halves[0][some], of.halves[1][some])) for name, of in variants.items()}
    spaces[COUNTS] = counted((parts[0] + parts[1]).tocsr(), parts, components, seed)
    people = people.take(pa.array(row))
    numbers = {"age": people.column("mean_age").to_numpy(), "concepts": people.column("concepts").to_numpy()}
    alike = matched_blocks(
        [np.array(people.column(name).to_pylist()) for name in ("disease", "sex")], list(numbers.values())
    )
    truth = None
    if groups and len(groups.companions) > 1:
        names = np.array([groups.group_of.get(patient, "") for patient in people.column("patient_id").to_pylist()])
        truth = Truth(names, np.array(people.column("disease").to_pylist()), len(groups.companions), clusters)
    return compare(spaces, alike, numbers, truth=truth, seed=seed)


def compare(
    spaces: Mapping[str, Space],
    blocks: Labels,
    numbers: dict[str, NDArray[Any]],
    *,
    truth: Truth | None,
    seed: int,
) -> Contributions | None:
    """Compare several ways to make vectors, of which the first is this run's. Returns None if there are fewer than FEWEST patients.

    `blocks` (n,) numbers the blocks of similar patients (`patient_blocks.matched_blocks`); `numbers` holds the mean age over the
    record (`age`) and the number of recorded concepts (`concepts`), both (n,).
    """
    sizes = np.bincount(blocks)
    comparable = sizes[blocks] > 1  # a patient alone in a block cannot be confused with another
    if comparable.sum() < FEWEST:
        return None
    block = blocks[comparable]
    hits = {name: retrieved(*space.halves, blocks)[comparable] for name, space in spaces.items()}
    hits_of_run = next(iter(hits.values()))
    rows = [
        Row(
            name,
            space.whole.shape[1],
            mean_over_blocks(hits[name], block),
            mean_over_blocks(hits_of_run - hits[name], block),
            float(((unit_length(space.halves[0]) - unit_length(space.halves[1])) ** 2).sum(1).mean()),
            measures.uniformity(space.whole),
            quality.collapse(space.whole, numbers),
            **({} if truth is None else agreement(space.whole, truth, seed)),
        )
        for name, space in spaces.items()
    ]
    chance = float((1 / sizes[block]).mean())
    return Contributions(int(comparable.sum()), chance, _within(numbers["age"][comparable], block), STARTS, rows)


def retrieved(one: Vectors, other: Vectors, blocks: Labels) -> NDArray[np.float64]:
    """Return 1 for each patient (n,) whose other half is the nearest in the block, else 0, averaged over both directions.

    Equally near halves share the hit, so identical vectors score no better than chance.
    """
    first, second = unit_length(one), unit_length(other)
    order = np.argsort(blocks, kind="stable")
    shares = np.zeros(len(blocks))
    for rows in np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1):
        cosines = first[rows] @ second[rows].T
        for table in (cosines, cosines.T):
            best = table >= table.max(1, keepdims=True) - TIED
            shares[rows] += best.diagonal() / best.sum(1) / 2
    return shares


def agreement(vectors: Vectors, truth: Truth, seed: int) -> dict[str, Estimate]:
    """Return the agreement of k-means with the planted groups: mean, lowest and highest of STARTS random starts."""
    unit, known = unit_length(vectors), truth.group != ""
    group, disease = truth.group[known], truth.disease[known]
    values: dict[str, list[float]] = {"adjusted_rand_index": [], "within_diseases": [], "homogeneity": []}
    for start in range(STARTS):
        as_many, as_set = (
            KMeans(n, n_init=1, random_state=seed + start).fit_predict(unit)[known]
            for n in (truth.groups, truth.clusters)
        )
        values["adjusted_rand_index"].append(float(adjusted_rand_score(group, as_many)))
        values["within_diseases"].append(within_diseases(group, disease, as_many))
        values["homogeneity"].append(float(homogeneity_score(group, as_set)))
    return {name: Estimate(float(np.mean(some)), min(some), max(some)) for name, some in values.items()}


def counted(whole: csr_array, halves: tuple[csr_array, csr_array], components: int, seed: int) -> Space:
    """Return the baseline's vectors of whole records (n, V) and of both halves; the components are those of whole records."""
    rooted = [counts.sqrt() for counts in (whole, *halves)]
    used = np.flatnonzero(np.diff(rooted[0].tocsc().indptr))
    size = min(components, len(used) - 1, whole.shape[0] - 1)
    if size < 2:
        tables = [np.asarray(counts[:, used].todense(), np.float32) for counts in rooted]
    else:
        axes = TruncatedSVD(size, random_state=seed).fit(rooted[0][:, used])
        tables = [axes.transform(counts[:, used]).astype(np.float32) for counts in rooted]
    return Space(tables[0], (tables[1], tables[2]))


def _within(values: NDArray[Any], block: Labels) -> float:
    """Return the pooled standard deviation of values (n,) within blocks."""
    _, place = np.unique(block, return_inverse=True)
    sizes = np.bincount(place)
    moved = values - (np.bincount(place, values) / sizes)[place]
    return float(np.sqrt((moved**2).sum() / (len(values) - len(sizes))))


def _estimate(value: Any) -> Any:
    return (
        Estimate(**value) if isinstance(value, dict) and value.keys() == Estimate.__dataclass_fields__.keys() else value
    )
