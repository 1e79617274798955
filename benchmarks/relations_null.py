"""Pairs and ordered pairs that are told although nothing but attendance relates them, on worlds without planted pairs.

World `null`: diagnoses are related by frailty, by factors, or as codes of one diagnosis; all other disorders are complaints that
are recorded at consultations, so that two of them share only how often the patient comes. A pair is false if it has no such
relation. Compared are disorders that at least 30 patients have, at most 1,000. Four ways to test the same counts are compared: by
thirds or more parts of the amount of record, which is the number of visits or of different concepts; by a normal deviate or by the
binomial tail. Three ways to test the same relative risks of ordered pairs are compared: by the normal deviate of the logarithm,
less what is usual for the two concepts; by the binomial tail; and by the tail, less what is usual.

Last, all but the most frequent disorders are removed from the records, as in an extract with few concepts.

Usage: python benchmarks/relations_null.py [--seeds 41 51 52 53 54 55] [--blocks 5] [--large 61:20]; some minutes
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import results
from numpy.typing import NDArray
from world_groups import shard_of

from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.relations import consensus, counting, evidence, measures, occurrences
from ehr_pipeline.relations.evidence import AFTER, SIMILAR, VISIT
from ehr_pipeline.relations.measures import OddsSums
from ehr_pipeline.relations.occurrences import Occurrences, Source
from ehr_pipeline.relations.settings import RelationsSettings
from ehr_pipeline.synthetic.worlds.care import Care
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.relations import Sites
from ehr_pipeline.synthetic.worlds.write import draw

SETTINGS, FEWEST = RelationsSettings(), 30
FEW = (15, 30, 60, 120, 240)
TITLE = "Pairs told where only attendance relates them"
ORDERED = ("normal, less what is usual", "tail", "tail, less what is usual")
WAYS = (("visits", 3, "normal"), ("visits", 3, "tail"), ("visits", 0, "tail"), ("concepts", 0, "tail"))
"""Amount of record, parts (0: as many as are in use), and test: as it was first, and step by step to what it is."""


@dataclass(frozen=True)
class Counted:
    """Records of a world, and which pairs of the compared concepts its mechanisms relate (n, n)."""

    read: Occurrences
    related: NDArray[np.bool_]


def relations(care: Care) -> NDArray[np.bool_]:
    """Diagnoses (d, d) that are related: both depend on frailty, or one factor leads to both, or one leads to the other."""
    table = care.diagnoses
    leads = np.eye(len(table.names), dtype=bool)
    for name in table.names:
        for factor in table.factors_of(name):
            leads[table.index(factor.factor), table.index(name)] = True
    for _ in table.names:
        leads = leads @ leads
    frail = np.array([row.frail for row in table.rows])
    return np.asarray((leads.T @ leads) | (frail[:, None] & frail))


def drawn(seed: int, blocks: int, work: Path, plans: Sequence[str] = ("null",), *, few: int = 0) -> Counted:
    """Draw and read a world. A code that a second site writes in place of another has the meaning of that other one. With `few`,
    the records contain no concepts but so many of the most frequent disorders."""
    world = World.of(seed, 0.5)
    mechanisms = make(world, plans)
    care = next(one for one in mechanisms if isinstance(one, Care))
    sources, names = [], world.book.names
    patients = np.zeros(len(names), np.int64)
    for number in range(blocks):
        block, events = draw(mechanisms, world, number)
        shard = shard_of(block, events, np.arange(BLOCK))
        owner = np.repeat(np.arange(BLOCK), np.diff(shard.patient_tokens))
        patients += np.bincount(np.unique(owner * len(names) + shard.tokens) % len(names), minlength=len(names))
        sources.append(Source(shard, block.people["female"].astype(np.int64), block.days("practice")))
    meant = np.arange(len(names))
    for sites in (one for one in mechanisms if isinstance(one, Sites)):
        own = sites.synonym != meant
        meant[sites.synonym[own]] = np.flatnonzero(own)
    disorder = np.array([name.endswith("(disorder)") for name in names])
    usual = disorder & disorder[meant] & (patients >= FEWEST)
    rows = np.flatnonzero(usual)[np.argsort(-patients[usual], kind="stable")][: few or SETTINGS.most]
    place = np.full(len(names), -1, np.int32)
    place[rows] = np.arange(len(rows))
    if few:
        sources = [replace(source, shard=only(source.shard, place >= 0)) for source in sources]
    diagnosis = np.full(len(names), -1)
    diagnosis[care.care_code] = care.care_diagnosis
    for number, codes in enumerate(care.synonyms):
        diagnosis[codes] = number
    of = diagnosis[meant[rows]]
    related = relations(care)[np.ix_(of, of)] & (of >= 0) & (of >= 0)[:, None]
    return Counted(occurrences.read(sources, place, SETTINGS.after_days, seed=seed, work=work, total=blocks), related)


def only(shard: Shard, kept: NDArray[np.bool_]) -> Shard:
    """The shard with the tokens that are `kept` (V,); visits may be empty."""
    tokens = kept[shard.tokens]
    before = np.concatenate([[0], np.cumsum(tokens)])
    return replace(shard, tokens=shard.tokens[tokens], visit_start=before[shard.visit_start].astype(np.int32))


def without_practices(world: Counted) -> Counted:
    """The same, as if practices were not known."""
    people = world.read.people
    unknown = replace(people, practice=np.full(len(people.practice), -1))
    return replace(world, read=replace(world.read, people=unknown))


def told(world: Counted) -> Iterator[tuple[int, int]]:
    """For each of WAYS, the pairs that are told, and those of them that are false."""
    upper = np.triu_indices(len(world.related), 1)
    people = world.read.people
    for amount, parts, test in WAYS:
        read = replace(world.read, people=replace(people, concepts=getattr(people, amount)))
        many = parts or counting.parts_for(int((people.visits > 0).sum()))
        with mock.patch.object(counting, "parts_for", return_value=many):
            found = counting.count(read, SETTINGS.after_days)
        p = (found.odds.tail() if test == "tail" else normal(found.odds))[upper]
        sure = measures.benjamini_hochberg(p) <= SETTINGS.max_q
        passed = sure & (found.odds.r > found.odds.s)[upper] & (found.both[upper] >= SETTINGS.fewest_patients)
        yield int(passed.sum()), int((passed & ~world.related[upper]).sum())


def told_in_order(world: Counted) -> Iterator[tuple[int, int]]:
    """For each of ORDERED, the ordered pairs that the relative risk tells, and those of them that are false; last, those of the
    arrows, and of the pairs that are only in order."""
    pairs = counting.count(world.read, SETTINGS.after_days)
    risks, found = pairs.risks, evidence.counted(world.read, pairs)
    higher = (risks.r > risks.s) & (risks.cases >= SETTINGS.fewest_patients)
    ratio = found[AFTER]
    assert ratio.low is not None
    assert ratio.high is not None
    with np.errstate(divide="ignore", invalid="ignore"):
        deviate = np.log(ratio.value) / (np.log(ratio.high) - np.log(ratio.low)) * 2 * measures.NORMAL
    usual = [measures.two_sided(measures.calibrated(each.astype(float))) for each in (deviate, risks.deviate())]
    for p in (usual[0], measures.two_sided(risks.deviate()), usual[1]):
        passed = (measures.benjamini_hochberg(p) <= SETTINGS.max_q) & higher
        yield int(passed.sum()), int((passed & ~world.related).sum())
    agreed = consensus.agree(found, SETTINGS, 0, (VISIT, SIMILAR))
    for told in (agreed.graph.edges[agreed.first != 0], agreed.only_in_order):
        yield len(told), int((~world.related)[*told.T].sum())


def of_few(seeds: Sequence[int], blocks: int) -> str:
    """The text of the worlds with few concepts."""
    rows = list[tuple[str, ...]]()
    for seed, few in itertools.product(seeds, FEW):
        with tempfile.TemporaryDirectory() as work:
            world = without_practices(drawn(seed, blocks, Path(work), few=few))
            found = counting.count(world.read, SETTINGS.after_days)
        upper, ratio = np.triu_indices(len(world.related), 1), found.odds.ratio()
        sure = measures.benjamini_hochberg(found.odds.tail()[upper]) <= SETTINGS.max_q
        passed = sure & (ratio.low[upper] > 1) & (found.both[upper] >= SETTINGS.fewest_patients)
        false = int((passed & ~world.related[upper]).sum())
        related = f"{passed.sum() - false} of {world.related[upper].sum()}"
        median = f"{np.nanmedian(ratio.value[upper]):.2f}"
        rows.append((str(seed), str(len(world.related)), median, related, of((int(passed.sum()), false))))
        print(rows[-1], flush=True)
    header = ("Seed", "Concepts", "Median odds ratio of all pairs", "Related pairs told", "False of those told")
    return (
        f"The same worlds, {blocks * BLOCK:,} patients; records contain no concepts but the most frequent disorders. Among patients"
        " with equally many of few concepts, any two seem to avoid each other, so few pairs are told. What was tried is in"
        f" docs/decisions.md.\n\n{results.table(header, rows)}"
    )


def normal(odds: OddsSums) -> NDArray[np.float64]:
    """The p value of the normal deviate (Mantel & Haenszel 1959), without a continuity correction."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return measures.two_sided((odds.r - odds.s) / np.sqrt(odds.variance))


