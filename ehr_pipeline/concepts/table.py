"""Read vectors and neighbours of concepts."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.tables import json_files, schemas

VECTORS, NEIGHBOURS, ONTOLOGY = "vectors.npy", "neighbours.csv", "ontology.json"
SCOPES = ("concepts of interest", "whole vocabulary")


def read_vectors(folder: Path) -> NDArray[np.float32]:
    """Open the vectors (V, D) by token id in the folder of a `concept_embeddings` artifact, mapped into memory."""
    found: NDArray[np.float32] = np.load(folder / VECTORS, mmap_mode="r")
    return found


def read_neighbours(folder: Path) -> list[dict[str, Any]]:
    """Read the nearest neighbours of the concepts of interest: `schemas.NEIGHBOURS`; `scope` is one of SCOPES."""
    return list(spreadsheet.read(folder / NEIGHBOURS, schemas.NEIGHBOURS))


def read_ontology(folder: Path) -> dict[str, Any]:
    """Read how often neighbours belong to the same group of an ontology (`ontology.agreement`)."""
    found: dict[str, Any] = json_files.read(folder / ONTOLOGY)
    return found
