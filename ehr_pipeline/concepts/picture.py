"""The concepts of interest in three dimensions."""

from pathlib import Path

import numpy as np
from matplotlib import patheffects
from mpl_toolkits.mplot3d import proj3d
from numpy.typing import NDArray

from ehr_pipeline import drawing
from ehr_pipeline.guard import FEWEST
from ehr_pipeline.projection import project
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

LABELLED = 40
LETTERS = 28
IN_FRONT = 1000
"""Of every mark, which in three dimensions are ordered by their depth."""


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
        axes.set_xticklabels([])
        axes.set_yticklabels([])
        axes.set_zticklabels([])
        legend = axes.legend(fontsize=7, loc="upper left")
        axes.set_title(f"{len(tokens)} concepts of interest (UMAP of their input vectors)")

        figure.draw_without_rendering()  # from here on the layout is known, and with it the room that a name takes
        plane = np.stack(proj3d.proj_transform(*points.T, axes.get_proj())[:2], axis=1)
        halo = [patheffects.withStroke(linewidth=2, foreground="white")]
        beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 7, "path_effects": halo}
        taken = [legend.get_window_extent()]
        frequent = np.argsort([-concept.appearances for concept in concepts], kind="stable").tolist()
        for index in (index for index in frequent if concepts[index].patients >= FEWEST):
            name = axes.annotate(concepts[index].name[:LETTERS], plane[index], zorder=IN_FRONT, **beside)
            name.set_in_layout(False)
            room = name.get_window_extent()
            if len(taken) > LABELLED or room.count_overlaps(taken):
                name.remove()
            else:
                taken.append(room)
