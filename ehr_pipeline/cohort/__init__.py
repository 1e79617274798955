"""Stage `cohort`: the patients whose vectors are computed."""

from ehr_pipeline.disclosure.kinds import Declared, EventsOf, Things
from ehr_pipeline.tables.asset_names import COHORT

COUNTED: dict[str, Declared] = {
    # Patients of the cohort are hardly more than those in clusters, whose number the page tells exactly: beside it even rounded
    # numbers would tell the few between the two. The page knows that number, and shows these so that they do not.
    COHORT: {
        "lists": {
            "*": {"events": EventsOf("by_disease/*"), "unmapped_events": EventsOf("by_disease/*"), "*": Things},
        },
        "*": None,
    },
}
