"""Groups of patients with a skin disease, which differ by one mechanism: count, age, order, interval, visit, recurrence, or code.

Each mechanism has two groups, except 'synonyms' (by code), which has three. Findings are added to visits that other parts of the
world created. Except in 'counts' (by count), findings are equally frequent in all groups of a mechanism, so neither counts of
findings nor the number of visits distinguish the groups. Patients with too few visits belong to no group. Findings and rates are
invented."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.people import PRACTICES
from ehr_pipeline.synthetic.worlds.codebook import Codebook
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, GroupRow, Mechanism, keyed
from ehr_pipeline.synthetic.worlds.population import NOBODY
from ehr_pipeline.synthetic.worlds.skin import patients_truth
from ehr_pipeline.synthetic.worlds.visits import Visits, label

Numbers = NDArray[np.int64]

FEWEST_VISITS, FEWEST_YEARS = 28, 7.0
"""Least number of visits of a patient in a group; least number of years of record, only for the groups by interval."""
RECORDS, OFTEN, SELDOM, IN_A_ROW = 6, 9, 3, 3
"""Number of records of each finding in a patient: RECORDS as a rule; OFTEN for a group's own finding and SELDOM for the other,
in the groups by counts; and IN_A_ROW, at consecutive visits, in the groups by interval."""
YOUNG, OLD = 45, 50
"""Groups by age: the patient is under YOUNG, or over OLD, throughout the record."""
SOON, LATE = (30, 365), (5 * 365, 6 * 365)
"""Groups by interval: range of the days from the first A to the first B."""
SWITCH = {"order-middle": (0.5, 0.5), "order-quarter": (0.25, 0.25), "order-anywhere": (0.25, 0.75)}
"""Groups by order: range of the switch, the share of a patient's visits before the first finding gives way to the second."""
AROUND = 0.25
"""Largest distance of A and B from the switch, as a share of the visits: a switch after a quarter leaves both in the first half."""


@dataclass(frozen=True)
class Family:
    """Codes for one condition, the share of records in which a practice uses its preferred code, and signs of the condition."""

    habit: float
    codes: tuple[str, ...]
    signs: tuple[str, ...]


FAMILIES = {
    # backache, complaining of it, lumbago with sciatica, lumbar, mechanical, with sciatica, acute, chronic
    "back pain": Family(
        1.0,
        ("161891005", "161894002", "202794004", "267982002", "279040009", "247366003", "278862001", "278860009"),
        ("23056005", "45352006"),  # sciatica, spasm
    ),
    # otitis media: chronic mucoid, non-suppurative, suppurative, right, left, acute, purulent; infection of ear
    "otitis": Family(
        0.75,
        ("78868004", "359609001", "194281003", "194289001", "194288009", "3110003", "39288006", "129127001"),
        ("16001004", "315217005"),  # otalgia, symptom of ears
    ),
    # cough: chesty, complaining of it, dry, with green, clear or yellow sputum, productive, persistent
    "cough": Family(
        0.5,
        ("161929000", "272039006", "11833005", "161924005", "161923004", "161925006", "28743005", "284523002"),
        ("162397003", "161920001"),  # pain in throat, respiratory symptom
    ),
}
ELSEWHERE, SIGN = 0.15, 0.6
"""Share of patients outside the cohort who have a family's condition, and chance of a sign at the same visit: a model can learn
from them that the codes mean the same. In the cohort there are no signs."""


@dataclass(frozen=True)
class Kind:
    """One mechanism: its groups, its findings A and B, and the feature of a record that could reveal it."""

    name: str
    groups: tuple[str, ...]
    codes: tuple[str, ...]
    seen_by: str


