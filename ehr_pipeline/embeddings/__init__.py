"""Stage `patient_embeddings`: one vector for each patient of the cohort.

This package needs only torch, transformers, numpy and pyarrow, because it runs on GPU workers.
"""

from ehr_pipeline.disclosure.kinds import Declared, Events, People, Plain, Score
from ehr_pipeline.tables.asset_names import PATIENT_EMBEDDINGS

COUNTED: dict[str, Declared] = {
    PATIENT_EMBEDDINGS: {
        "dropped": People,
        "tokens": Events,
        "dimensions": Plain,
        "preset": Plain,
        "pooling": Plain,
        "selected_concepts": Plain,
        "substitutes": Plain,
        "reliable": {"directions": Plain, "*": Score},
        "encoder_share": {"patients": None, "*": Score},
        "quality": {
            "patients": None,
            "graph_components": Plain,
            "space": {"*": {"dimensions": Plain, "*": Score}},
            "*": Score,
        },
        "rows_in": None,
        "kept": None,
        "*": People,
    },
}
