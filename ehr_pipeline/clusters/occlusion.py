"""Find the concepts that the vectors of a cluster's patients depend on, by occlusion (Zeiler & Fergus 2014, section 4.2).

A concept is left out of a member's record, and the vector of the record is computed again. The member's lead is the cosine of its
vector with the centre of its cluster, minus the cosine with the nearest other centre. The loss of lead shows how much the vector
used the concept. Means are over a random sample of the members, including those without the concept.

Only the concept profile is recomputed, exactly. The encoder's part of a vector stays unchanged, because recomputing it would need a
run of the encoder for each concept. So occlusion covers only the part of the distance that comes from the profile. The mean age,
also a feature of the profile, is left out by setting it to the cohort's mean.

Axes: P patients, K clusters, D dimensions, V token ids, M records with something left out.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.clusters.methods import Labels, Vectors
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.transform import Transform
from ehr_pipeline.patients.histories import without_token
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.tables import json_files

FILE = "occlusion.json"
MEMBERS, CONCEPTS = 60, 30
"""Largest number of members sampled from a cluster, and largest number of concepts left out in turn (those that most sampled
members have). Both limit the time."""
FEWEST = 10
"""A concept is tested only if at least this many sampled members have it; the mean over fewer would be too uncertain."""
BLOCK = 1024
AGE = -1
"""Stands for the mean age in place of a token id."""
NORMAL_95 = 1.96


@dataclass(frozen=True)
class ConceptUse:
    """One concept that a cluster's vectors depend on."""

    token: int
    """Token id, or AGE."""
    having: int
    """Number of sampled members who have the concept."""
    lost: float
    """Mean loss of lead without the concept, as a share of the mean lead."""
    low: float
    """Lower end of the 95 % interval of `lost`, over members."""


@dataclass(frozen=True)
class Occlusion:
    """The results, by cluster number."""

    decides: float
    """Share of the squared distance between two patients that comes from the concept profile."""
    sampled: dict[int, int]
    """Number of members sampled from each cluster."""
    lead: dict[int, float]
    """Mean lead of the sampled members; if it is not above 0, `used` is empty."""
    used: dict[int, list[ConceptUse]]
    """The concepts that each cluster's vectors depend on, the largest loss of lead first."""

    def write(self, folder: Path) -> None:
        """Write the file FILE."""
        json_files.write(folder / FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Occlusion | None":
        """Read the file from the folder of a `clusters` artifact; None if it has none."""
        path = folder / FILE
        if not path.is_file():
            return None
        content = json_files.read(path)
        sampled, lead = (
            {int(number): value for number, value in content[name].items()} for name in ("sampled", "lead")
        )
        used = {int(number): [ConceptUse(**one) for one in rows] for number, rows in content["used"].items()}
        return cls(content["decides"], sampled, lead, used)


def measure(
    transform: Transform,
    dataset: list[Path],
    cohort: Cohort,
    vectors: Vectors,
    labels: Labels,
    *,
    numbers: NDArray[np.int64],
    seed: int,
) -> Occlusion | None:
    """Measure how much each cluster's vectors depend on each concept, by leaving concepts out of the records of sampled cluster
    members.

    `cohort`, `vectors` (P, D) and `labels` (P,) are in the same order; `numbers` (K,) are the cluster numbers. Returns None if
    there is only one cluster, or if the vectors contain no concept profile.
    """
    there, labels = np.unique(labels, return_inverse=True)
    numbers = numbers[there]
    share = 1 - transform.share if "basis" in transform.arrays else 0.0
    if not share or len(numbers) < 2:
        return None
    unit = unit_length(vectors)
    of_cluster = labels == np.arange(len(numbers))[:, None]
    centres = unit_length(np.stack([unit[members].mean(0) for members in of_cluster]))
    sampled = _sample(labels, len(numbers), seed)
    parts = [_Part.of(transform, path, *_placed(cohort, path, sampled)) for path in dataset]
    having = _having(parts, labels, (len(numbers), len(transform.weights) + 1))  # AGE is the last column
    lost, squares = np.zeros(having.shape), np.zeros(having.shape)
    wanted = _chosen(having)
    for part in parts:
        for places, tokens, left in part.without(transform, wanted, labels):
            joined = unit[places]
            joined[:, joined.shape[1] - left.shape[1] :] = np.sqrt(share) * left
            cluster = labels[places]
            taken = lead(unit[places], centres, cluster) - lead(joined, centres, cluster)
            np.add.at(lost, (cluster, tokens), taken)
            np.add.at(squares, (cluster, tokens), taken**2)
    leads = [
        lead(unit[rows], centres, labels[rows]) for rows in (sampled[labels[sampled] == k] for k in range(len(numbers)))
    ]
    used = [_used(*rows) for rows in zip(leads, having, lost, squares, strict=True)]
    names = numbers.tolist()
    return Occlusion(
        share,
        {number: len(values) for number, values in zip(names, leads, strict=True)},
        {number: float(values.mean()) for number, values in zip(names, leads, strict=True)},
        dict(zip(names, used, strict=True)),
    )


def lead(unit: Vectors, centres: Vectors, cluster: Labels) -> NDArray[np.float64]:
    """Return the cosine (P,) of unit vectors (P, D) with the centre of their `cluster`, minus that with the nearest other one."""
    cosines = (unit @ centres.T).astype(np.float64)
    rows = np.arange(len(cluster))
    mine = cosines[rows, cluster].copy()
    cosines[rows, cluster] = -np.inf
    leads: NDArray[np.float64] = mine - cosines.max(axis=1)
    return leads


@dataclass(frozen=True)
class _Part:
    """The sampled members in one shard."""

    shard: Shard
    rows: NDArray[np.int64]
    """The members' rows in the shard (P,)."""
    places: NDArray[np.int64]
    """The members' places among all patients (P,)."""
    owner: NDArray[np.int64]
    """For each pair of a member and a profiled concept in the member's record: the member, as an index into `rows`."""
    tokens: NDArray[np.int64]
    """The concept of each pair."""

    @classmethod
    def of(cls, transform: Transform, path: Path, rows: NDArray[np.int64], places: NDArray[np.int64]) -> "_Part":
        shard = Shard.read(path).below(len(transform.weights))
        owner, tokens = shard.tokens_of(rows)
        pairs = np.unique(owner * len(transform.weights) + tokens)
        owner, tokens_of_pairs = np.divmod(pairs, len(transform.weights))
        profiled = np.isin(tokens_of_pairs, transform.arrays["concepts"])
        return cls(shard, rows, places, owner[profiled], tokens_of_pairs[profiled])

    def without(
        self, transform: Transform, wanted: NDArray[np.bool_], labels: Labels
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Vectors]]:
        """Yield blocks of profile vectors, each without one concept; with the indices of their members in the cohort, and the
        concepts that were left out (both (M,)).

        `wanted` (K, V + 1) flags the concepts to leave out in each cluster.
        """
        pairs = np.flatnonzero(wanted[labels[self.places][self.owner], self.tokens])
        for begin in range(0, len(pairs), BLOCK):
            some = pairs[begin : begin + BLOCK]
            owner, tokens = self.owner[some], self.tokens[some]
            features = transform.profile(without_token(self.shard.take(self.rows[owner]), tokens), np.arange(len(some)))
            nothing = ~features.any(axis=1, keepdims=True)  # the profile held only this concept
            yield self.places[owner], tokens, np.where(nothing, np.float32(0), transform.centred(features))
        if transform.settings.ages and "whole_centre" in transform.arrays:
            features = transform.profile(self.shard, self.rows)
            features[:, -1] = transform.arrays["whole_centre"][-1]
            yield self.places, np.full(len(self.rows), AGE), transform.centred(features)


