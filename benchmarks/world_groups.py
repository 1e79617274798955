"""Groups by mechanism (plan `subtle`): which of them counts, profile and course of a record tell apart, and what an oracle sees.

Each mechanism stands alone in its world. Its groups are searched by k-means, as many clusters as groups, among their members: in
vectors of whole records, and in vectors of the planted findings alone, which is all that a method could wish for. Boosting learns
the groups from the labels of other patients. The oracle looks at the one feature that the groups differ by.

Usage: python benchmarks/world_groups.py [--blocks 8]; some minutes
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import results
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from sklearn.model_selection import cross_val_predict

from ehr_pipeline.clusters import baseline
from ehr_pipeline.embeddings import profile
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.synthetic.worlds import groups_by_mechanism
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, Events
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.write import draw

SEED, STARTS, COMPONENTS, SMOOTHING = 7, 3, 64, 0.3
Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Members:
    """Everybody who belongs to a group of one mechanism: records, groups, and what the oracle says."""

    shard: Shard
    group: Labels
    oracle: Labels
    codes: int
    planted: NDArray[np.bool_]
    """(codes,): whether a code is one of the planted findings."""

    def counts(self, chosen: NDArray[np.bool_]) -> csr_array:
        """Visits with each chosen code (patients, codes)."""
        owner = np.repeat(np.arange(len(self.group)), np.diff(self.shard.patient_tokens))
        here = chosen[self.shard.tokens]
        ones = np.ones(int(here.sum()), np.float32)
        counted = csr_array((ones, (owner[here], self.shard.tokens[here])), shape=(len(self.group), self.codes))
        counted.sum_duplicates()
        return counted


def members(kind: groups_by_mechanism.Kind, blocks: int) -> Members:
    """The members of the groups of a mechanism."""
    world = World.of(SEED, 0.9)
    mechanisms = make(world, [f"subtle-{kind.name}"])
    planted = np.zeros(len(world.book.codes), bool)
    planted[mechanisms[-1].codes] = True
    shards, groups, oracles = [], [], []
    for number in range(blocks):
        block, events = draw(mechanisms, world, number)
        group = block.days("group")
        mine = np.flatnonzero(group >= 0)
        shards.append(shard_of(block, events, mine))
        groups.append(group[mine])
        oracles.append(oracle(kind, world, block, events)[mine])
    return Members(joined(shards), np.concatenate(groups), np.concatenate(oracles), len(planted), planted)


def shard_of(block: Block, events: Events, mine: Labels) -> Shard:
    """The records of some patients, each code once a day."""
    table = (
        pl.DataFrame({"person": events.person, "day": events.day, "code": events.code})
        .filter(pl.col("person").is_in(mine.tolist()))
        .unique()
        .sort("person", "day", "code")
    )
    visits = table.group_by("person", "day", maintain_order=True).len()
    start = np.searchsorted(visits["person"].to_numpy(), np.append(mine, BLOCK), side="left")
    return Shard(
        table["code"].to_numpy().astype(np.int32),
        np.concatenate([[0], np.cumsum(visits["len"].to_numpy())]).astype(np.int32),
        visits["day"].to_numpy().astype(np.int32),
        start.astype(np.int32),
        block.days("birth")[mine].astype(np.int32),
        np.zeros(len(mine), bool),
    )


def joined(shards: list[Shard]) -> Shard:
    """Shards one after the other."""

    def starts(name: str) -> NDArray[np.int32]:
        steps = [np.diff(getattr(shard, name)) for shard in shards]
        return np.concatenate([[0], np.cumsum(np.concatenate(steps))]).astype(np.int32)

    def values(name: str) -> NDArray[np.int32]:
        return np.concatenate([getattr(shard, name) for shard in shards])

    return Shard(
        values("tokens"),
        starts("visit_start"),
        values("visit_day"),
        starts("patient_start"),
        values("birth_day"),
        values("birth_year_only").astype(bool),
    )


def oracle(kind: groups_by_mechanism.Kind, world: World, block: Block, events: Events) -> Labels:
    """What the feature says that the groups of a mechanism differ by (BLOCK,)."""
    if kind.name == "synonyms":
        rows = [world.book.rows(family.codes) for family in groups_by_mechanism.FAMILIES.values()]
        return np.asarray(np.stack([_count(events, codes) for codes in rows]).argmax(axis=0), np.int64)
    codes = [world.book.rows([code]) for code in kind.codes]
    first, last, mean = (np.stack([how(events, code) for code in codes]) for how in (_first, _last, _mean))
    match kind.name:
        case "counts":
            said = _count(events, codes[0]) < _count(events, codes[1])
        case "age":
            said = mean[0] - block.days("birth") > (groups_by_mechanism.YOUNG + groups_by_mechanism.OLD) / 2 * YEAR
        case "interval":
            said = first[1] - first[0] > (groups_by_mechanism.SOON[1] + groups_by_mechanism.LATE[0]) / 2
        case "same-visit":
            key = events.person.astype(np.int64) * 2**20 + events.day
            shared = np.isin(key[events.code == codes[0][0]], key[events.code == codes[1][0]])
            together = np.bincount(events.person[events.code == codes[0][0]], shared, BLOCK)
            said = 2 * together < _count(events, codes[0])
        case "recurrence":
            visits = np.unique(events.person.astype(np.int64) * 2**20 + events.day + 2**18)
            person, day = visits >> 20, (visits & (2**20 - 1)) - 2**18
            within = (day >= first[0][person]) & (day <= last[0][person])
            said = np.bincount(person, within, BLOCK) > groups_by_mechanism.RECORDS
        case _:
            said = mean[0] > mean[1]
    return np.asarray(said, np.int64)


def _count(events: Events, codes: Labels) -> Labels:
    counted: Labels = np.bincount(events.person[np.isin(events.code, codes)], minlength=BLOCK)
    return counted


def _mean(events: Events, codes: Labels) -> NDArray[np.float64]:
    here = np.isin(events.code, codes)
    sums = np.bincount(events.person[here], events.day[here], BLOCK)
    return np.asarray(sums / np.maximum(np.bincount(events.person[here], minlength=BLOCK), 1), np.float64)


def _first(events: Events, codes: Labels) -> NDArray[np.float64]:
    found = np.full(BLOCK, np.inf)
    here = np.isin(events.code, codes)
    np.minimum.at(found, events.person[here], events.day[here])
    return np.where(np.isfinite(found), found, 0)


def _last(events: Events, codes: Labels) -> NDArray[np.float64]:
    found = np.full(BLOCK, -np.inf)
    here = np.isin(events.code, codes)
    np.maximum.at(found, events.person[here], events.day[here])
    return np.where(np.isfinite(found), found, 0)


def vectors(people: Members, chosen: NDArray[np.bool_]) -> Iterator[tuple[str, Floats]]:
    """Counts with SVD, profile, and course, of the chosen codes; as the pipeline computes them."""
    counts = people.counts(chosen)
    yield "counts + SVD", baseline.vectors(counts, COMPONENTS, SEED)
    occurrences = np.asarray(counts.sum(axis=0)).ravel().astype(np.int64)
    concepts = profile.profiled(occurrences, chosen)
    passed, added = np.eye(len(concepts), dtype=np.float32), profile.usual(concepts, occurrences, SMOOTHING)
    everybody, gram = np.arange(len(people.group)), profile.Gram(len(concepts))
    for rows in profile.profiles(people.shard, everybody, concepts, passed, added):
        gram.add(rows)
    basis = gram.components(min(COMPONENTS, len(concepts)))
    told = profile.features(
        people.shard, everybody, concepts=concepts, passed=passed, usual=added, basis=basis, course=True, ages=False
    )
    yield "profile", told[:, : basis.shape[1]]
    yield "course", told[:, basis.shape[1] :]


def found(people: Members, groups: int, told: Floats) -> float:
    """Adjusted Rand index of k-means, mean over its starts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # counts that are the same in everybody
        labels = [KMeans(groups, n_init=10, random_state=start).fit_predict(told) for start in range(STARTS)]
    return float(np.mean([adjusted_rand_score(people.group, one) for one in labels]))


