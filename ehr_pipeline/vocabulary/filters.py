"""Reasons to drop a concept from the vocabulary: one function per reason, applied in the order of FILTERS.

Each takes the settings and the concepts of the administrative list, and returns an expression over the table of concepts (see
`vocabulary.build`) that is true for the concepts to drop.
"""

from collections.abc import Callable

import polars as pl

from ehr_pipeline.terminology.semantic_types import GROUP_OF
from ehr_pipeline.vocabulary.settings import VocabularySettings

Filter = Callable[[VocabularySettings, frozenset[str]], pl.Expr]


def semantic_type(settings: VocabularySettings, listed: frozenset[str]) -> pl.Expr:
    """Select concepts with only semantic types to be dropped. Untyped concepts are kept."""
    return _all_types_in(set(settings.drop_semantic_types))


def semantic_group(settings: VocabularySettings, listed: frozenset[str]) -> pl.Expr:
    """Select concepts with only semantic types of groups to be dropped."""
    return _all_types_in({tui for tui, group in GROUP_OF.items() if group in settings.drop_semantic_groups})


def administrative(settings: VocabularySettings, listed: frozenset[str]) -> pl.Expr:
    """Select the concepts on the list of administrative concepts."""
    return pl.col("concept").is_in(sorted(listed))


def rare(settings: VocabularySettings, listed: frozenset[str]) -> pl.Expr:
    """Select concepts with too few appearances."""
    return pl.col("appearances") < settings.min_appearances


def few_patients(settings: VocabularySettings, listed: frozenset[str]) -> pl.Expr:
    """Select concepts of too few patients: the name could reveal something about them."""
    return pl.col("patients") < settings.min_patients


FILTERS: dict[str, Filter] = {
    "semantic_type": semantic_type,
    "semantic_group": semantic_group,
    "administrative": administrative,
    "rare": rare,
    "few_patients": few_patients,
}


def _all_types_in(unwanted: set[str]) -> pl.Expr:
    types = pl.col("semantic_types").str.split(" ")
    return (pl.col("semantic_types") != "") & types.list.eval(pl.element().is_in(sorted(unwanted))).list.all()
