"""Concept vectors of the encoder: their nearest neighbours, projector files and a picture."""

from ehr_pipeline.disclosure.kinds import Declared, Plain, Score
from ehr_pipeline.tables.asset_names import CONCEPT_EMBEDDINGS

COUNTED: dict[str, Declared] = {
    CONCEPT_EMBEDDINGS: {
        "ontology": {"share*": Score, "chance*": Score, "excess*": Score, "by_group": None, "*": Plain},
        "*": Plain,
    }
}
