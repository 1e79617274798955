"""Typed records to mapped events: every code becomes a UMLS concept, its own token, or a counted loss."""

from ehr_pipeline.disclosure.kinds import Declared, Events, Score, ShareOf, Things

COUNTED: dict[str, Declared] = {
    "mapped_events": {
        "coverage_of_events": ShareOf("rows_in", Events),
        "coverage_of_codes": Score,
        "codes": Things,
        "concepts": Things,
        "buckets*": Things,
        "*": Events,
    }
}
