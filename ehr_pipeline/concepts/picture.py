"""Compute positions of the concepts of interest in three dimensions, for `data_stages.concepts` to draw."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.drawing.data_stages import CONCEPTS
from ehr_pipeline.drawing.umap import project
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary


def write(
    out: Path, vocabulary: Vocabulary, vectors: NDArray[np.float32], tokens: NDArray[np.int64], seed: int
) -> None:
    """Write the positions of `tokens` in a 3D UMAP of their `vectors` (V, D), with the number of patients who have each concept.

    This stage does not know how many patients a concept needs before it may be shown; the drawing code does.
    """
    points = project(vectors[tokens], 3, neighbours=10, seed=seed)
    concepts = [vocabulary.concepts[token - FIRST_CONCEPT] for token in tokens.tolist()]
    rows = [
        {
            "concept": concept.concept,
            "name": concept.name,
            "type": next((TYPE_NAMES.get(tui, "other") for tui in concept.semantic_types), "untyped"),
            "appearances": concept.appearances,
            "patients": concept.patients,
            "point": [round(float(value), 4) for value in point],
        }
        for concept, point in zip(concepts, points, strict=True)
    ]
    path = out / CONCEPTS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
