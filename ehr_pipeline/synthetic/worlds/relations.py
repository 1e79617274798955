"""Plant pairs of diagnoses that are related within visits, in one direction with a lag, or through age alone; and write two sites.

The rates, the pairs and their strengths are assumed.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.people import PRACTICES
from ehr_pipeline.synthetic.worlds.codebook import Codebook
from ehr_pipeline.synthetic.worlds.consultations import for_everybody
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, Events, Mechanism, keyed
from ehr_pipeline.synthetic.worlds.nuisance import codes_of_kind, recorded_as_often
from ehr_pipeline.synthetic.worlds.visits import Visits

Numbers = NDArray[np.int64]

KINDS = ("within visits", "lag", "age alone")
PAIRS = 20
"""Number of pairs of each kind."""
WITHIN_SHARE, WITHIN_RECORDS, WITHIN_TOGETHER = 0.25, 4, 0.6
"""Within visits: share of patients with both, records of each, and share of the second's records at visits of the first."""
LAG_SHARE, LAG_FOLLOWS, LAG_ELSEWHERE, LAG_DAYS = 0.25, 0.5, 0.08, (182, 730)
"""With a lag: share of patients with the first; chance that the second follows; chance of the second in any patient; days
between the two."""
AGE_EVER, AGE_STEEPNESS = 0.7, 12.0
"""Through age: the cumulative hazard at the age of 100, and the years in which the hazard grows by a factor of e."""
OWN_SHARE, SITE_SPREAD, COMMON, MOST = 0.3, 0.5, 7000, 8.0
"""The second site: share of the COMMON most used codes that it writes as other codes; log-sd of the factor of how often it records
each code; largest factor."""


class Relations(Mechanism):
    """Sixty pairs of diagnoses."""

    name = "relations"

    def __init__(self, book: Codebook, taken: Numbers) -> None:
        """Choose the pairs. `taken`: rows of codes that other mechanisms record."""
        self.book = book
        kinds = for_everybody(book, np.setdiff1d(codes_of_kind(book, ("(disorder)",), range(1500, 6000)), taken))
        self.pairs = keyed(0, self.name).choice(kinds, (len(KINDS), PAIRS, 2), replace=False)
        self.codes = self.pairs.ravel()

    @property
    def shared_truth(self) -> Mapping[str, tuple[pl.DataFrame, Mapping[str, str]]]:
        """The pairs."""
        codes, concept = np.array(self.book.codes), self.book.concept
        rows = [
            (kind, codes[a], codes[b], concept(a), concept(b))
            for kind, pairs in zip(KINDS, self.pairs, strict=True)
            for a, b in pairs
        ]
        meaning = {
            "relation": "'within visits'; 'lag': the second follows in 6 to 24 months; 'age alone': unrelated at one age",
            "first": "code",
            "second": "code",
            "first_cui": "concept of the first",
            "second_cui": "concept of the second",
        }
        return {"relations": (pl.DataFrame(rows, schema=list(meaning), orient="row"), meaning)}

    def events(self, block: Block) -> None:
        """Record the pairs."""
        rng = block.rng(self.name)
        visits = Visits.of(block)
        within, lagged, aged = self.pairs
        for first, second in within:
            self._within(rng, block, visits, (first, second))
        for first, second in lagged:
            self._lagged(rng, block, (first, second))
        for code in aged.ravel():
            self._aged(rng, block, visits, code)

    def _within(
        self, rng: np.random.Generator, block: Block, visits: Visits, pair: tuple[np.integer, np.integer]
    ) -> None:
        wanted = np.where(rng.random(BLOCK) < WITHIN_SHARE, WITHIN_RECORDS, 0)
        rows = visits.pick(rng, wanted)
        together = rows[rng.random(len(rows)) < WITHIN_TOGETHER]
        apart = visits.pick(rng, wanted - np.bincount(visits.person[together], minlength=BLOCK))
        visits.record(block, rows, pair[0])
        visits.record(block, np.concatenate([together, apart]), pair[1])

    def _lagged(self, rng: np.random.Generator, block: Block, pair: tuple[np.integer, np.integer]) -> None:
        start, end = block.days("start"), block.days("end")
        when = start + np.floor(rng.random((2, BLOCK)) * (end - start + 1)).astype(np.int64)
        has, follows, anyhow = rng.random((3, BLOCK)) < np.array([[LAG_SHARE], [LAG_FOLLOWS], [LAG_ELSEWHERE]])
        later = when[0] + rng.integers(*LAG_DAYS, BLOCK)
        for code, who, days in ((pair[0], has, when[0]), (pair[1], has & follows, later), (pair[1], anyhow, when[1])):
            person = np.flatnonzero(who)
            block.record(person, days[person], np.full(len(person), code))

    def _aged(self, rng: np.random.Generator, block: Block, visits: Visits, code: np.integer) -> None:
        """Draw an onset whose hazard depends on age alone; record it at the next visit and, on average, at 1.5 later ones."""
        age = 100 + AGE_STEEPNESS * np.log(rng.exponential(size=BLOCK) / AGE_EVER)
        onset = block.days("birth") + age * YEAR
        later = visits.day >= onset[visits.person]
        before = np.bincount(visits.person, ~later, BLOCK)
        first = np.flatnonzero(later & (visits.rank == before[visits.person]))
        again = visits.pick(rng, rng.poisson(1.5, BLOCK), later & (visits.rank > before[visits.person]))
        visits.record(block, np.concatenate([first, again]), code)


