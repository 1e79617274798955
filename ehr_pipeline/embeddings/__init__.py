"""Stage `patient_embeddings`: one vector for each patient of the cohort.

This package needs only torch, transformers, numpy and pyarrow, because it runs on GPU workers.
"""

from ehr_pipeline.disclosure.kinds import Declared, Events, People, Score, Things
from ehr_pipeline.tables.asset_names import PATIENT_EMBEDDINGS

COUNTED: dict[str, Declared] = {
    PATIENT_EMBEDDINGS: {
        "dropped": People,
        "tokens": Events,
        "dimensions": Things,
        "preset": Things,
        "pooling": Things,
        "selected_concepts": Things,
        "substitutes": Things,
        "reliable": {"directions": Things, "*": Score},
        "encoder_share": {"patients": None, "*": Score},
        "quality": {
            "patients": None,
            "graph_components": Things,
            "space": {"*": {"dimensions": Things, "*": Score}},
            "*": Score,
        },
        "rows_in": None,
        "kept": None,
        "*": People,
    },
}
