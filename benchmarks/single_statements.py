"""How often are statements made that need no encoder: names by what a cluster has less often, clusters of some practices, and a
day of the year that stands out?

Each cohort is a block of 1,000 patients of a world, all with one of five skin diseases. Clusters are groups drawn at random, which
say nothing of a patient, or k-means of counts with SVD in place of the page's vectors. What follows is the page's own code. In
some of the random groups, a concept is planted: most of its records are removed from one group, or it is added to half of a group.
What was measured is kept in WORK; `--write` adds it to docs/error_rates.md.

Usage: python benchmarks/single_statements.py --work FOLDER [--cohorts 40]; then with --write
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rates
import results
from error_rates import commit, write
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from world_groups import shard_of

from ehr_pipeline.clusters import baseline, marker_concepts
from ehr_pipeline.clusters.mark_test import Halves, root_shares
from ehr_pipeline.clusters.matching import Matching
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.reports import cards
from ehr_pipeline.reports.cards import ConceptRow
from ehr_pipeline.reports.record_spans import Spans, count_by_day
from ehr_pipeline.reports.uneven_clusters import uneven
from ehr_pipeline.synthetic.people import PRACTICES
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, Block, Events
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.write import draw

TITLE = "Names by what is less often, clusters of some practices, and days of the year"
SEED, FIRST = 0, 700
"""Seed of the worlds, and the block with which the cohorts begin."""
GROUPS, CLUSTERS, COMPONENTS, FEW = 5, 10, 64, 100
REMOVED, ADDED, USUAL = 0.9, 0.5, (0.1, 0.4)
"""Share of a concept's records that are removed from a group; share of a group to whom it is added; and in how many patients the
concept is recorded."""
NOT_SHOWN = dict.fromkeys(("elsewhere", "patients", "ratio", "lift", "interval", "p", "q", "p_patients"), "")
"""Columns of a card that decide nothing about a name."""
PLANS = ("null", "practices-strong", "sites")
Labels = NDArray[np.int64]
STATEMENTS = (
    "a cluster is named by what it has less often",
    "a name tells a wrong concept as less often",
    "a cluster comes from other practices",
    "a day of the year stands out",
)


def counts_of(shard: Shard, chosen: NDArray[np.bool_], codes: int) -> csr_array:
    """Visits with each code (patients, codes), among the chosen visits."""
    patients = len(shard.birth_day)
    visit = np.repeat(np.arange(len(shard.visit_day)), np.diff(shard.visit_start))
    owner = np.repeat(np.arange(patients), np.diff(shard.patient_start))[visit]
    here = chosen[visit]
    counted = csr_array((np.ones(int(here.sum())), (owner[here], shard.tokens[here])), shape=(patients, codes))
    counted.sum_duplicates()
    return counted


def titles(
    block: Block, shard: Shard, labels: Labels, codes: int, rng: np.random.Generator
) -> Iterator[list[ConceptRow]]:
    """The rows of each cluster from which its name is made: its marks, as the page finds them."""
    first = rng.random(len(shard.visit_day)) < 0.5
    parts = [counts_of(shard, chosen, codes) for chosen in (first, ~first)]
    whole = (parts[0] + parts[1]).tocsr()
    both = np.flatnonzero(np.diff(parts[0].indptr).astype(bool) & np.diff(parts[1].indptr).astype(bool))
    disease, practice, sex = (np.asarray(block.days(name)) for name in ("disease", "practice", "female"))
    visits = np.maximum(np.diff(shard.patient_start), 1)
    owner = np.repeat(np.arange(len(labels)), np.diff(shard.patient_start))
    ages = np.bincount(owner, shard.visit_day, len(labels)) / visits - shard.birth_day
    alike = Matching(((disease, sex), (disease, practice)), (ages, np.diff(whole.indptr)))
    roots = [root_shares(part[both]) for part in parts]
    halves = Halves((labels[both], labels[both]), (roots[0], roots[1]))
    marks = marker_concepts.test(halves, alike.among(both).blockings(), whole, labels, np.arange(labels.max() + 1))
    has = whole > 0
    for number in range(labels.max() + 1):
        inside, outside = (np.asarray(has[rows].mean(axis=0)).ravel() for rows in (labels == number, labels != number))
        log_p = dict(zip(marks.tokens.tolist(), marks.log_p[number], strict=True))
        yield [
            ConceptRow(
                name=str(token),
                concept=str(token),
                over=more,
                share=f"{inside[token]:.0%}",
                **NOT_SHOWN,
                importance=-log_p[token],
                strong=more,
                lifted=bool(inside[token] > outside[token]),
            )
            for more in (True, False)
            for token in marks.ranked(number, more=more)
        ]


def less_often(rows: list[ConceptRow]) -> list[str]:
    """The concepts that a cluster's name tells as less often."""
    under = [row.name for row in rows if not row.over]
    return under[: cards.TITLE] if cards.title(rows, "").startswith("less often") else []


