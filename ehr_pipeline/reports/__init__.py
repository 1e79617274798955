"""What a clinician reads: enriched concepts of each cluster, pictures, the bias audit, one HTML page."""

from ehr_pipeline.disclosure.kinds import Declared, People, Things

COUNTED: dict[str, Declared] = {
    "cluster_reports": {"clusters": Things, "concepts*": Things, "rows_in": None, "kept": None, "*": People}
}