def of(part: tuple[int, int]) -> str:
    """A count of those told, and of the false ones, as text."""
    every, false = part
    return f"{false} of {every}" + (f" ({false / every:.0%})" if every else "")


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[41, 51, 52, 53, 54, 55])
    parser.add_argument("--blocks", type=int, default=5, help="thousands of patients of each world")
    parser.add_argument(
        "--large", nargs="*", default=["61:20", "62:20", "71:60"], help="seed:thousands of further worlds"
    )
    options = parser.parse_args()
    sizes = [(seed, options.blocks) for seed in options.seeds]
    sizes += [(int(seed), int(blocks)) for seed, blocks in (one.split(":") for one in options.large)]
    rows, shares, ordered = [], list[list[float]](), list[list[tuple[int, int]]]()
    for seed, blocks in sizes:
        with tempfile.TemporaryDirectory() as work:
            world = without_practices(drawn(seed, blocks, Path(work)))
            ways = list(told(world))
            ordered.append(list(told_in_order(world)))
        true = [str(every - false) for every, false in (ways[0], ways[-1])]
        rows.append((str(seed), f"{blocks * BLOCK:,}", f"{len(world.related):,}", *map(of, ways), *true))
        if blocks == options.blocks:
            shares.append([false / max(every, 1) for every, false in ways])
        print(rows[-1], ordered[-1], flush=True)
    header = (
        "Seed", "Patients", "Concepts",
        *(f"False of those told: {parts or 'ten or more'} parts by {amount}, {test}" for amount, parts, test in WAYS),
        "Related pairs told by the first way", "by the last way",
    )  # fmt: skip
    mean = np.mean(shares, axis=0)
    text = (
        "World `null`; pairs told at a false discovery rate of 5 %, which at least 10 patients have. The first way is the one"
        " before concept_relations 4, the last is the one in use. In all ways, parts are divided further where amounts differ more"
        " than twofold, as since concept_relations 7; without this, 56 % of the pairs in worlds of 5,000 patients were false by the"
        " first way. Worlds of seeds 41, 61 and 71 served to choose; the others confirm. Practices are not taken into account"
        " (`relations_practices.py`)."
        f"\n\n{results.table(header, rows)}\n\nOn the average of the {len(shares)} worlds of"
        f" {options.blocks * BLOCK:,} patients, {mean[0]:.1%} of the pairs told are false by the first way, and {mean[-1]:.1%} by"
        " the last."
    )
    results.write_part("relations_null.py", TITLE, "False pairs", text)
    results.write_part("relations_null.py", TITLE, "False ordered pairs", in_order([row[:3] for row in rows], ordered))
    results.write_part("relations_null.py", TITLE, "Few concepts", of_few(options.seeds, options.blocks))


def in_order(worlds: list[tuple[str, ...]], found: list[list[tuple[int, int]]]) -> str:
    """The text of the ordered pairs."""
    every = [of((sum(part[0] for part in way), sum(part[1] for part in way))) for way in zip(*found, strict=True)]
    rows = [(*world, *map(of, ways)) for world, ways in zip(worlds, found, strict=True)]
    header = (
        "Seed",
        "Patients",
        "Concepts",
        *(f"False of those told: {way}" for way in ORDERED),
        "Of the arrows",
        "Only in order",
    )
    return (
        "The same worlds; ordered pairs told by the relative risk at a false discovery rate of 5 %, in at least 10 patients. The"
        " first way is the one before concept_relations 5, the last is the one in use. Arrows are the orders of pairs that qualify"
        " as edges; pairs only in order do not qualify, but pass the tests of the order and of the relative risk."
        f"\n\n{results.table(header, [*rows, ('all', '', '', *every)])}"
    )


if __name__ == "__main__":
    main()