def planted(shard: Shard, events: Events, labels: Labels, less: bool, rng: np.random.Generator) -> tuple[Events, int]:
    """The events with one concept recorded less, or more, often in group 0, and that concept."""
    pairs = np.unique(np.stack([events.person, events.code]), axis=1)
    share = np.bincount(pairs[1]) / BLOCK
    code = int(rng.choice(np.flatnonzero((share > USUAL[0]) & (share < USUAL[1]))))
    if less:
        gone = (events.code == code) & (labels[events.person] == 0) & (rng.random(len(events.code)) < REMOVED)
        return events.where(~gone), code
    owner = np.repeat(np.arange(BLOCK), np.diff(shard.patient_start))
    chosen = (labels == 0) & (rng.random(BLOCK) < ADDED)
    rows = rng.permutation(np.flatnonzero(chosen[owner]))
    rank = np.empty(len(rows), np.int64)
    order = np.argsort(owner[rows], kind="stable")
    begin = np.searchsorted(owner[rows][order], owner[rows][order])
    rank[order] = np.arange(len(rows)) - begin
    rows = rows[rank < 4]
    return Events.joined([events, Events.of(owner[rows], shard.visit_day[rows], np.full(len(rows), code))]), code


def stands_out(shard: Shard) -> int:
    """Whether the page says that a day of the year stands out."""
    none = np.zeros(0, np.int64)
    return int(Spans(none, none, none.astype(bool), count_by_day(shard)).day_that_stands_out() is not None)


def measured(plan: str, number: int) -> Iterator[tuple[str, int, int, dict[str, Any]]]:
    """Kind of world, size and number of each cohort, and what is said of it."""
    world = World.of(SEED, 1.0)
    block, events = draw(make(world, [plan]), world, FIRST + number)
    everybody, codes, rng = np.arange(BLOCK), len(world.book.codes), np.random.default_rng([SEED, number])
    shard = shard_of(block, events, everybody)
    whole = counts_of(shard, np.ones(len(shard.visit_day), bool), codes)
    vectors = baseline.vectors(whole.astype(np.float32), COMPONENTS, SEED)
    clusters = KMeans(CLUSTERS, n_init=2, random_state=SEED).fit_predict(vectors).astype(np.int64)
    practice = block.days("practice")
    named = {"of some practices": len(uneven(practice.astype(str), clusters, seed=number))}
    yield plan, BLOCK, number, named | {"day": stands_out(shard)}
    for part in range(BLOCK // FEW):
        few = shard_of(block, events, everybody[part * FEW : (part + 1) * FEW])
        yield plan, FEW, number * (BLOCK // FEW) + part, {"day": stands_out(few)}
    groups = rng.integers(0, GROUPS, BLOCK)
    if plan != "sites":
        said = [less_often(rows) for rows in titles(block, shard, groups, codes, rng)]
        yield f"{plan}-random-groups", BLOCK, number, {"less often": sum(map(bool, said)), "wrong": sum(map(len, said))}
    if plan == "null":
        some = np.isin(practice[events.person], (number % len(PRACTICES), (number + 7) % len(PRACTICES)))
        new_year = events.day.astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
        dated = Events.of(events.person, np.where(some, new_year, events.day), events.code)
        yield "two-practices-on-1-January", BLOCK, number, {"day": stands_out(shard_of(block, dated, everybody))}
        for name, less in (("one-concept-less", True), ("one-concept-more", False)):
            changed, code = planted(shard, events, groups, less, rng)
            told = list(titles(block, shard_of(block, changed, everybody), groups, codes, rng))
            said = [less_often(rows) for rows in told]
            wrong = sum(one != str(code) for names in said for one in names)
            right = str(code) in said[0] if less else any(str(code) in names for names in said[1:])
            yield name, BLOCK, number, {"less often": int(right), "wrong": wrong}


def main() -> None:
    """Measure the cohorts asked for, or write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what was measured")
    parser.add_argument("--cohorts", type=int, default=40, help="cohorts of 1,000 patients of each world")
    parser.add_argument("--write", action="store_true", help="only write what was measured")
    options = parser.parse_args()
    if options.write:
        known = json.loads(rates.COUNTS.read_text(encoding="utf-8"))[rates.NOW]
        write(options.work, rates.NOW, known["note"], STATEMENTS)
        told = json.loads(rates.COUNTS.read_text(encoding="utf-8"))
        results.write("single_statements.py", TITLE, rates.section(told, "error_rates.py", only=STATEMENTS))
        return
    for number in range(options.cohorts):
        for plan in PLANS:
            if (options.work / plan / str(BLOCK) / str(number)).is_dir():
                continue
            found = list(measured(plan, number))
            for kind, size, place, said in reversed(found):  # the first one last: it tells that all are there
                path = options.work / kind / str(size) / str(place) / f"{rates.NOW}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(said | {"commit": commit()}), encoding="utf-8")
            print(plan, number, [(kind, said) for kind, size, _, said in found if size == BLOCK], flush=True)


if __name__ == "__main__":
    main()
