"""Checks of the relations between concepts."""

import pyarrow.compute as pc

from ehr_pipeline.checks.model import UNEXPECTED, Result, check
from ehr_pipeline.disclosure.kinds import Plain
from ehr_pipeline.relations import table
from ehr_pipeline.relations.table import FEWEST
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study


@check(blocking=False)
def two_are_compared(artifact: Artifact, store: Store, study: Study) -> Result:
    """There are at least two concepts to compare."""
    compared, whole = artifact.counts["kept"], artifact.counts["rows_in"]
    message = f"{compared:,} of {whole:,} concepts of the vocabulary are compared"
    if compared < FEWEST:
        message += (
            ", so there is no pair. Set relations.concepts to another list, choose other semantic types in relations.types, or"
            " lower vocabulary.min_appearances"
        )
    return compared >= FEWEST, message, {"concepts": Plain(compared)}


@check()
def few_are_suppressed(artifact: Artifact, store: Store, study: Study) -> Result:
    """Pairs that fewer than relations.fewest_patients patients have are shown without values."""
    fewest, rows = study.relations.fewest_patients, table.read(artifact.path)
    few = pc.fill_null(pc.less(rows.column("patients"), fewest), True)
    shown = pc.and_(few, pc.or_(pc.is_valid(rows.column("value")), pc.is_valid(rows.column("low"))))
    pairs = [*table.read_consensus(artifact.path), *table.read_orders(artifact.path)]
    edges = sum(row["patients"] < fewest for row in pairs)
    wrong = (pc.sum(shown).as_py() or 0) + edges
    message = (
        f"{wrong:,} pairs of fewer than {fewest} patients have values{UNEXPECTED}"
        if wrong
        else "all values come from enough patients"
    )
    return not wrong, message, {"pairs": Plain(wrong)}
