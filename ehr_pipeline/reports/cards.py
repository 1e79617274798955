"""The figures and words that the page shows of each cluster."""

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.disclosure import by_subtraction
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.enrichment import Enrichment
from ehr_pipeline.reports.ranking import Ranking
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Concept, Vocabulary

P_BOUNDS = ((-20 * math.log(10), "<10⁻²⁰"), (-5 * math.log(10), "<10⁻⁵"), (math.log(0.001), "<0.001"))
SMALLEST_P = -300  # power of ten below which p values are not distinguished
AGE_BANDS = (0, 18, 40, 60, 80)  # years; the first of each band
TITLE = 3  # concepts that name a cluster
UNMARKED = "no mark"
UNLIFTED = "marks only among similar patients"
"""Title of a cluster whose marks are frequent only in comparison with similar patients, not with all others."""
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class ConceptRow:
    """One concept of a cluster's table, as text."""

    name: str
    concept: str
    over: bool
    share: str
    elsewhere: str
    patients: str
    ratio: str
    """Ratio of the shares of occurrences."""
    lift: str
    """Ratio of the shares of patients."""
    interval: str
    p: str
    q: str
    p_patients: str
    importance: float
    strong: bool
    """Whether it is one of the marks by which clusters are compared (`ranking.Ranking.marks`), and lifted."""
    lifted: bool
    """Whether its lift is above 1 (`Enrichment.lifted`). Only then a sentence calls it more frequent in the cluster."""

    @property
    def bounded(self) -> bool:
        """Whether p values are only bounds, since exact ones would reveal a small count."""
        return not self.interval

    def dagger(self, p: str) -> str:
        """Return the sign printed after a p value that is only a bound; empty for exact values, and if no value is shown."""
        return " †" if self.bounded and p != "–" else ""


def concept_tables(
    found: Enrichment, ranking: Ranking, vocabulary: Vocabulary, disclosure: Disclosure
) -> list[list[ConceptRow]]:
    """Return the concepts on each cluster's card, in the order of the `ranking`.

    Where a count is small, the figures that would reveal it are rounded or suppressed (`by_subtraction.hidden`). A concept is
    omitted if few patients have it, since its name would reveal them. It is also omitted if it is over-represented in a cluster in
    which few patients have it.
    """
    listed, everywhere = np.zeros_like(found.over), found.patients.sum(0)
    for cluster, tokens in enumerate(ranking.tokens):
        named = [
            t
            for t in tokens
            if disclosure.named(int(everywhere[t]))
            and (disclosure.named(int(found.patients[cluster, t])) or not ranking.over[cluster, t])
        ]
        listed[cluster, named] = True
    hidden = by_subtraction.hidden(found.patients, found.cluster_patients, listed, disclosure)

    def patients_outside(cluster: int, token: int) -> tuple[int, int] | None:
        cells = {"listed": listed[:, token], "shown": listed[:, token] & ~hidden[:, token]}
        return by_subtraction.elsewhere(found.patients[:, token], cluster, found.cluster_patients, disclosure, **cells)

    return [
        [
            _concept_row(
                found,
                ranking,
                cluster,
                vocabulary.concepts[token - FIRST_CONCEPT],
                outside=patients_outside(cluster, token) if hidden[cluster, token] else None,
                hidden=bool(hidden[cluster, token]),
                disclosure=disclosure,
            )
            for token in tokens
            if listed[cluster, token]
        ]
        for cluster, tokens in enumerate(ranking.tokens)
    ]


def _concept_row(
    found: Enrichment,
    ranking: Ranking,
    cluster: int,
    concept: Concept,
    *,
    hidden: bool,
    outside: tuple[int, int] | None,
    disclosure: Disclosure,
) -> ConceptRow:
    """Return the row of a concept. If exact figures are hidden, `outside` bounds the number of patients elsewhere."""
    token = concept.token_id
    size, everyone = int(found.cluster_patients[cluster]), int(found.cluster_patients.sum())
    inside = int(found.patients[cluster, token])
    elsewhere = int(found.patients[:, token].sum()) - inside
    log_p, log_q = float(ranking.log_p[cluster, token]), float(ranking.log_q[cluster, token])
    log_p_patients, ratio = float(found.log_p_patients[cluster, token]), float(found.ratio[cluster, token])
    lift, low, high = found.lift(cluster, token)
    lifted = found.lifted(cluster, token, disclosure)
    row = ConceptRow(
        name=concept.name,
        concept=concept.concept,
        over=bool(ranking.over[cluster, token]),
        share=disclosure.share(inside, size),
        elsewhere=disclosure.share(elsewhere, everyone - size),
        patients=disclosure.show(inside, size),
        ratio=number_text(ratio),
        lift=number_text(lift),
        interval=f"{number_text(low)}–{number_text(high)}",
        p=p_text(log_p),
        q=p_text(log_q),
        p_patients=p_text(log_p_patients),
        importance=-log_p / math.log(10),
        strong=bool(ranking.marks[cluster, token]) and lifted,
        lifted=lifted,
    )
    if not hidden:
        return row
    guarded = disclosure.small(inside) or disclosure.small(size - inside)  # share and number are bounds already
    return replace(
        row,
        share=row.share if guarded or not inside else disclosure.coarse(inside, size),
        elsewhere=disclosure.between(*outside, everyone - size) if outside else "–",
        patients=row.patients if guarded else disclosure.about(inside, size),
        ratio="–" if disclosure.small(inside) or disclosure.small(elsewhere) else row.ratio,
        lift="–",
        interval="",
        p=p_bound(log_p),
        q=p_bound(log_q),
        p_patients=p_bound(log_p_patients),
    )


