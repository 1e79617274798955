"""What makes records differ without any subgroup: traits, practices, the calendar, access to care, referral. Sizes are assumed.

None of these is a group: whoever finds subgroups of disease here finds what is not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.people import PRACTICES
from ehr_pipeline.synthetic.worlds.block import BLOCK, YEAR, Block, Events, Mechanism, day, keyed
from ehr_pipeline.synthetic.worlds.codebook import Codebook
from ehr_pipeline.synthetic.worlds.consultations import for_everybody
from ehr_pipeline.synthetic.worlds.diagnoses import Diagnoses

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

TRAITS, TRAIT_SHARE, TRAIT_RATE, TRAIT_ELSEWHERE = 27, 0.10, 1.5, 0.03
"""How many traits; share of patients who carry each; records a year of those, and of all others."""
TEMPLATES, TEMPLATE_CODES, TEMPLATE_CHANCE = 3, 4, 0.25
"""Of a practice: sets of codes that it records together beside a trigger, and how often."""
HABIT = 0.8
"""Share of the records of a diagnosis in which a practice uses the synonym that it prefers."""
BREAKS = (day("2004-04-01"), day("2018-04-01"))
BROKEN_CODES = 120
"""At each break: so many codes begin, whose predecessors stop."""
ACCESS_SPREAD = 0.8
"""Standard deviation of the logarithm, beside that of the base world."""
CENTRES, NEAR, NEAR_CHANCE, FAR_CHANCE, CENTRE_CODES, CENTRE_RATE = 2, 8, 0.30, 0.03, 12, 3.0
"""Centres; practices near one; the chance that a patient of such a practice, or of another, is referred; codes; visits a year."""


def codes_of_kind(book: Codebook, endings: tuple[str, ...], ranks: range) -> Numbers:
    """Rows of international codes whose names end so, from some ranks of use on."""
    here = [row for row in ranks if book.names[row].endswith(endings) and book.concept(row)]
    return np.array(here, np.int64)


class Traits(Mechanism):
    """Findings that a patient has again and again, each independent of every other, and of age, sex and disease."""

    name = "traits"

    def __init__(self, book: Codebook) -> None:
        kinds = for_everybody(book, codes_of_kind(book, ("(finding)",), range(1500, 6000)))
        self.chosen = np.sort(keyed(0, self.name).choice(kinds, TRAITS, replace=False))
        self.book = book

    @property
    def codes(self) -> Numbers:
        """The codes of the traits."""
        return self.chosen

    @property
    def truth(self) -> Mapping[str, Mapping[str, str]]:
        """Who carries what."""
        return {
            "traits": {"patient_id": "patient", "code": "a trait that the patient carries; independent of all else"}
        }

    def events(self, block: Block) -> None:
        """Record the traits."""
        rng = block.rng(self.name)
        carries = rng.random((BLOCK, TRAITS)) < TRAIT_SHARE
        start, length = block.days("start"), block.days("end") - block.days("start") + 1
        rate = np.where(carries, TRAIT_RATE, TRAIT_ELSEWHERE) * block.floats("access")[:, None]
        counts = rng.poisson(rate * length[:, None] / YEAR)
        person, trait = np.nonzero(counts)
        times = counts[person, trait]
        person, trait = np.repeat(person, times), np.repeat(trait, times)
        block.record(
            person,
            start[person] + np.floor(rng.random(len(person)) * length[person]).astype(np.int64),
            self.chosen[trait],
        )
        who, what = np.nonzero(carries)
        block.truth["traits"] = pl.DataFrame({"person": who, "code": np.array(self.book.codes)[self.chosen[what]]})


@dataclass(frozen=True)
class _Practice:
    """What all practices do in their own ways."""

    factor: Floats
    """How much more or less of each code a practice records (practices, codes)."""
    trigger: Numbers
    templates: Numbers
    """(practices, templates, codes)."""


class Practices(Mechanism):
    """Completeness of each code by practice, templates, and habits among synonyms."""

    def __init__(self, diagnoses: Diagnoses, book: Codebook, seed: int, spread: float) -> None:
        self.name, self.spread, self.book = f"practices {spread}", spread, book
        self.synonyms = [book.rows(row.codes) for row in diagnoses.rows if len(row.codes) > 1]
        self.seed = seed

    @cached_property
    def _practices(self) -> _Practice:
        rng = keyed(self.seed, self.name)
        spread = self.spread
        factor = np.exp(rng.normal(-(spread**2) / 2, spread, (len(PRACTICES), len(self.book.codes))))
        kinds = codes_of_kind(self.book, ("(finding)", "(procedure)", "(situation)"), range(100, 1500))
        trigger = self.book.rows(("163020007", "182836005", "27113001"))
        templates = rng.choice(kinds, (len(PRACTICES), TEMPLATES, TEMPLATE_CODES))
        return _Practice(np.minimum(factor, 8), trigger, templates)

    @cached_property
    def _preferred(self) -> list[Numbers]:
        """For each diagnosis with synonyms, the one that each practice prefers (practices,)."""
        rng = keyed(self.seed, f"{self.name}: habits")
        return [rng.choice(rows, len(PRACTICES)) for rows in self.synonyms]

    @property
    def shared_truth(self) -> Mapping[str, tuple[pl.DataFrame, Mapping[str, str]]]:
        """The habits."""
        codes = np.array(self.book.codes)
        rows = [
            (PRACTICES[practice], " ".join(codes[rows]), codes[preferred[practice]])
            for rows, preferred in zip(self.synonyms, self._preferred, strict=True)
            for practice in range(len(PRACTICES))
        ]
        table = pl.DataFrame(rows, schema=["practice", "synonyms", "preferred"], orient="row")
        meaning = {
            "practice": "practice",
            "synonyms": "codes of one diagnosis",
            "preferred": f"the one that it uses in {HABIT:.0%} of the records",
        }
        return {"habits": (table, meaning)}

    def recording(self, block: Block, events: Events) -> Events:
        """What each practice makes of the same events."""
        rng = block.rng(self.name)
        own = self._practices
        practice = block.days("practice")
        code = events.code.copy()
        for rows, preferred in zip(self.synonyms, self._preferred, strict=True):
            here = np.flatnonzero(np.isin(code, rows))
            here = here[rng.random(len(here)) < HABIT]
            code[here] = preferred[practice[events.person[here]]]
        named = Events.of(events.person, events.day, code)
        made = recorded_as_often(rng, named, own.factor[practice[events.person], code])
        return Events.joined([made, self._templates(rng, made, practice)])

    def _templates(self, rng: np.random.Generator, events: Events, practice: Numbers) -> Events:
        own = self._practices
        here = np.flatnonzero(np.isin(events.code, own.trigger))
        here = here[rng.random(len(here)) < TEMPLATE_CHANCE]
        which = rng.integers(0, TEMPLATES, len(here))
        codes = own.templates[practice[events.person[here]], which]
        return Events.of(
            np.repeat(events.person[here], TEMPLATE_CODES), np.repeat(events.day[here], TEMPLATE_CODES), codes.ravel()
        )


def recorded_as_often(rng: np.random.Generator, events: Events, factor: Floats) -> Events:
    """Each event as often as its factor says (events,): left out, or again on the day of another event of the same patient."""
    copies = np.floor(factor + rng.random(len(factor))).astype(np.int64)
    kept = np.repeat(np.arange(len(factor)), copies)
    again = np.concatenate([[False], kept[1:] == kept[:-1]]) if len(kept) else np.empty(0, bool)
    person, when = events.person[kept], events.day[kept].copy()
    when[again] = _another_day(rng, events, person[again])
    return Events.of(person, when, events.code[kept])


def _another_day(rng: np.random.Generator, events: Events, person: NDArray[np.integer]) -> NDArray[np.int32]:
    """The day of another event of each of some patients."""
    order = np.argsort(events.person, kind="stable")
    first = np.searchsorted(events.person[order], person, side="left")
    last = np.searchsorted(events.person[order], person, side="right")
    return events.day[order[first + np.floor(rng.random(len(person)) * (last - first)).astype(np.int64)]]


class Calendar(Mechanism):
    """Codes that stop on a day, from which on another one stands for the same."""

    name = "calendar"

    def __init__(self, book: Codebook) -> None:
        self.book = book
        rng = keyed(0, self.name)
        common = codes_of_kind(book, ("(finding)", "(procedure)", "(disorder)", "(observable entity)"), range(10, 900))
        rare = codes_of_kind(book, ("(finding)", "(procedure)", "(disorder)"), range(7000, 16000))
        count = len(BREAKS) * BROKEN_CODES
        self.new = rng.choice(common, count, replace=False)
        self.old = rng.choice(rare, count, replace=False)
        self.on = np.repeat(BREAKS, BROKEN_CODES)

    @property
    def codes(self) -> Numbers:
        """The codes that stop: nothing else records them."""
        return self.old

    @property
    def shared_truth(self) -> Mapping[str, tuple[pl.DataFrame, Mapping[str, str]]]:
        """Which code stands for which until when."""
        codes = np.array(self.book.codes)
        days = pl.Series(self.on.astype(np.int32)).cast(pl.Date)
        table = pl.DataFrame({"before": codes[self.old], "from_then_on": codes[self.new], "day": days})
        return {
            "breaks": (table, {"before": "code that stops", "from_then_on": "code that begins", "day": "first day"})
        }

    def recording(self, block: Block, events: Events) -> Events:
        """Before the break, the old code stands for the new one."""
        until = np.zeros(len(self.book.codes), np.int64)
        until[self.new] = self.on
        old = np.zeros(len(self.book.codes), np.int64)
        old[self.new] = self.old
        code = np.where(events.day < until[events.code], old[events.code], events.code)
        return Events.of(events.person, events.day, code)


class Access(Mechanism):
    """How readily patients come, and so how much is recorded of them, differs much more."""

    name = "access"

    def people(self, block: Block) -> None:
        """Widen the access to care."""
        more = np.exp(block.rng(self.name).normal(-(ACCESS_SPREAD**2) / 2, ACCESS_SPREAD, BLOCK))
        block.people["access"] = np.minimum(block.floats("access") * more, 12)


class Referral(Mechanism):
    """Patients who were once referred to a centre, mostly from the practices near it, and have its codes from then on."""

    name = "referral"

    def __init__(self, book: Codebook, seed: int) -> None:
        self.book = book
        kinds = codes_of_kind(book, ("(finding)", "(procedure)", "(regime/therapy)"), range(1500, 8000))
        kinds = np.setdiff1d(for_everybody(book, kinds), Traits(book).codes)
        self.chosen = keyed(0, self.name).choice(kinds, (CENTRES, CENTRE_CODES), replace=False)
        practices = keyed(seed, self.name).permutation(len(PRACTICES))
        self.centre_of = np.full(len(PRACTICES), -1)
        for centre in range(CENTRES):
            self.centre_of[practices[centre * NEAR // CENTRES : (centre + 1) * NEAR // CENTRES]] = centre

    @property
    def codes(self) -> Numbers:
        """The centres' codes."""
        return self.chosen.ravel()

    @property
    def truth(self) -> Mapping[str, Mapping[str, str]]:
        """Who was referred."""
        return {"referrals": {"patient_id": "patient", "centre": "number of the centre", "day": "day of the referral"}}

    def events(self, block: Block) -> None:
        """Record what the centres do."""
        rng = block.rng(self.name)
        near = self.centre_of[block.days("practice")]
        referred = np.flatnonzero(rng.random(BLOCK) < np.where(near >= 0, NEAR_CHANCE, FAR_CHANCE))
        centre = np.where(near[referred] >= 0, near[referred], rng.integers(0, CENTRES, len(referred)))
        start, end = block.days("start")[referred], block.days("end")[referred]
        since = start + np.floor(rng.random(len(referred)) * (end - start + 1)).astype(np.int64)
        visits = 1 + rng.poisson(CENTRE_RATE * (end - since + 1) / YEAR)
        row = np.repeat(np.arange(len(referred)), visits)
        when = since[row] + np.floor(rng.random(len(row)) * (end - since + 1)[row]).astype(np.int64)
        row, when = np.repeat(row, 3), np.repeat(when, 3)
        code = self.chosen[centre[row], rng.integers(0, CENTRE_CODES, len(row))]
        block.record(referred[row], when, code)
        block.truth["referrals"] = pl.DataFrame(
            {"person": referred, "centre": centre, "day": pl.Series(since.astype(np.int32)).cast(pl.Date)}
        )
