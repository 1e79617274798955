"""Which concepts go together, on worlds where that is known; and the time and memory of counting.

World `relations`: 20 pairs within visits, 20 pairs of which the second follows in 6 to 24 months, and 40 concepts of old age,
related through age alone. All pairs of these 120 concepts are ranked. The encoder is not asked: the consensus is that of counts.

Usage: python benchmarks/relations.py [--seeds 1 2 3] [--blocks 10] [--sizes 30e6:1000 30e6:2000]
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import results
from numpy.typing import NDArray
from scipy import stats
from world_groups import shard_of

from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.relations import consensus, counting, evidence, graph_comparison, occurrences
from ehr_pipeline.relations.evidence import AFTER, SIMILAR, VISIT, Evidence
from ehr_pipeline.relations.occurrences import Source
from ehr_pipeline.relations.settings import RelationsSettings
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.relations import Relations
from ehr_pipeline.synthetic.worlds.write import draw

SETTINGS, TITLE = RelationsSettings(), "Which concepts go together"
PER_PATIENT, PER_VISIT, SHARD, PRACTICES = 100, 3, 10_000, 1500
SIZES = [
    *((rows, 1000) for rows in (3_000_000, 10_000_000, 30_000_000)),
    *((30_000_000, concepts) for concepts in (500, 2000, 4000)),
]


@dataclass(frozen=True)
class Truth:
    """Planted pairs by place (20, 2) of each kind, among n concepts."""

    within: NDArray[np.int64]
    lag: NDArray[np.int64]
    aged: NDArray[np.int64]
    concepts: int

    def flags(self, *kinds: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Pairs (n, n) of some kinds, in both orders."""
        found = np.zeros((self.concepts, self.concepts), bool)
        for pairs in kinds:
            found[pairs[:, 0], pairs[:, 1]] = found[pairs[:, 1], pairs[:, 0]] = True
        return found

    @property
    def through_age(self) -> NDArray[np.bool_]:
        """Pairs (n, n) of two concepts of old age: none of them is related at one age."""
        old = np.isin(np.arange(self.concepts), self.aged)
        return old[:, None] & old


def measured(seed: int, blocks: int, practices: bool = True) -> tuple[Evidence, Truth]:
    """Count a world. `practices`: whether they are known."""
    world = World.of(seed, 0.5)
    mechanisms = make(world, ["relations"])
    planted = next(one for one in mechanisms if isinstance(one, Relations)).pairs
    place = np.full(len(world.book.codes), -1, np.int32)
    place[planted.ravel()] = np.arange(planted.size)
    within, lag, aged = np.arange(planted.size).reshape(planted.shape)

    def sources() -> Iterator[Source]:
        for number in range(blocks):
            block, events = draw(mechanisms, world, number)
            sex, practice = block.people["female"].astype(np.int64), block.days("practice")
            yield Source(shard_of(block, events, np.arange(BLOCK)), sex, practice if practices else np.full(BLOCK, -1))

    return counted(sources(), place, seed, blocks), Truth(within, lag, aged, planted.size)


def counted(sources: Iterator[Source], place: NDArray[np.int32], seed: int, total: int) -> Evidence:
    """Count shards, and compute all measures."""
    with tempfile.TemporaryDirectory() as work:
        read = occurrences.read(sources, place, SETTINGS.after_days, seed=seed, work=Path(work), total=total)
        return evidence.counted(read, counting.count(read, SETTINGS.after_days))


