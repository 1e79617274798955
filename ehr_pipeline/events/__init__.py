"""Stage `mapped_events`: each recorded code becomes a UMLS concept or a separate concept, or is counted as lost."""

from ehr_pipeline.disclosure.kinds import Declared, Events, Plain, Score, ShareOf
from ehr_pipeline.tables.asset_names import MAPPED_EVENTS

COUNTED: dict[str, Declared] = {
    MAPPED_EVENTS: {
        "coverage_of_events": ShareOf("rows_in", Events),
        "coverage_of_codes": Score,
        "codes": Plain,
        "concepts": Plain,
        "buckets*": Plain,
        "*": Events,
    }
}
