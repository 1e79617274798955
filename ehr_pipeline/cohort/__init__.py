"""Stage `cohort`: the patients whose vectors are computed."""

from ehr_pipeline.disclosure.kinds import Declared, EventsOf, Plain
from ehr_pipeline.tables.asset_names import COHORT

COUNTED: dict[str, Declared] = {
    # The cohort has hardly more patients than the clusters, whose number the page shows exactly. Beside that number, even rounded
    # counts would reveal the few patients in between. So the page itself decides how to show these counts.
    COHORT: {
        "lists": {"*": {"events": EventsOf("by_disease/*"), "unmapped_events": EventsOf("by_disease/*"), "*": Plain}},
        "*": None,
    }
}