ORDER = ("A first", "B first")
KINDS = {
    kind.name: kind
    for kind in (
        Kind("counts", ("more of A", "more of B"), ("29857009", "162031009"), "counts of A and B"),
        Kind("age", ("under 45", "over 50"), ("11654001", "6020002"), "age at A and B; all else that goes with age as well"),
        Kind("order-middle", ORDER, ("4556007", "399114005"), "order of A and B; also the earlier half beside the later one"),
        Kind("order-quarter", ORDER, ("30037006", "16761005"), "order of A and B; both lie in the earlier half of the visits"),
        Kind("order-anywhere", ORDER, ("396232000", "95570007"), "order of A and B, wherever in the record they lie"),
        Kind("interval", ("within a year", "after five years"), ("80313002", "396347007"), "time from the first A to the first B"),
        Kind("same-visit", ("together", "apart"), ("49218002", "53057004"), "whether A and B share visits; nothing else"),
        Kind("recurrence", ("one episode", "again and again"), ("38822007",), "how records of A are spread over time"),
        Kind("synonyms", tuple(FAMILIES), (), "which codes mean the same; practices use different ones"),
    )
}  # fmt: skip


def _findings(kind: Kind, book: Codebook) -> Iterator[GroupRow]:
    """Yield the findings of each group of a mechanism."""
    for place, group in enumerate(kind.groups):
        codes = FAMILIES[group].codes if kind.name == "synonyms" else kind.codes
        codes = codes[place : place + 1] if kind.name == "counts" else codes
        yield from (GroupRow.of_code(f"{kind.name}: {group}", code, book) for code in codes)


