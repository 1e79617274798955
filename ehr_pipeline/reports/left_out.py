"""Compare the patients in clusters with those who have one of the diseases, but are in no cluster.

A standardised difference is a difference of means in standard deviations (Austin 2009, Statistics in Medicine 28: from 0.1 on,
groups differ). It is computed from rounded counts, so that it reveals no more than the counts that the page shows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.clusters.matching import PRACTICE
from ehr_pipeline.cohort.members import CASES
from ehr_pipeline.disclosure.figures import HIDDEN
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.patients.shard import DAYS_IN_YEAR
from ehr_pipeline.reports.bias_audit import cramers_v
from ehr_pipeline.reports.cards import quartiles
from ehr_pipeline.reports.enrichment import Z95
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.tables import align, schemas
from ehr_pipeline.tables.asset_names import COHORT

Floats = NDArray[np.float64]
Texts = NDArray[np.str_]
AMOUNTS = ("concepts", "visits")
"""Attributes that are compared by their logarithms, because a few patients have many times as many as most patients."""


@dataclass(frozen=True)
class Difference:
    """A difference between those who are left out and those in clusters, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """An attribute of both groups of patients, as text."""

    attribute: str
    """'age', 'sex', 'concepts', 'visits', 'years' or 'practice'."""
    inside: str
    left_out: str
    difference: Difference | None
    """The standardised difference; None where it may not be shown, and for practices."""
    association: float | None = None
    """For practices: Cramér's V between practice and being left out."""


@dataclass(frozen=True)
class People:
    """All patients with one of the diseases, in a cluster or not; arrays are (n,)."""

    left_out: NDArray[np.bool_]
    numbers: Mapping[str, Floats]
    """Age at the last record, concepts, visits, and years of record; NaN where unknown."""
    sex: Texts
    practice: Texts | None
    """None where the data name no practice."""

    @classmethod
    def read(cls, inputs: Inputs, clustered: pa.Array) -> "People":
        """Read the patients from the cohort's notes and from the patient rows of all extracts. `clustered` are the ids of patients
        in clusters."""
        cases = schemas.read_as(inputs.artifacts[COHORT].file(CASES), schemas.CASES).combine_chunks()
        cases = cases.take(pc.sort_indices(cases, sort_keys=[("shard", "ascending")]))
        shards = np.array(cases.column("shard").to_pylist(), np.str_)
        born: list[float] = []
        sex: list[str] = []
        practice: list[str] = []
        for shard in np.unique(shards).tolist():
            ids = cases.column("patient_id").filter(pa.array(shards == shard))
            found = _rows(inputs, shard, ids)
            for name, into in (("birth_date", born), ("sex", sex), (PRACTICE, practice)):
                into += found[name]
        first, last = (cases.column(name).cast(pa.int32()).to_numpy() for name in ("first_date", "last_date"))
        numbers: dict[str, Floats] = {
            "age": np.floor((last - np.array(born, np.float64)) / DAYS_IN_YEAR),
            **{name: cases.column(name).to_numpy().astype(np.float64) for name in AMOUNTS},
            "years": np.floor((last - first) / DAYS_IN_YEAR),
        }
        left_out = ~pc.is_in(cases.column("patient_id"), value_set=clustered).to_numpy(zero_copy_only=False)
        named = np.array(practice, np.str_)
        return cls(left_out, numbers, np.array(sex, np.str_), named if len(np.unique(named[named != ""])) > 1 else None)


def _rows(inputs: Inputs, shard: str, ids: pa.ChunkedArray) -> dict[str, list[Any]]:
    """Return birth (as a day; NaN if unknown), sex and practice of patients of a shard, from the newest extract that has them."""
    found: dict[str, list[Any]] = {name: [None] * len(ids) for name in ("birth_date", "sex", PRACTICE)}
    waiting = np.arange(len(ids))
    for record in reversed(inputs.records):
        if not len(waiting) or not (record.path / "patients").is_dir():
            continue
        table = schemas.read(record.file(f"patients/{shard}"))
        place = align.rows(ids.take(pa.array(waiting)), table.column("patient_id"))
        matched = place >= 0
        rows = table.take(pa.array(place[matched]))
        for name in set(found) & set(table.column_names):
            column = rows.column(name)
            values = column.cast(pa.int32()).to_pylist() if name == "birth_date" else column.to_pylist()
            for row, value in zip(waiting[matched].tolist(), values, strict=True):
                found[name][row] = value
        waiting = waiting[~matched]
    missing = {"birth_date": np.nan}
    return {
        name: [missing.get(name, "") if value is None else value for value in values] for name, values in found.items()
    }


def compare(people: People, disclosure: Disclosure) -> list[Row]:
    """Compare both groups. Returns no rows if too few patients are left out, or are in clusters, to be described."""
    if min(people.left_out.sum(), (~people.left_out).sum()) < max(disclosure.below, 2):
        return []
    return [*_numbers(people, disclosure), *_sex(people, disclosure), *_practice(people)]


def _numbers(people: People, disclosure: Disclosure) -> Iterator[Row]:
    for name, values in people.numbers.items():
        known = np.isfinite(values)
        inside, left = values[known & ~people.left_out], values[known & people.left_out]
        if min(len(inside), len(left)) < max(disclosure.below, 2):
            continue
        scaled = (np.log1p(inside), np.log1p(left)) if name in AMOUNTS else (inside, left)
        means, spreads = ([float(measure(some)) for some in scaled] for measure in (np.mean, np.var))
        sizes = disclosure.rounded(len(inside)), disclosure.rounded(len(left))
        difference = _difference(means[1] - means[0], sum(spreads) / 2, sizes)
        yield Row(name, quartiles(inside, disclosure), quartiles(left, disclosure), difference)


def _sex(people: People, disclosure: Disclosure) -> Iterator[Row]:
    """Yield the row on sex: the share of women among those whose sex is known."""
    known = people.sex != ""
    groups = [people.sex[known & (people.left_out == out)] == "F" for out in (False, True)]
    if min(map(len, groups)) < max(disclosure.below, 2):
        return
    texts = [disclosure.coarse(int(group.sum()), len(group)) for group in groups]
    cells = [count for group in groups for count in (int(group.sum()), int((~group).sum()))]
    difference = None
    if min(cells) >= max(disclosure.below, 1):
        sizes = [disclosure.rounded(len(group)) for group in groups]
        shares = [disclosure.rounded(cells[2 * place]) / size for place, size in enumerate(sizes)]
        if all(0 < share < 1 for share in shares):
            spread = sum(share * (1 - share) for share in shares) / 2
            difference = _difference(shares[1] - shares[0], spread, (sizes[0], sizes[1]))
    yield Row("sex", texts[0], texts[1], difference)


def _practice(people: People) -> Iterator[Row]:
    """Yield the row on practices: how far they differ in the share of patients left out."""
    if people.practice is not None:
        coded = np.unique(people.practice, return_inverse=True)[1]
        association = cramers_v(coded, people.left_out.astype(np.int64))
        yield Row(PRACTICE, HIDDEN, HIDDEN, None, association)


def _difference(apart: float, variance: float, sizes: tuple[int, int]) -> Difference | None:
    """Return a difference of means (`apart`) in standard deviations, with its interval (Hedges & Olkin 1985); None if nothing
    varies."""
    if variance <= 0:
        return None
    value = apart / variance**0.5
    error = Z95 * (1 / sizes[0] + 1 / sizes[1] + value**2 / (2 * sum(sizes))) ** 0.5
    return Difference(value, value - error, value + error)
