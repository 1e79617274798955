"""Change over time: how often the page tells of one where nobody changes, and how many of the planted changes it finds.

Cohorts are drawn from worlds (docs/worlds.md) in memory: 1,000 patients each by default, everybody in the cohort. Records and
windows are embedded through the transform of the pipeline, from the concepts of the types that are pooled by default; in place of
a trained network, each concept has a random vector, which decides a tenth of the distances. Clusters, windows and their votes are
those of the pipeline. Two rules are compared: the difference between there and back alone (McNemar's exact test), and the rule of
the page (`trajectories.expected`).

A planted change, from one group to another, counts as found if a move is told between two clusters that stand for these groups. It
counts as one that windows can show if at least 20 patients have their first window before it, and their last window after it.

Usage: python benchmarks/evolution.py [--plans ageing change null base] [--seeds 21 22 23] [--cohorts 5] [--size 1000]; minutes
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import results
import torch
from numpy.typing import NDArray
from scipy.stats import binom, binomtest
from world_groups import joined, shard_of

from ehr_pipeline.clusters.assign import nearest_clustered, vote
from ehr_pipeline.clusters.many_tests import benjamini_hochberg
from ehr_pipeline.clusters.methods import cluster
from ehr_pipeline.concepts.substitutes import Substitutes
from ehr_pipeline.embeddings import transform, windows
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.pooling import ChunkVectors
from ehr_pipeline.embeddings.settings import SYMPTOM_AND_DIAGNOSIS_TYPES, VectorSettings
from ehr_pipeline.embeddings.transform import Part, Sample, Transform
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.reports.sections.evolution import MAX_Q
from ehr_pipeline.synthetic.worlds.change import CHANGES, STATES
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, Block, Mechanism
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.write import draw
from ehr_pipeline.trajectories import expected
from ehr_pipeline.trajectories.settings import TrajectoriesSettings
from ehr_pipeline.trajectories.transitions import FEWEST_MOVES, log_p_beyond

CLUSTERS, NEIGHBOURS, WIDTH = 20, 15, 16
FEWEST_VISITS, FEWEST_RECORDS = 3, 15
TO_BE_SHOWN = 20
NEVER = np.iinfo(np.int32).max
RULES = ("the difference alone", "beyond what is expected")
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Way = tuple[int, int]


@dataclass(frozen=True)
class People:
    """Patients of one cohort. Axis: n."""

    shard: Shard
    disease: Integers
    female: Integers
    group: Integers
    """First group; -1 for none."""
    joins: Integers
    """The group that the patient changes to; -1 for none."""
    on: Integers
    """Day of the change; NEVER for none."""

    @classmethod
    def drawn(cls, mechanisms: list[Mechanism], world: World, blocks: range) -> "People":
        """Draw the patients of some blocks who have enough visits."""
        shards, columns = [], []
        for number in blocks:
            block, events = draw(mechanisms, world, number)
            person = np.unique(np.stack([events.person, events.day]), axis=1)[0]
            mine = np.flatnonzero(np.bincount(person, minlength=BLOCK) >= FEWEST_VISITS)
            shards.append(shard_of(block, events, mine))
            told = [block.days(name) for name in ("disease", "female", "group")]
            columns.append(np.stack([*told, *_changes(block)])[:, mine])
        return cls(joined(shards), *np.concatenate(columns, axis=1).astype(np.int64))


def _changes(block: Block) -> tuple[Integers, Integers]:
    joins, on = np.full(BLOCK, -1), np.full(BLOCK, NEVER)
    if (table := block.truth.get("changes")) is not None and table.height:
        who = table["person"].to_numpy()
        joins[who] = [list(STATES).index(name) for name in table["to_group"]]
        on[who] = table["date"].to_physical().to_numpy()
    return joins, on


@dataclass(frozen=True)
class Divided:
    """First and last windows of the patients with two or more, with the clusters that whole records vote for."""

    ends: expected.Ends
    who: Integers
    """Patients (m,)."""
    dates: Integers
    """Last day of the first window, first day of the last one (2, m)."""
    clusters: tuple[Integers, Integers]
    whole: Integers
    """Clusters of the whole records (n,)."""
    unit: NDArray[np.float32]

    def assign(self, rows: Integers, vectors: NDArray[np.float32]) -> Integers:
        """Clusters of vectors that belong to patients `rows` of the windows."""
        found = nearest_clustered(vectors, self.unit, self.who[rows], NEIGHBOURS)
        return vote(found, self.whole, CLUSTERS)[0]

    @property
    def flows(self) -> Integers:
        """How many went from row to column cluster."""
        pairs = np.bincount(self.clusters[0] * CLUSTERS + self.clusters[1], minlength=CLUSTERS**2)
        return pairs.reshape(CLUSTERS, CLUSTERS)


def _part(shard: Shard, weights: NDArray[np.float32], concepts: NDArray[np.float32]) -> Part:
    """All patients of a shard; the one chunk of each is the mean of the random vectors of its concepts."""
    count = len(shard.birth_day)
    own = weights[shard.tokens] > 0
    owner = np.repeat(np.arange(count), np.diff(shard.patient_tokens))[own]
    size = np.bincount(owner, minlength=count)
    sums = np.stack([np.bincount(owner, axis[shard.tokens[own]], count) for axis in concepts.T], axis=1)
    has = np.flatnonzero(size)
    means = (sums[has] / size[has, None]).astype(np.float32)
    return Part(shard, np.arange(count), ChunkVectors(means, has, size[has].astype(np.float32), size[has]))


def _learned(shard: Shard, world: World, seed: int) -> tuple[Transform, NDArray[np.float32]]:
    """The transform of a cohort, and the random vectors of concepts."""
    rng = np.random.default_rng([seed, 1])
    types = np.array([kind or "" for kind in world.book.table.codes["tui"].to_list()])
    counts = np.bincount(shard.tokens, minlength=len(types))
    weights = (np.isin(types, SYMPTOM_AND_DIAGNOSIS_TYPES) & (counts >= FEWEST_RECORDS)).astype(np.float32)
    concepts = rng.normal(size=(len(types), WIDTH)).astype(np.float32)

    def halves() -> tuple[Shard, Shard]:
        half = rng.random(len(shard.visit_day)) < 0.5
        return shard.keep_visits(half), shard.keep_visits(~half)

    one, other = (_part(half, weights, concepts) for half in halves())
    sample = Sample(_part(shard, weights, concepts), (one, other), halves())
    chosen = replace(VectorSettings(), kinship=0.0, habits="")
    learned, _ = transform.fit(
        chosen, weights, concepts, substitutes=Substitutes.none(), occurrences=counts, samples=[sample], seed=seed
    )
    return learned, concepts


def divided(people: People, world: World, seed: int) -> Divided:
    """Embed whole records and windows, and cluster the patients."""
    chosen = TrajectoriesSettings()
    learned, concepts = _learned(people.shard, world, seed)
    whole = learned.apply(_part(people.shard, learned.weights, concepts)).vectors_PD
    labels = cluster(whole, "spectral", CLUSTERS, NEIGHBOURS, seed)
    made = windows.split(people.shard, np.arange(len(people.group)), "record", chosen.years)
    pooled = learned.apply(_part(made.shard, learned.weights, concepts))
    kept = np.flatnonzero(pooled.tokens >= chosen.min_concepts)
    owner = made.owner[kept]
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    last = np.append(first[1:], len(owner)) - 1
    pair = kept[np.stack([first, last])[:, last > first]]
    who, starts = made.owner[pair[0]], made.shard.patient_start
    days = made.shard.visit_day[starts[pair]], made.shard.visit_day[starts[pair + 1] - 1]
    middle = (days[0].astype(float) + days[1]) / 2
    ends = expected.Ends(
        pooled.vectors_PD[pair[0]],
        pooled.vectors_PD[pair[1]],
        (people.disease[who], people.female[who]),
        ((middle - people.shard.birth_day[who]) / DAYS_IN_YEAR).T,
        np.column_stack([middle[0] / DAYS_IN_YEAR, np.log(pooled.tokens[pair]).T]),
    )
    bare = Divided(ends, who, np.stack([days[1][0], days[0][1]]), (who, who), labels, unit_length(whole))
    rows = np.arange(len(who))
    return replace(bare, clusters=(bare.assign(rows, ends.first), bare.assign(rows, ends.last)))


def told(flows: Integers, log_p: Floats) -> list[Way]:
    """The moves told: pairs of clusters, in the direction of most patients."""
    row, column = np.nonzero(np.triu(np.isfinite(log_p), 1))
    if not len(row):
        return []
    chosen = benjamini_hochberg(log_p[row, column]) < np.log(MAX_Q)
    ways = zip(row[chosen].tolist(), column[chosen].tolist(), strict=True)
    return [(a, b) if flows[a, b] > flows[b, a] else (b, a) for a, b in ways]


def by_difference(flows: Integers) -> Floats:
    """ln p of the exact test that as many go there as back, as the page had it; NaN where nobody moves."""
    both = flows + flows.T
    found = np.minimum(np.log(2) + binom.logcdf(np.minimum(flows, flows.T), both, 0.5), 0)
    return np.where((both > 0) & ~np.eye(len(flows), dtype=bool), found, np.nan)


@dataclass(frozen=True)
class Found:
    """What one rule tells of one cohort."""

    false: int
    """Moves that do not stand for a planted change."""
    ways: frozenset[Way]
    """Planted changes that were found."""


def judged(people: People, windows: Divided, planted: set[Way]) -> Iterator[Found]:
    """What each of RULES tells."""
    flows = windows.flows
    due = expected.flows(windows.ends, windows.clusters[0], CLUSTERS, windows.assign)
    steady = people.on == NEVER
    votes = np.zeros((CLUSTERS, people.group.max() + 1))
    grouped = steady & (people.group >= 0)
    np.add.at(votes, (windows.whole[grouped], people.group[grouped]), 1)
    meaning = votes.argmax(1).tolist()
    none = np.full(flows.shape, np.nan)
    for log_p in (by_difference(flows), none if due is None else log_p_beyond(flows, due)):
        moves = [(meaning[a], meaning[b]) for a, b in told(flows, log_p)]
        right = [way for way in moves if way in planted]
        yield Found(len(moves) - len(right), frozenset(right))


def to_be_shown(people: People, windows: Divided) -> set[Way]:
    """Planted changes that enough patients went through between their first window and their last."""
    on = people.on[windows.who]
    between = (windows.dates[0] < on) & (on <= windows.dates[1])
    ways = list(
        zip(people.group[windows.who][between].tolist(), people.joins[windows.who][between].tolist(), strict=True)
    )
    return {way for way in set(ways) if ways.count(way) >= TO_BE_SHOWN}


def share(hits: int, of: int) -> str:
    """A share with its exact 95 % interval."""
    if not of:
        return ""
    low, high = binomtest(hits, of).proportion_ci()
    return f"{hits} of {of}: {100 * hits / of:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def row(plan: str, seeds: list[int], cohorts: int, size: int) -> tuple[object, ...]:
    """One row of the table: all cohorts of a plan."""
    names = list(STATES)
    planted = (
        {(names.index(left), names.index(joined)) for left, joined in CHANGES.items()} if plan == "change" else set()
    )
    false, moves, right, shown = [0, 0], [0, 0], [0, 0], 0
    blocks = size // BLOCK
    for seed in seeds:
        world = World.of(seed, 1.0)
        mechanisms = make(world, [plan])
        for number in range(cohorts):
            people = People.drawn(mechanisms, world, range(number * blocks, (number + 1) * blocks))
            windows = divided(people, world, seed)
            can = to_be_shown(people, windows) & planted
            shown += len(can)
            for rule, found in enumerate(judged(people, windows, planted)):
                false[rule] += found.false > 0
                moves[rule] += found.false
                right[rule] += len(found.ways & can)
            print(plan, size, seed, number, false, moves, right, shown, flush=True)
    count = len(seeds) * cohorts
    cells: list[str] = []
    for rule in range(len(RULES)):
        cells += [share(false[rule], count), str(moves[rule]), share(right[rule], shown)]
    return plan, *cells


def main() -> None:
    """Measure all plans, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", nargs="+", default=["ageing", "null", "base", "change"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22, 23])
    parser.add_argument("--cohorts", type=int, default=5, help="of each seed")
    parser.add_argument(
        "--size", type=int, nargs="+", default=[1000, 3000], help="patients drawn for a cohort, in whole thousands"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    header = ["World"]
    for rule in RULES:
        header += [f"{rule}: cohorts with a false move", "false moves", "planted changes found"]
    for size in options.size:
        rows = [row(plan, options.seeds, options.cohorts, size) for plan in options.plans]
        text = (
            f"Seeds {', '.join(map(str, options.seeds))}, {options.cohorts} of each; {CLUSTERS} clusters; windows of"
            f" {TrajectoriesSettings().years:g} years from the first visit; BH value under {MAX_Q}, at least {FEWEST_MOVES}"
            f" moves. Planted changes: those that at least {TO_BE_SHOWN} patients went through between their first window and"
            " their last."
        )
        heading = f"Cohorts of {size:,} drawn patients"
        results.write_part(
            "evolution.py", "Change over time", heading, f"{text}\n\n{results.table(tuple(header), rows)}"
        )


if __name__ == "__main__":
    main()