def p_bound(log_p: float) -> str:
    """Return an upper bound of a p value, which is too coarse to reveal counts; '–' if no bound applies."""
    return next((text for bound, text in P_BOUNDS if log_p < bound), "–")


def number_text(value: float) -> str:
    """Return a ratio as text: with two decimals below 10, one below 100, none from 100 on; '∞' if infinite."""
    if math.isinf(value):
        return "∞"
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def p_text(log_p: float) -> str:
    """Return a p value as text, from its natural logarithm: '0.031', '10⁻⁵⁷' if it is tiny, '<10⁻³⁰⁰' at the least."""
    if log_p > math.log(0.001):
        return f"{math.exp(log_p):.3f}"
    if log_p < SMALLEST_P * math.log(10):
        return "<10" + str(SMALLEST_P).translate(SUPERSCRIPT)
    return "10" + str(math.floor(log_p / math.log(10))).translate(SUPERSCRIPT)


def describe(
    people: pa.Table, member: NDArray[np.bool_], of_all: int, table: list[ConceptRow], disclosure: Disclosure
) -> dict[str, Any]:
    """Describe one cluster as text: size, ages, sex, length of record, diseases. `of_all` is the number of patients in all
    described clusters. 'dominant' is the disease of most of its patients, if the clusters have several diseases.

    If the cluster's concept table shows the exact number of patients of a concept with the name of a disease, and as many have the
    disease, the share of the disease is given as in the table. Other shares are coarse, so that they cannot be subtracted from
    those of another page of the same patients. In a cohort of one disease, everybody has it, and it is not named: a bound such as
    >90 % would suggest that some do not."""
    rows = people.filter(pa.array(member))
    size = rows.num_rows
    if disclosure.small(size):
        return {"size": disclosure.show(size), "hidden": True}
    age = rows.column("age").to_numpy()
    concepts = rows.column("concepts").to_numpy()
    by_disease = Counter(rows.column("disease").to_pylist())
    several = pc.count_distinct(people.column("disease")).as_py() > 1
    banded = np.searchsorted(AGE_BANDS[1:], age, side="right")
    by_age = {band_name(band): int((banded == band).sum()) for band in range(len(AGE_BANDS))}
    ordered = dict(sorted(by_disease.items(), key=lambda pair: (-pair[1], pair[0])))
    return {
        "size": disclosure.show(size),
        "hidden": False,
        "share": disclosure.share(size, of_all),
        "age": quartiles(age, disclosure),
        "ages": disclosure.composition(by_age, size),
        "concepts": quartiles(concepts, disclosure),
        "sex": _sexes(rows.column("sex").to_pylist(), people, disclosure),
        "dominant": next(
            (name for name, count in ordered.items() if several and count >= disclosure.below and 2 * count > size), ""
        ),
        "diseases": disclosure.composition(ordered, size, _shown_exactly(table)) if several else [],
    }


def quartiles(values: NDArray[Any], disclosure: Disclosure) -> str:
    """Return median and quartiles as text; only the median if fewer patients than the threshold may lie beyond a quartile."""
    median, low, high = np.quantile(values, (0.5, 0.25, 0.75))
    return f"{median:.0f} ({low:.0f}–{high:.0f})" if len(values) >= 4 * disclosure.below else f"{median:.0f}"


def _sexes(own: list[str], people: pa.Table, disclosure: Disclosure) -> str:
    """Return, as text, the share of female patients among those patients of a cluster whose sex is known."""
    unknown = people.column("sex").to_pylist().count("")
    if unknown == people.num_rows:
        return "sex unknown"
    known = [sex for sex in own if sex]
    of_known = " of those with known sex" if unknown >= disclosure.below else ""
    return f"female {disclosure.coarse(known.count('F'), len(known))}{of_known}"


def _shown_exactly(table: list[ConceptRow]) -> dict[str, int]:
    """Return the names of the concepts whose exact number of patients a table shows, with those numbers."""
    return {row.name: int(row.patients.replace(",", "")) for row in table if row.interval and row.patients[0].isdigit()}


def band_name(band: int) -> str:
    """Return an age band in words: 'under 18', '18–39', …, '80 and over'."""
    if band == 0:
        return f"under {AGE_BANDS[1]}"
    if band == len(AGE_BANDS) - 1:
        return f"{AGE_BANDS[band]} and over"
    return f"{AGE_BANDS[band]}–{AGE_BANDS[band + 1] - 1}"


def marks(rows: list[ConceptRow]) -> list[str]:
    """Return the names of a cluster's marks, most important first."""
    return [row.name for row in rows if row.strong]


def title(rows: list[ConceptRow], disease: str) -> str:
    """Return a cluster's title: the disease of most of its patients, if there is one, and its most important lifted concepts, or
    that nothing marks it. A concept that fewer than half of the patients have is followed by their share.

    If the most important concept is one that is less frequent here, the title begins with such concepts: otherwise a cluster of
    young patients without other diagnoses would be named by a symptom that a third of them have."""
    over, under = ([row for row in rows if row.over == side and row.name != disease] for side in (True, False))
    lifted = [row for row in over if row.lifted]
    marked = ", ".join(f"{row.name} ({row.share})" if _of_few(row.share) else row.name for row in lifted[:TITLE])
    if under and (not lifted or under[0].importance > lifted[0].importance):
        less = "less often " + ", ".join(row.name for row in under[:TITLE])
        marked = f"{less}; more often {marked}" if marked else less
    marked = marked or (UNLIFTED if over else UNMARKED)
    return f"{disease}: {marked}" if disease else marked


def _of_few(share: str) -> bool:
    """Return whether a share is less than half, judged by its text as shown, so that a cluster's name reveals no more."""
    numbers = re.findall(r"\d+(?:\.\d+)?", share)
    return bool(numbers) and not share.startswith(">") and float(numbers[-1]) < 50
