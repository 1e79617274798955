"""How patients change: their records in windows of time, each with a vector, a cluster and a place on the map."""

from ehr_pipeline.disclosure.kinds import Declared, Events, People, Plain, Score, ShareOf
from ehr_pipeline.tables.asset_names import PATIENT_TRAJECTORIES

COUNTED: dict[str, Declared] = {
    PATIENT_TRAJECTORIES: {
        # Not shown: the page states how many patients are in clusters (`rows_in`), so `kept` would reveal how few were dropped.
        "patients": {"rows_in": None, "kept": None, "dropped": People},
        "windows": Plain,
        "years": Plain,
        "agreement": {
            "changed_found": ShareOf("agreement/changed", People),
            "unchanged_found": ShareOf("agreement/unchanged", People),
            "windows_right": ShareOf("agreement/windows", Events),
            "windows": Events,
            "*chance*": Score,
            "*": People,
        },
        "*": Events,
    }
}
