"""Consultations by need and access, episodes of acute illness, and everything else that practices record at consultations.

Over the whole population, every code is recorded as often as in England in 2018-19 (NHS file), but only for people whose sex and
age fit the code's name. Rates by age are assumed; overall they give about 5.2 consultations a year (Hobbs 2016: 5.16 in 2013-14).
"""

from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.worlds.codebook import Codebook
from ehr_pipeline.synthetic.worlds.diagnoses import AGES as CURVE_AGES
from ehr_pipeline.synthetic.worlds.diagnoses import Diagnoses, population, read_table
from ehr_pipeline.synthetic.worlds.laboratory import by_sex, mean_weight, weights_of
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, Block, Mechanism
from ehr_pipeline.synthetic.worlds.years import AGE_BANDS, Years

Floats = NDArray[np.float64]

CONSULTATIONS = (("F", (5.6, 2.1, 4.4, 4.6, 6.4, 8.2)), ("M", (5.7, 1.9, 2.0, 3.1, 5.8, 8.0)))
"""Consultations a year of people without chronic illness, by sex and age band (AGE_BANDS)."""
FOR_EACH_DIAGNOSIS = 0.35
"""Further consultations a year for each known diagnosis. Assumed."""
SPREAD = 0.9
"""Log-sd of the expected number of codes in a consultation (log-normal)."""
RECURRENCE = 1.0
"""Shape of the gamma distribution of patients' proneness to an acute illness: some never have it, some often. Assumed."""
# Patients whom a code fits, by its name: sex ('' for both), youngest and oldest age in years. The first matching rule counts.
RULES = (
    (r"pregnan|antenatal|postnatal|labou?r stage|obstetric|midwi|trimester|miscarriage|gestation|breast ?feed", "F", 15, 48),
    (r"cervi(x|cal (smear|cytology|screen))|smear|colposcop", "F", 24, 65),
    (r"contracept|intrauterine|menstrua|period|menorrh|gynecol|vagin|vulv|uter(us|ine)|ovar", "F", 13, 54),
    (r"menopaus|hormone replacement", "F", 42, 66),
    (r"breast screening|mammogra", "F", 47, 74),
    (r"\bbreast\b", "F", 16, 90),
    (r"prostat", "M", 45, 95),
    (r"erectile|impotence|testic|scrot|penis|balanitis|vasectomy|sperm", "M", 16, 85),
    (r"senile|frail|care home|nursing home|dementia|falls? risk|abdominal aortic|cataract|macular|age.related", "", 65, 100),
    (r"bowel cancer|fecal occult|faecal occult", "", 55, 80),
    (r"qrisk|cardiovascular dis|health check|cholesterol|statin|heart|cardiac|coronary|stroke|diabet|hypertens", "", 40, 95),
    (r"infant|baby|newborn|neonat|child|developmental|health visitor|measles|mumps|rotavirus|haemophilus|hemophilus", "", 0, 7),
    (r"pneumococc|shingles|zoster vacc", "", 65, 100),
    (r"smok|tobacco|cigar|alcohol|drinker|work|employ|occupation|driv|marital|sexual|chlamyd", "", 16, 95),
    (r"osteo|arthr|joint replacement|arthroplasty|spondyl|angina|ventric|valve|aort|carcinoma|malignant|neoplasm", "", 40, 95),
    (r"school|head lice|nappy|teeth", "", 0, 16),
)  # fmt: skip
AGES = np.arange(100)
CELLS = (0, 2, 5, 8, 13, 16, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90)
"""First ages of the cells for which the frequencies of codes are tabulated; finer than AGE_BANDS."""
# Lifelong diagnoses need an onset: if they are not in data/worlds/diagnoses.csv, they are never recorded.
LIFELONG = (
    r"dementia|alzheimer|parkinson|sclerosis|epilep|schizo|bipolar|diabet|hypertens|ischem|infarct|fibrillation|heart failure"
    r"|cerebrovascular|stroke|chronic|malignan|carcinoma|neoplasm|leuk|lymphoma|melanoma|arthritis|arthropathy|arthrosis|osteopor"
    r"|cirrhosis|emphysema|bronchiectasis|asthma|obstructive|psoria|atopic|eczema|hidraden|pemphig|prurigo|lupus|crohn|colitis"
    r"|celiac|thyroid|depress|anxiety|autis|intellectual|syndrome|congenital|hereditary|cataract|glaucoma|macular|hearing loss"
    r"|deaf|steatosis|obes|dependence|gout|hyperlip|hypercholest|vitiligo|alopecia|rosacea|migraine|hyperplasia|stenosis|aneurysm"
    r"|failure|insufficiency|palsy|dystroph|insulin|senile|gastroesophageal|hiatal|diverticul|anemia|deficiency"
)
SPECIAL = (
    r"abort|female|papilloma|uteri\b|delivery|genital|fet(us|al)|birth|lochia|gravida|fundus \d|weeks?\b|orchi|epididym|hydrocele"
    r"|phimosis|elderly|enuresis|able to eat|asperger|myeloma|graves|end stage|palliative|terminal"
    r"|registered|deregist|notes on|did not attend|new patient|follow-up|solicitor|doctor left"
)
"""Other names that do not fit all patients, or do not recur: of one sex or age, administrative, or of a fatal illness."""