class SubtleGroups(Mechanism):
    """Groups by the mechanisms `kinds`."""

    name = "subtle groups"

    def __init__(self, book: Codebook, seed: int, kinds: Sequence[str]) -> None:
        self.book = book
        self.kinds = [kind for name, kind in KINDS.items() if name in kinds]
        self.names = [f"{kind.name}: {group}" for kind in self.kinds for group in kind.groups]
        self.preferred = keyed(seed, self.name).integers(0, 8, (len(FAMILIES), len(PRACTICES)))
        codes = [code for kind in self.kinds for code in kind.codes]
        if KINDS["synonyms"] in self.kinds:
            codes += [code for family in FAMILIES.values() for code in (*family.codes, *family.signs)]
        self.codes = book.rows(codes)
        self.groups = [row for kind in self.kinds for row in _findings(kind, book)]
        self.truth = {"patients": patients_truth("mechanism and group; empty for none")}

    @property
    def shared_truth(self) -> Mapping[str, tuple[pl.DataFrame, Mapping[str, str]]]:
        """The mechanism and the codes of each group."""
        rows = [
            (f"{kind.name}: {group}", kind.name, " ".join(kind.codes or FAMILIES[group].codes), kind.seen_by)
            for kind in self.kinds
            for group in kind.groups
        ]
        meaning = {
            "group": "group, as in patients.csv",
            "mechanism": "what its groups differ by",
            "codes": "SNOMED codes, A before B",
            "seen_by": "which feature of a record could tell the groups apart",
        }
        return {"mechanisms": (pl.DataFrame(rows, schema=list(meaning), orient="row"), meaning)}

    def events(self, block: Block) -> None:
        """Choose the groups, and record their findings."""
        rng = block.rng(self.name)
        visits = Visits.of(block)
        years = (block.days("end") - block.days("start")) / YEAR
        fits = (block.days("disease") != NOBODY) & (visits.counts >= FEWEST_VISITS)
        mine = np.where(fits, rng.integers(0, len(self.kinds), BLOCK), NOBODY)
        group, first = np.full(BLOCK, NOBODY), 0
        for number, kind in enumerate(self.kinds):
            own = block.rng(f"{self.name}: {kind.name}")
            which = np.where(mine == number, own.integers(0, len(kind.groups), BLOCK), NOBODY)
            if kind.name == "age":
                which = _by_age(block, which)
            if kind.name == "interval":
                which = np.where(years >= FEWEST_YEARS, which, NOBODY)
            group = np.where(which != NOBODY, first + which, group)
            first += len(kind.groups)
            self._record(own, block, visits, kind, which)
        label(block, group, self.names)

    def _record(self, rng: np.random.Generator, block: Block, visits: Visits, kind: Kind, which: Numbers) -> None:
        """Record the findings of one mechanism. `which` (BLOCK,) is the index of each patient's group, or NOBODY."""
        members, second = which != NOBODY, which == 1
        wanted = np.where(members, RECORDS, 0)
        codes = self.book.rows(kind.codes)
        match kind.name:
            case "counts":
                for place, code in enumerate(codes):
                    often = np.where(members, np.where(which == place, OFTEN, SELDOM), 0)
                    visits.record(block, visits.pick(rng, often), code)
            case "age":
                for code in codes:
                    visits.record(block, visits.pick(rng, wanted), code)
            case "interval":
                begin = block.days("start") + rng.uniform(0, 0.9, BLOCK) * YEAR
                for code in codes:
                    rows = visits.following(begin, IN_A_ROW, members)
                    visits.record(block, rows, code)
                    begin = np.full(BLOCK, np.inf)
                    begin[members] = visits.day[rows[::IN_A_ROW]]
                    begin += np.where(second, rng.uniform(*LATE, BLOCK), rng.uniform(*SOON, BLOCK))
            case "same-visit":
                # Both groups use pairs of consecutive visits, so that A and B are equally frequent in every part of the record.
                rows = visits.pairs(rng, wanted)
                at = rows + rng.integers(0, 2, len(rows))
                visits.record(block, at, codes[0])
                visits.record(block, np.where(second[visits.person[rows]], 2 * rows + 1 - at, at), codes[1])
            case "recurrence":
                begin = np.floor(rng.random(BLOCK) * (visits.counts - RECORDS + 1))[visits.person]
                episode = (visits.rank >= begin) & (visits.rank < begin + RECORDS)
                visits.record(block, visits.pick(rng, wanted, second[visits.person] | episode), codes[0])
            case "synonyms":
                self._synonyms(rng, block, visits, which)
            case _:
                share = (visits.rank + 0.5) / visits.counts[visits.person]
                after = share - rng.uniform(*SWITCH[kind.name], BLOCK)[visits.person]
                near = np.abs(after) <= AROUND
                for place, code in enumerate(codes):
                    here = near & ((after > 0) == (second[visits.person] != (place == 1)))
                    visits.record(block, visits.pick(rng, wanted, here), code)

    def _synonyms(self, rng: np.random.Generator, block: Block, visits: Visits, which: Numbers) -> None:
        """Record a family's condition by the code that the practice uses; outside the cohort, by any of its codes, often with a
        sign."""
        practice, outside = block.days("practice"), block.days("disease") == NOBODY
        for number, family in enumerate(FAMILIES.values()):
            codes, signs = self.book.rows(family.codes), self.book.rows(family.signs)
            has = (which == number) | (outside & (rng.random(BLOCK) < ELSEWHERE))
            rows = visits.pick(rng, np.where(has, RECORDS, 0))
            person = visits.person[rows]
            preferred = rng.random(len(rows)) < np.where(outside[person], 0.0, family.habit)
            code = np.where(preferred, self.preferred[number, practice[person]], rng.integers(0, len(codes), len(rows)))
            visits.record(block, rows, codes[code])
            rows = rows[outside[person] & (rng.random(len(rows)) < SIGN)]
            visits.record(block, rows, signs[rng.integers(0, len(signs), len(rows))])


def _by_age(block: Block, which: Numbers) -> Numbers:
    """Divide by age, in place of the groups in `which`, the patients who have a group there.

    The group is 0 if the whole record is before the age YOUNG, 1 if it is after the age OLD, and otherwise NOBODY.
    """
    birth = block.days("birth")
    first, last = (block.days("start") - birth) / YEAR, (block.days("end") - birth) / YEAR
    return np.where(which == NOBODY, NOBODY, np.where(last < YOUNG, 0, np.where(first > OLD, 1, NOBODY)))