class Sites(Mechanism):
    """Two sites: the second half of the practices write 30 % of the codes as other codes, and record each more or less often."""

    name = "sites"

    def __init__(self, book: Codebook, taken: Numbers) -> None:
        """Draw the synonyms and factors. `taken`: rows of codes that have a meaning in some plan, and so cannot be synonyms."""
        self.book = book
        self.second = np.arange(len(PRACTICES)) >= len(PRACTICES) // 2
        rng = keyed(0, self.name)
        rare = codes_of_kind(book, ("(finding)", "(procedure)", "(disorder)"), range(COMMON, len(book.codes)))
        self._own = np.flatnonzero(rng.random(COMMON) < OWN_SHARE)
        self.codes = rng.choice(np.setdiff1d(rare, taken), len(self._own), replace=False)
        self.synonym = np.arange(len(book.codes))
        """Row of the code that the second site writes for each code (codes,)."""
        self.synonym[self._own] = self.codes
        drawn = keyed(0, f"{self.name}: rates").normal(-(SITE_SPREAD**2) / 2, SITE_SPREAD, len(book.codes))
        self.factor = np.minimum(np.exp(drawn), MOST)
        """Factor of how often the second site records each code (codes,)."""

    @property
    def shared_truth(self) -> Mapping[str, tuple[pl.DataFrame, Mapping[str, str]]]:
        """The site of each practice, and the synonyms."""
        codes = np.array(self.book.codes)
        sites = pl.DataFrame({"practice": PRACTICES, "site": np.where(self.second, 2, 1)})
        synonyms = pl.DataFrame(
            {
                "first_site": codes[self._own],
                "second_site": codes[self.codes],
                "first_cui": [self.book.concept(row) for row in self._own.tolist()],
                "second_cui": [self.book.concept(row) for row in self.codes],
            }
        )
        meaning = {
            "first_site": "code",
            "second_site": "code that the second site writes for it",
            "first_cui": "concept of the one",
            "second_cui": "concept of the other",
        }
        return {"sites": (sites, {"practice": "practice", "site": "1 or 2"}), "site_synonyms": (synonyms, meaning)}

    def recording(self, block: Block, events: Events) -> Events:
        """Record events of the second site's patients in the way of that site: more or less often, and with its synonyms."""
        second = self.second[block.days("practice")][events.person]
        factor = np.where(second, self.factor[events.code], 1.0)
        made = recorded_as_often(block.rng(self.name), events, factor)
        second = self.second[block.days("practice")][made.person]
        return Events.of(made.person, made.day, np.where(second, self.synonym[made.code], made.code))
