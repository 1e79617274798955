"""Concept vectors of the encoder: nearest neighbours, projector files, a picture."""

from ehr_pipeline.disclosure.kinds import Declared, Score, Things
from ehr_pipeline.tables.asset_names import CONCEPT_EMBEDDINGS

COUNTED: dict[str, Declared] = {
    CONCEPT_EMBEDDINGS: {
        "ontology": {"share*": Score, "chance*": Score, "excess*": Score, "by_group": None, "*": Things},
        "*": Things,
    }
}
