"""The concepts of interest in three dimensions."""

from pathlib import Path

import numpy as np
from mpl_toolkits.mplot3d import proj3d
from numpy.typing import NDArray

from ehr_pipeline import drawing
from ehr_pipeline.projection import project
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

LABELLED = 40
LETTERS = 28
LINE, LETTER = 0.0042, 0.0021
"""Room that a line and a letter of a label take, in the units of the projected picture (about 0.2 wide)."""


def draw(
    path: Path, vocabulary: Vocabulary, vectors: NDArray[np.float32], tokens: NDArray[np.int64], seed: int
) -> None:
    """A 3D UMAP of some concepts, coloured by semantic type; the most frequent ones that have room carry their names."""
    points = project(vectors[tokens], 3, neighbours=10, seed=seed)
    concepts = [vocabulary.concepts[token - FIRST_CONCEPT] for token in tokens.tolist()]
    types = [
        TYPE_NAMES.get(concept.semantic_types[0], "other") if concept.semantic_types else "untyped"
        for concept in concepts
    ]
    with drawing.figure(path, width=9, height=7) as figure:
        axes = figure.add_subplot(projection="3d")
        for colour, name in zip(drawing.colours(len(set(types))), sorted(set(types)), strict=True):
            here = [index for index, own in enumerate(types) if own == name]
            axes.scatter(*points[here].T, s=18, color=colour, label=name, depthshade=False)
        frequent = np.argsort([-concept.appearances for concept in concepts], kind="stable")
        names = [concept.name[:LETTERS] for concept in concepts]
        for index in _apart(np.stack(proj3d.proj_transform(*points.T, axes.get_proj())[:2], axis=1), names, frequent):
            axes.text(*points[index], names[index], fontsize=7)
        axes.set_xticklabels([])
        axes.set_yticklabels([])
        axes.set_zticklabels([])
        axes.legend(fontsize=7, loc="upper left")
        axes.set_title(f"{len(tokens)} concepts of interest (UMAP of their input vectors)")


def _apart(places: NDArray[np.float64], names: list[str], order: NDArray[np.int64]) -> list[int]:
    """Indices of labels at `places` (n, 2) that do not cover each other, the first in `order` first; at most `LABELLED`."""
    chosen: list[int] = []
    for index in order.tolist():
        x, y = places[index]
        free = all(
            abs(y - places[other][1]) > LINE
            or x + LETTER * len(names[index]) < places[other][0]
            or places[other][0] + LETTER * len(names[other]) < x
            for other in chosen
        )
        if free:
            chosen.append(index)
    return chosen[:LABELLED]