def for_everybody(book: Codebook, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the codes among `rows` that, by their names, fit patients of any sex and age and mean no lifelong disease."""
    names = pl.Series(book.names).gather(rows)
    unfit = np.any([found(names, pattern) for pattern in (LIFELONG, SPECIAL, *(rule[0] for rule in RULES))], axis=0)
    return np.asarray(rows[~unfit], np.int64)


def found(names: pl.Series, pattern: str) -> NDArray[np.bool_]:
    """Return in which names a pattern is found, in upper or lower case. Polars takes a fifteenth of the time of `re`."""
    return names.str.contains(f"(?i){pattern}").to_numpy()


class Consultations(Mechanism):
    """Consultations, and all codes recorded there that belong to no other mechanism."""

    name = "consultations"

    def __init__(self, diagnoses: Diagnoses, book: Codebook, elsewhere: NDArray[np.int64]) -> None:
        """Tabulate the episodes. `elsewhere`: rows of codes that other mechanisms record instead of this one."""
        self.diagnoses, self.book = diagnoses, book
        episodes = read_table("episodes")
        self.episode = book.rows(row["code"] for row in episodes)
        self.episode_weight = np.stack([weights_of(row["age_weights"]) for row in episodes], axis=1)
        ratios = [float(row["women_to_men"]) for row in episodes]
        self.episode_sex = np.array([by_sex(ratio) for ratio in ratios])
        mean = [mean_weight(weights_of(row["age_weights"]), ratio) for row, ratio in zip(episodes, ratios, strict=True)]
        self.episode_rate = book.yearly[self.episode] / mean
        self.elsewhere = np.concatenate([elsewhere, self.episode])

    @cached_property
    def _rates(self) -> Floats:
        """Return the consultations a year of healthy people, by sex and whole year of age (2, 100)."""
        bands = np.searchsorted(AGE_BANDS, AGES + 0.5, side="right")
        return np.array([np.array(rates)[bands] for _, rates in CONSULTATIONS])

    @cached_property
    def _for_diagnoses(self) -> Floats:
        """Return the further consultations a year for chronic illness, by sex and whole year of age (2, 100)."""
        known = [
            sum(np.interp(AGES + 0.5, CURVE_AGES, row.prevalence_by_age(women)) for row in self.diagnoses.rows)
            for women in (True, False)
        ]
        return FOR_EACH_DIAGNOSIS * np.array(known)

    @cached_property
    def frequencies(self) -> tuple[Floats, NDArray[np.int64]]:
        """Cumulative rates of the codes in a consultation, by sex and age cell (2, CELLS, codes), and the codes' rows (codes,)."""
        kept = np.setdiff1d(np.arange(len(self.book.codes)), self.elsewhere)
        names = pl.Series(self.book.names)
        lifelong = found(names, LIFELONG) & names.str.ends_with("(disorder)").to_numpy()
        kept = kept[~lifelong[kept]]
        cells = np.searchsorted(CELLS, AGES, side="right") - 1
        share = np.stack([population(sex) / 2 for sex in (True, False)]) * (self._rates + self._for_diagnoses)
        in_cell = np.stack([np.bincount(cells, row, len(CELLS)) for row in share])
        allowed = np.ones((len(names), 2, len(CELLS)), np.float32)
        for pattern, sex, young, old in reversed(RULES):  # the first rule is written last, so it stands
            fits = (np.array(CELLS) >= young - 2) & (np.array(CELLS) <= old)
            allowed[found(names, pattern)] = fits * (np.array([sex != "M", sex != "F"])[:, None])
        allowed = allowed[kept]
        eligible = (allowed * in_cell).sum(axis=(1, 2))
        yearly = self.book.yearly[kept] / eligible  # events in each consultation of a patient whom the code fits
        rates = np.moveaxis(allowed * yearly[:, None, None], 0, 2)
        return np.cumsum(rates, axis=2, dtype=np.float64), kept

    def events(self, block: Block) -> None:
        """Record the episodes and the consultations."""
        rng = block.rng(self.name)
        years = Years.of(block)
        self._episodes(rng, block, years)
        access, frailty = block.floats("access"), block.floats("frailty")
        healthy = self._rates[np.where(years.female, 0, 1), np.minimum(years.age, 99).astype(np.int64)]
        rate = healthy * (0.6 + 0.4 * frailty[years.person]) + FOR_EACH_DIAGNOSIS * years.active.sum(axis=1)
        counts = rng.poisson(rate * access[years.person] * years.length)
        row = np.repeat(np.arange(len(years.person)), counts)
        person, day = years.person[row], years.somewhere(rng, row)
        cumulative, codes = self.frequencies
        cell = np.searchsorted(CELLS, years.age[row], side="right") - 1
        recorded = (years.recording / years.length)[row]
        for sex in (0, 1):
            for number in range(len(CELLS)):
                here = np.flatnonzero((cell == number) & (years.female[row] == (sex == 0)))
                if not len(here):
                    continue
                table = cumulative[sex, number]
                sizes = rng.poisson(rng.lognormal(-(SPREAD**2) / 2, SPREAD, len(here)) * table[-1] * recorded[here])
                drawn = np.searchsorted(table, rng.random(int(sizes.sum())) * table[-1])
                visit = np.repeat(here, sizes)
                block.record(person[visit], day[visit], codes[np.minimum(drawn, len(codes) - 1)])

    def _episodes(self, rng: np.random.Generator, block: Block, years: Years) -> None:
        prone = rng.gamma(RECURRENCE, 1 / RECURRENCE, (BLOCK, len(self.episode)))
        weight = self.episode_weight[years.band] * self.episode_sex[:, np.where(years.female, 0, 1)].T
        access = block.floats("access")[years.person]
        rate = weight * self.episode_rate * prone[years.person] * (years.recording * access)[:, None]
        counts = rng.poisson(rate)
        row, column = np.nonzero(counts)
        times = counts[row, column]
        row, column = np.repeat(row, times), np.repeat(column, times)
        block.record(years.person[row], years.somewhere(rng, row), self.episode[column])
