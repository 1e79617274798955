"""Show which concepts count as one because practices record one instead of another, so that people can check it."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from ehr_pipeline.concepts.substitutes import BOUND, DEVIATIONS, MAX_SHARED, MIN_COSINE, read_substitutes
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.tables.asset_names import PATIENT_EMBEDDINGS

SHOWN = 30
"""Largest number of sets of concepts that the page shows."""


@dataclass(frozen=True)
class Substituted:
    """Sets of concepts that replace each other, by values of `column`; `sets` is None if they could not be computed."""

    column: str
    """The column with the habits of recording, in words; empty if the settings name none."""
    sets: tuple[tuple[str, ...], ...] | None
    """Names of concepts that are recorded instead of each other, largest sets first."""

    @property
    def sentence(self) -> str:
        """The result, and its meaning for the patients' vectors, in words."""
        if not self.column:
            return (
                "not examined, because the settings name no patient column, such as the practice, for this"
                " (embeddings.vectors.habits)."
            )
        if self.sets is None:
            return (
                f"not examined. Either the patients have no text column “{self.column}” with at least two values that several"
                " patients share, or no two concepts are frequent enough."
            )
        if not self.sets:
            return (
                f"no two concepts were found that occur with the same other concepts, but seldom at the same {self.column}. Pairs"
                " with few other records are missed."
            )
        count, sets = sum(map(len, self.sets)), len(self.sets)
        return (
            f"{count:,} concepts, in {sets:,} set{'s' if sets > 1 else ''}, occur in similar records, but seldom in those of the"
            f" same {self.column}: one {self.column} habitually uses one code, another {self.column} another. In the patients’"
            " vectors, each record of such a concept is divided evenly among the concepts of its set, so patients are not"
            " separated by where they are recorded; the tables of concepts on this page do not do this. Check that the concepts"
            ' of each set mean the same; to keep them apart, set embeddings.vectors.habits = "".'
        )

    @property
    def method(self) -> str:
        """How the sets were computed, for the methods section; empty if they were not."""
        if self.sets is None:
            return ""
        return (
            f"Concepts count as one if records of the two come from the same {self.column} at most {MAX_SHARED:.2f} times as"
            f" often as expected by chance (by at least {DEVIATIONS} standard deviations), and the cosine of their contexts is at"
            f" least {MIN_COSINE}. Context: the positive pointwise mutual information with other concepts of the same visit, at"
            f" its lower bound of {BOUND} standard deviations (Harris 1954; Church & Hanks 1990)."
        )


def substituted(inputs: Inputs, named: Collection[str]) -> Substituted:
    """Return sets of concepts connected by pairs of substitutes, using only pairs of which both are `named`."""
    artifact = inputs.artifacts[PATIENT_EMBEDDINGS]
    column = artifact.manifest["settings"]["vectors"]["habits"].replace("_", " ")
    if "substitutes" not in artifact.counts:
        return Substituted(column, None)
    shown = {*named}
    rows = [row for row in read_substitutes(artifact.path) if {row["concept"], row["substitute"]} <= shown]
    names = {row["concept"]: row["name"] for row in rows} | {row["substitute"]: row["substitute_name"] for row in rows}
    place = {concept: number for number, concept in enumerate(names)}
    ends = [(place[row["concept"]], place[row["substitute"]]) for row in rows]
    one, other = np.array(ends, np.int64).reshape(-1, 2).T
    links = sparse.coo_array((np.ones(len(one)), (one, other)), shape=(len(names), len(names)))
    together = connected_components(links, directed=False)[1].tolist() if names else []
    sets: dict[int, list[str]] = {}
    for concept, number in zip(names, together, strict=True):
        sets.setdefault(number, []).append(names[concept])
    return Substituted(column, tuple(sorted((tuple(own) for own in sets.values()), key=len, reverse=True)))
