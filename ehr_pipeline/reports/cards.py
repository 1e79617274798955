"""What the page says of each cluster."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.reports.disclosure import Disclosure
from ehr_pipeline.reports.enrichment import Enrichment
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

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
    p: str
    p_patients: str
    importance: float


def concept_rows(
    found: Enrichment, cluster: int, vocabulary: Vocabulary, count: int, max_p: float, disclosure: Disclosure
) -> list[ConceptRow]:
    """The marking concepts of a cluster, most important first.

    Where a count is small, every figure that betrays it is left out; a concept that marks a cluster through a few of its patients
    is left out altogether, since its very name would tell of them.
    """
    rows = []
    size, everyone = int(found.cluster_patients[cluster]), int(found.cluster_patients.sum())
    for token in found.top(cluster, count, max_p):
        inside = int(found.patients[cluster, token])
        outside = int(found.patients[:, token].sum()) - inside
        if found.over[cluster, token] and disclosure.small(inside):
            continue
        hidden = disclosure.small(inside) or disclosure.small(outside)
        rest_hidden = disclosure.small(size - inside) or disclosure.small(everyone - size - outside)
        concept = vocabulary.concepts[token - FIRST_CONCEPT]
        rows.append(
            ConceptRow(
                name=concept.name,
                concept=concept.concept,
                over=bool(found.over[cluster, token]),
                share=disclosure.share(inside, size),
                elsewhere=disclosure.share(outside, everyone - size),
                patients=disclosure.show(inside, size),
                ratio="–" if hidden else f"{found.ratio[cluster, token]:.2f}",
                p="–" if hidden else p_text(float(found.log_p[cluster, token])),
                p_patients="–" if hidden or rest_hidden else p_text(float(found.log_p_patients[cluster, token])),
                importance=-float(found.log_p[cluster, token]) / math.log(10),
            )
        )
    return rows


def p_text(log_p: float) -> str:
    """A p value from its natural logarithm: '0.031', or '10⁻⁵⁷' where it is tiny."""
    if log_p > math.log(0.001):
        return f"{math.exp(log_p):.3f}"
    return "10" + str(math.floor(log_p / math.log(10))).translate(SUPERSCRIPT)


def describe(people: pa.Table, member: NDArray[np.bool_], disclosure: Disclosure) -> dict[str, Any]:
    """Size, ages, sex, amount of record and diseases of one cluster, as text."""
    rows = people.filter(pa.array(member))
    size = rows.num_rows
    if disclosure.small(size):
        return {"size": disclosure.show(size), "hidden": True}
    age = rows.column("age").to_numpy()
    concepts = rows.column("concepts").to_numpy()
    sexes = rows.column("sex").to_pylist()
    diseases = rows.column("disease").to_pylist()
    by_disease = sorted(
        {name: diseases.count(name) for name in set(diseases)}.items(), key=lambda pair: (-pair[1], pair[0])
    )
    quarters = [f"{value:.0f}" for value in np.quantile(age, (0.5, 0.25, 0.75))]
    amounts = [f"{value:.0f}" for value in np.quantile(concepts, (0.5, 0.25, 0.75))]
    return {
        "size": disclosure.show(size),
        "hidden": False,
        "share": disclosure.share(size, people.num_rows),
        "age": f"{quarters[0]} ({quarters[1]}–{quarters[2]})",
        "concepts": f"{amounts[0]} ({amounts[1]}–{amounts[2]})",
        "female": disclosure.share(sexes.count("F"), size),
        "diseases": [
            (name, disclosure.share(number, size)) for name, number in by_disease if not disclosure.small(number)
        ],
    }


def title(rows: list[ConceptRow], limit: int = 3) -> str:
    """A cluster in a few words: its most important over-represented concepts."""
    return ", ".join([row.name for row in rows if row.over][:limit]) or "nothing over-represented"