def learned(people: Members, told: Floats) -> float:
    """AUROC of boosting with the groups of other patients as labels, each patient in turn held out in one of five parts."""
    model = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.05, max_leaf_nodes=8, random_state=0)
    score = cross_val_predict(model, told, people.group, cv=5, method="predict_proba")
    return float(roc_auc_score(people.group, score if score.shape[1] > 2 else score[:, 1], multi_class="ovr"))


def row(kind: groups_by_mechanism.Kind, blocks: int, show: Callable[[str], None]) -> tuple[str, ...]:
    """One row of the table."""
    people = members(kind, blocks)
    cells, everything = [], []
    for chosen in (np.ones(people.codes, bool), people.planted):
        told = dict(vectors(people, chosen))
        cells += [f"{found(people, len(kind.groups), own):.3f}" for own in told.values()]
        everything += list(told.values())
    cells += [f"{learned(people, np.hstack(everything)):.2f}"]
    cells += [f"{adjusted_rand_score(people.group, people.oracle):.3f}"]
    show(f"{kind.name}: {len(people.group)} {cells}")
    return kind.name, f"{len(people.group):,}", *cells, kind.seen_by


def main() -> None:
    """Measure all mechanisms, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=4, help="thousands of patients of each world")
    parser.add_argument(
        "--kinds", nargs="+", choices=list(groups_by_mechanism.KINDS), default=list(groups_by_mechanism.KINDS)
    )
    options = parser.parse_args()
    rows = [
        row(groups_by_mechanism.KINDS[name], options.blocks, lambda line: print(line, flush=True))
        for name in options.kinds
    ]
    header = (
        "Mechanism", "Patients", "Counts + SVD", "Profile", "Course", "Counts + SVD of the findings", "Their profile",
        "Their course", "Boosting on all six, AUROC", "Oracle", "Seen by",
    )  # fmt: skip
    text = (
        f"Adjusted Rand index by k-means with as many clusters as groups, mean of {STARTS} starts, among the members of the groups"
        f" ({options.blocks * BLOCK:,} patients drawn in each world, seed {SEED}; chance is 0). *Of the findings*: of the"
        " planted codes alone. Boosting knows the groups of four fifths of the patients; chance is 0.5."
    )
    if options.kinds == list(groups_by_mechanism.KINDS):
        results.write("world_groups.py", "Groups by mechanism", f"{text}\n\n{results.table(header, rows)}")


if __name__ == "__main__":
    main()