def row(seed: int, blocks: int) -> tuple[tuple[str, ...], tuple[float, float]]:
    """Figures of one world, and the share that is false of pairs that qualify, and of ordered pairs by the relative risk."""
    found, truth = measured(seed, blocks)
    upper = np.triu_indices(truth.concepts, 1)
    agreed = consensus.agree(found, SETTINGS, seed, (VISIT, SIMILAR))
    related, aged = truth.flags(truth.within, truth.lag), truth.through_age
    raw = found["log_odds_by_patient"]
    assert raw.q is not None
    by_counts = (raw.q[upper] <= SETTINGS.max_q) & (raw.value[upper] > 0)
    passed = agreed.qualified[upper]
    heavy = graph_comparison.edges_of(raw.weights, SETTINGS.edges_per_concept * truth.concepts)
    ordered, right = directions(found, agreed.qualified, truth)
    false = ~related[upper][passed]
    risk = found[AFTER]
    assert risk.q is not None
    alone = agreed.only_in_order
    later = (risk.q <= SETTINGS.max_q) & (risk.value > 1)
    wrong = later & ~related
    figures = (
        str(seed),
        f"{graph_comparison.average_precision(found[VISIT].weights, truth.within):.3f}",
        f"{graph_comparison.average_precision(agreed.graph.weights, truth.within):.3f}",
        f"{graph_comparison.average_precision(agreed.graph.weights, np.concatenate([truth.within, truth.lag])):.3f}",
        f"{ordered:.3f}",
        f"{right:.0%}",
        f"{aged[upper][by_counts].mean():.0%} of {by_counts.sum()}",
        f"{aged[heavy[:, 0], heavy[:, 1]].mean():.0%}",
        f"{aged[upper][passed].sum()} of {passed.sum()}",
        f"{false.sum()} of {len(false)}",
        f"{wrong.sum()} of {later.sum()}",
        f"{later[*truth.lag.T].sum()} of {len(truth.lag)}",
        f"{(~related)[*alone.T].sum()} of {len(alone)}",
    )
    return figures, (_share(false.sum(), len(false)), _share(wrong.sum(), later.sum()))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def false_share(shares: NDArray[np.float64], which: str) -> str:
    """The mean share of false pairs; worlds are the units, since the pairs of one world share concepts."""
    mean = f"On the average {shares.mean():.1%} of the {which} are false"
    if len(shares) < 2:
        return f"{mean}."
    wide = stats.t.ppf(0.975, len(shares) - 1) * shares.std(ddof=1) / np.sqrt(len(shares))
    return f"{mean} (95 % interval over {len(shares)} worlds: {max(shares.mean() - wide, 0):.1%} to {shares.mean() + wide:.1%})."


def directions(found: Evidence, qualified: NDArray[np.bool_], truth: Truth) -> tuple[float, float]:
    """The average precision of ordered pairs, and the share of the planted ones whose order is right."""
    deviate, low = found.comes_first.deviate, found[AFTER].low
    assert low is not None
    score = np.where(qualified & (np.nan_to_num(low) > 1), np.nan_to_num(deviate), -np.inf)
    true = np.zeros(score.shape, bool)
    true[truth.lag[:, 0], truth.lag[:, 1]] = True
    apart = ~np.eye(len(true), dtype=bool)
    ranked = true[apart][np.lexsort((true[apart], -score[apart]))]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    first, second = truth.lag.T
    return float(precision[ranked].mean()), float((deviate[first, second] > 0).mean())


