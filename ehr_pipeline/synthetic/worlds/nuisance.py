"""Differences between records that are no subgroups of a disease: traits, practices, calendar, access to care, referral. Their
sizes are assumed.

A method that finds subgroups here is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.people import PRACTICES
from ehr_pipeline.synthetic.worlds.codebook import Codebook
from ehr_pipeline.synthetic.worlds.consultations import for_everybody
from ehr_pipeline.synthetic.worlds.diagnoses import Diagnoses
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, Events, Mechanism, day, keyed

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

TRAITS, TRAIT_SHARE, TRAIT_RATE, TRAIT_ELSEWHERE = 27, 0.10, 1.5, 0.03
"""Number of traits; share of patients who carry each; records a year of a trait for its carriers, and for all others."""
TEMPLATES, TEMPLATE_CODES, TEMPLATE_CHANCE = 3, 4, 0.25
"""Templates of a practice; codes in each, recorded together on the day of a trigger; chance that a trigger sets one off."""
HABIT = 0.8
"""Share of the records of a diagnosis in which a practice uses its preferred synonym."""
BREAKS = (day("2004-04-01"), day("2018-04-01"))
BROKEN_CODES = 120
"""Number of codes that begin at each break, each replacing a code that stops."""
ACCESS_SPREAD = 0.8
"""Standard deviation of the logarithm of a further factor of the access to care, on top of that of the base world."""
CENTRES, NEAR, NEAR_CHANCE, FAR_CHANCE, CENTRE_CODES, CENTRE_RATE = 2, 8, 0.30, 0.03, 12, 3.0
"""Centres; practices near any centre; chance of referral for patients of those practices, and for others; codes of a centre;
visits a year after the first one."""


def codes_of_kind(book: Codebook, endings: tuple[str, ...], ranks: range) -> Numbers:
    """Return the rows of codes that have a concept, a name that ends in one of `endings`, and a rank by usage in `ranks`."""
    here = [row for row in ranks if book.names[row].endswith(endings) and book.concept(row)]
    return np.array(here, np.int64)


class Traits(Mechanism):
    """Findings that a patient has again and again, independent of each other and of age, sex and disease."""

    name = "traits"

    def __init__(self, book: Codebook) -> None:
        kinds = for_everybody(book, codes_of_kind(book, ("(finding)",), range(1500, 6000)))
        self.codes = np.sort(keyed(0, self.name).choice(kinds, TRAITS, replace=False))
        self.book = book
        self.truth = {
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
            self.codes[trait],
        )
        who, what = np.nonzero(carries)
        block.truth["traits"] = pl.DataFrame({"person": who, "code": np.array(self.book.codes)[self.codes[what]]})


@dataclass(frozen=True)
class _Practice:
    """The ways in which practices differ."""

    factor: Floats
    """Factor of how often a practice records each code (practices, codes)."""
    trigger: Numbers
    templates: Numbers
    """Codes of each template of each practice (practices, templates, codes)."""


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
        """Return, for each diagnosis with synonyms, each practice's preferred synonym (practices,)."""
        rng = keyed(self.seed, f"{self.name}: habits")
        return [rng.choice(rows, len(PRACTICES)) for rows in self.synonyms]

    @property
    def shared_truth(self) -> Mapping[str, tuple[pl.DataFrame, Mapping[str, str]]]:
        """The preferred synonyms of each practice."""
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
        """Record the events in the way of each patient's practice: its synonyms, completeness and templates."""
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
    """Repeat each event `factor` (events,) times on average. An event whose factor is below 1 may be left out.

    Copies of an event get the day of another event of the same patient.
    """
    copies = np.floor(factor + rng.random(len(factor))).astype(np.int64)
    kept = np.repeat(np.arange(len(factor)), copies)
    again = np.concatenate([[False], kept[1:] == kept[:-1]]) if len(kept) else np.empty(0, bool)
    person, when = events.person[kept], events.day[kept].copy()
    when[again] = _another_day(rng, events, person[again])
    return Events.of(person, when, events.code[kept])


def _another_day(rng: np.random.Generator, events: Events, person: NDArray[np.integer]) -> NDArray[np.int32]:
    """Return the day of a random event of each `person`."""
    order = np.argsort(events.person, kind="stable")
    first = np.searchsorted(events.person[order], person, side="left")
    last = np.searchsorted(events.person[order], person, side="right")
    return events.day[order[first + np.floor(rng.random(len(person)) * (last - first)).astype(np.int64)]]


class Calendar(Mechanism):
    """Some codes are no longer recorded from a given day on; another code with the same meaning replaces them."""

    name = "calendar"

    def __init__(self, book: Codebook) -> None:
        self.book = book
        rng = keyed(0, self.name)
        common = codes_of_kind(book, ("(finding)", "(procedure)", "(disorder)", "(observable entity)"), range(10, 900))
        rare = codes_of_kind(book, ("(finding)", "(procedure)", "(disorder)"), range(7000, 16000))
        count = len(BREAKS) * BROKEN_CODES
        self.new = rng.choice(common, count, replace=False)
        self.codes = self.old = rng.choice(rare, count, replace=False)
        self.on = np.repeat(BREAKS, BROKEN_CODES)

    @property
    def shared_truth(self) -> Mapping[str, tuple[pl.DataFrame, Mapping[str, str]]]:
        """The code that stops, the code that replaces it, and the day of the change."""
        codes = np.array(self.book.codes)
        days = pl.Series(self.on.astype(np.int32)).cast(pl.Date)
        table = pl.DataFrame({"before": codes[self.old], "from_then_on": codes[self.new], "day": days})
        return {
            "breaks": (table, {"before": "code that stops", "from_then_on": "code that begins", "day": "first day"})
        }

    def recording(self, block: Block, events: Events) -> Events:
        """Record the old code in place of the new one before the break."""
        until = np.zeros(len(self.book.codes), np.int64)
        until[self.new] = self.on
        old = np.zeros(len(self.book.codes), np.int64)
        old[self.new] = self.old
        code = np.where(events.day < until[events.code], old[events.code], events.code)
        return Events.of(events.person, events.day, code)


class Access(Mechanism):
    """Patients differ much more than otherwise in how readily they consult, and so in how much is recorded about them."""

    name = "access"

    def people(self, block: Block) -> None:
        """Widen the spread of the access to care."""
        more = np.exp(block.rng(self.name).normal(-(ACCESS_SPREAD**2) / 2, ACCESS_SPREAD, BLOCK))
        block.people["access"] = np.minimum(block.floats("access") * more, 12)


class Referral(Mechanism):
    """Some patients, mostly of practices near a centre, are referred to it; from then on, its codes are recorded for them."""

    name = "referral"

    def __init__(self, book: Codebook, seed: int) -> None:
        self.book = book
        kinds = codes_of_kind(book, ("(finding)", "(procedure)", "(regime/therapy)"), range(1500, 8000))
        kinds = np.setdiff1d(for_everybody(book, kinds), Traits(book).codes)
        self.chosen = keyed(0, self.name).choice(kinds, (CENTRES, CENTRE_CODES), replace=False)
        self.codes = self.chosen.ravel()
        self.truth = {
            "referrals": {"patient_id": "patient", "centre": "number of the centre", "day": "day of the referral"}
        }
        practices = keyed(seed, self.name).permutation(len(PRACTICES))
        self.centre_of = np.full(len(PRACTICES), -1)
        for centre in range(CENTRES):
            self.centre_of[practices[centre * NEAR // CENTRES : (centre + 1) * NEAR // CENTRES]] = centre

    def events(self, block: Block) -> None:
        """Choose the referred patients, and record the codes of their centre."""
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
