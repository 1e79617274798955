"""Concept vectors of the encoder: nearest neighbours, projector files, a picture."""

from ehr_pipeline.disclosure.kinds import Declared, Score, Things

COUNTED: dict[str, Declared] = {
    "concept_embeddings": {
        "ontology": {"share*": Score, "chance*": Score, "excess*": Score, "by_group": None, "*": Things},
        "*": Things,
    }
}