def _sample(labels: Labels, clusters: int, seed: int) -> NDArray[np.int64]:
    """Return the places of at most MEMBERS patients of each cluster, drawn at random."""
    rng = np.random.default_rng([seed, 0x0CC])
    drawn = [rng.permutation(np.flatnonzero(labels == cluster))[:MEMBERS] for cluster in range(clusters)]
    return np.sort(np.concatenate(drawn))


def _placed(cohort: Cohort, path: Path, sampled: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sampled patients of a shard: their rows in the shard, and their places in the cohort."""
    here = pc.equal(cohort.table.column("shard"), path.name).to_numpy()[sampled]
    places = sampled[here]
    return cohort.table.column("row").to_numpy().astype(np.int64)[places], places


def _having(parts: list[_Part], labels: Labels, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return how many sampled members of each cluster have each concept (K, V + 1)."""
    having = np.zeros(shape, np.int64)
    for part in parts:
        np.add.at(having, (labels[part.places][part.owner], part.tokens), 1)
        np.add.at(having[:, AGE], labels[part.places], 1)
    return having


def _chosen(having: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return flags (K, V + 1) of the concepts to leave out in each cluster: those that most of its sampled members have."""
    rank = np.argsort(np.argsort(-having[:, :AGE], axis=1, kind="stable"), axis=1)
    flags = np.zeros(having.shape, bool)
    flags[:, :AGE] = (having[:, :AGE] >= FEWEST) & (rank < CONCEPTS)
    return flags


def _used(
    leads: NDArray[np.float64], having: NDArray[np.int64], lost: NDArray[np.float64], squares: NDArray[np.float64]
) -> list[ConceptUse]:
    """Return the concepts that the vectors of one cluster depend on. `leads` (n,) are its members' leads; `lost` and `squares` (V +
    1,) are sums over members of the lead lost without each concept, and of its square."""
    mean = float(leads.mean())
    if mean <= 0:
        return []
    part = lost / len(leads) / mean
    spread = np.sqrt(np.maximum(squares / len(leads) - (lost / len(leads)) ** 2, 0) / max(len(leads) - 1, 1)) / mean
    low = part - NORMAL_95 * spread
    chosen = np.flatnonzero((low > 0) & (having > 0))
    order = chosen[np.argsort(-part[chosen], kind="stable")]
    last = len(lost) - 1
    return [ConceptUse(AGE if k == last else k, int(having[k]), float(part[k]), float(low[k])) for k in order.tolist()]