def random_records(rows: int, concepts: int) -> Iterator[Source]:
    """Records of patients with PER_PATIENT rows each, of concepts as unequally frequent as words are."""
    rng = np.random.default_rng(1)
    share = 1 / np.arange(1, concepts + 1)
    visits = PER_PATIENT // PER_VISIT
    for _ in range(max(rows // (PER_PATIENT * SHARD), 1)):
        tokens = rng.choice(concepts, SHARD * visits * PER_VISIT, p=share / share.sum()).astype(np.int32)
        days = np.sort(rng.integers(7000, 18_000, (SHARD, visits)), axis=1).astype(np.int32)
        starts = np.arange(SHARD * visits + 1, dtype=np.int32)
        shard = Shard(
            tokens,
            starts * PER_VISIT,
            days.ravel(),
            starts[::visits],
            rng.integers(-25_000, 6000, SHARD).astype(np.int32),
            np.zeros(SHARD, bool),
        )
        yield Source(shard, rng.integers(0, 2, SHARD), rng.integers(0, PRACTICES, SHARD))


def speed(rows: int, concepts: int) -> None:
    """Count random records, and print seconds, seconds of drawing, processor seconds, and the peak of memory in GB."""
    drawing = 0.0

    def drawn() -> Iterator[Source]:
        nonlocal drawing
        sources = random_records(rows, concepts)
        while True:
            began = time.perf_counter()
            source = next(sources, None)
            drawing += time.perf_counter() - began
            if source is None:
                return
            yield source

    began = time.perf_counter()
    counted(drawn(), np.arange(concepts, dtype=np.int32), 1, rows // (PER_PATIENT * SHARD))
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = time.perf_counter() - began
    print(seconds - drawing, drawing, used.ru_utime + used.ru_stime - drawing, used.ru_maxrss / 2**20)


def size(text: str) -> tuple[int, int]:
    """Rows and concepts of `30e6:1000`."""
    rows, concepts = text.split(":")
    return int(float(rows)), int(concepts)


def speed_row(rows: int, concepts: int) -> tuple[str, ...]:
    """Figures of one size, counted in a process of its own: the peak of memory is that of a process."""
    busy = os.getloadavg()[0]
    command = [sys.executable, __file__, "--one", f"{rows}:{concepts}"]
    found = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    seconds, drawing, processor, peak = map(float, found.stdout.split()[-4:])
    sizes = f"{rows:,}", f"{rows // PER_PATIENT:,}", f"{concepts:,}"
    return *sizes, f"{seconds:.0f}", f"{processor:.0f}", f"{peak:.1f}", f"{drawing:.0f}", f"{busy:.1f}"


def main() -> None:
    """Measure, and write the section, part by part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(1, 16)))
    parser.add_argument("--blocks", type=int, default=3, help="thousands of patients of each world")
    parser.add_argument("--sizes", type=size, nargs="*", default=SIZES, help="rows:concepts")
    parser.add_argument("--one", type=size, help="count one size and print its figures")
    options = parser.parse_args()
    if options.one:
        speed(*options.one)
        return
    if options.sizes:
        header = (
            "Rows", "Patients", "Concepts", "Seconds", "Processor seconds", "GB at the peak, Python and libraries included",
            "Seconds of drawing, apart", "Processes of others that ran or waited before (mean of a minute)",
        )  # fmt: skip
        text = (
            f"Random records: {PER_PATIENT} rows a patient, {PER_VISIT} a visit, {PRACTICES:,} practices, concepts as unequally"
            " frequent as words. Reading, counting and all measures; one process of two threads for each size. Where others work on"
            " the machine, processor seconds say more than seconds.\n\n"
            + results.table(header, [speed_row(*one) for one in options.sizes])
        )
        results.write_part("relations.py", TITLE, "Time and memory", text)
    if options.seeds:
        columns = (
            "Seed", "Within visits: AP of Jaccard by visit", "AP of the consensus",
            "Within visits or with a lag: AP of the consensus",
            "Ordered pairs: AP", "Order right", "Of old age alone, of pairs by Fisher's test (q ≤ 0.05)",
            "of the 600 heaviest by odds ratio", "of pairs that qualify", "Pairs that qualify and are false",
            "Ordered pairs by the relative risk alone (q ≤ 0.05) that are false", "Planted with a lag that it tells",
            "Pairs only in order that are false",
        )  # fmt: skip
        rows = [row(seed, options.blocks) for seed in options.seeds]
        shares = np.array([shares for _, shares in rows])
        text = (
            f"World `relations`, {options.blocks * BLOCK:,} patients; 7,140 pairs of the 120 planted concepts, 20 of each kind; AP"
            " is the average precision, chance is 0.003. The consensus is of counts alone, without an encoder.\n\n"
            + results.table(columns, [figures for figures, _ in rows])
            + f"\n\n{false_share(shares[:, 0], 'pairs that qualify')}"
            + f" {false_share(shares[:, 1], 'ordered pairs that the relative risk tells alone')}"
        )
        results.write_part("relations.py", TITLE, "Planted pairs", text)


if __name__ == "__main__":
    main()
