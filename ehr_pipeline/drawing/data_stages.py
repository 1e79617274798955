"""Draw pictures of stages: code coverage, vocabulary, follow-up, concepts. No mark represents fewer patients than allowed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.drawing import plots
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import json_files

FOLLOW_UP = "notes/follow_up.json"
"""File of a patient data set: numbers of patients by years from first to last visit, in whole years."""

CONCEPTS = "notes/concepts_3d.json"
"""File of concept embeddings: positions of the concepts of interest; a note, since no later stage reads it."""
LABELLED = 40
LETTERS = 28
IN_FRONT = 1000
"""Drawing order (z-order) of names: in front of all marks, which in three dimensions are ordered by depth."""


def coverage(path: Path, by_namespace: Mapping[str, Mapping[str, Any]], below: int) -> None:
    """Draw the events that were mapped, kept and lost, by kind of code; bars of fewer than `below` events are omitted."""

    def shown(count: int) -> int:
        return count if count >= below else 0

    parts = {
        "mapped": {name: shown(found["mapped_events"]) for name, found in by_namespace.items()},
        "kept as they are": {name: shown(found["kept_events"]) for name, found in by_namespace.items()},
        "lost": {
            name: shown(found["events"] - found["mapped_events"] - found["kept_events"])
            for name, found in by_namespace.items()
        },
    }
    names = [name for name in by_namespace if any(part[name] for part in parts.values())][::-1]
    looks = {"mapped": (plots.UNDER, 1.0), "kept as they are": (plots.UNDER, 0.4), "lost": (plots.NEUTRAL, 0.5)}
    with plots.figure(path, width=5.2, height=0.6 + 0.38 * max(len(names), 1)) as figure:
        axes = figure.add_subplot()
        labels, left = [name.replace("_", " ") for name in names], np.zeros(len(names))
        for what, part in parts.items():
            if what == "kept as they are" and not any(part.values()):
                continue
            lengths = np.array([part[name] for name in names]) / 1e3
            colour, alpha = looks[what]
            axes.barh(labels, lengths, left=left, color=colour, alpha=alpha, label=what)
            left = left + lengths
        axes.set_xlabel("events (thousands)")
        for place, length in enumerate(left.tolist()):
            axes.annotate(
                f"{1e3 * length:,.0f}", (length, place), (3, 0), textcoords="offset points", va="center", fontsize=7
            )
        axes.margins(x=0.14)
        axes.legend()
        axes.set_title("Events by kind of code")


def vocabulary(path: Path, kept: list[int], rare: list[int], threshold: int) -> None:
    """Draw how often concepts appear, most frequent first: concepts kept, concepts too rare, and the threshold.

    `kept` and `rare` are numbers of appearances (patient and day), one per concept that enough patients have.
    """
    counts = np.sort(np.array(kept + rare, np.int64))[::-1]
    ranks = np.arange(1, len(counts) + 1)
    stays = counts >= threshold
    with plots.figure(path, width=5.2, height=3.2) as figure:
        axes = figure.add_subplot()
        axes.plot(ranks[stays], counts[stays], color=plots.UNDER, label=f"{len(kept):,} concepts kept")
        if rare:
            axes.plot(ranks[~stays], counts[~stays], color=plots.NEUTRAL, label=f"{len(rare):,} too rare")
        axes.axhline(threshold, color=plots.OVER, linestyle="--", label=f"at least {threshold:,}")
        axes.set(title="Appearances of concepts", xlabel="rank", ylabel="patients and days", xscale="log", yscale="log")
        axes.legend()


def follow_up(path: Path, patients: list[int], below: int) -> None:
    """Draw the numbers of `patients` by whole years of follow-up, from 0; bars of fewer than `below` are omitted."""
    counts = np.array(patients)
    shown = np.where(counts >= below, counts, 0)
    with plots.figure(path, width=5.2, height=3) as figure:
        axes = figure.add_subplot()
        axes.bar(np.arange(len(shown)) + 0.5, shown, width=0.9, color=plots.UNDER)
        axes.set(title="Follow-up", xlabel="years from the first visit to the last", ylabel="patients")
        if (shown != counts).any():
            axes.annotate(
                f"years with fewer than {below} patients are left out", (1, 1), xycoords="axes fraction", ha="right"
            )


def concepts(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw concepts in three dimensions, coloured by semantic type; the most frequent are named where there is room.

    Each of the `rows` has name, type, appearances (patient and day) and point (3,).
    """
    from matplotlib import patheffects
    from mpl_toolkits.mplot3d import proj3d

    points = np.array([row["point"] for row in rows])
    types = [row["type"] for row in rows]
    with plots.figure(path, width=9, height=7) as figure:
        axes = figure.add_subplot(projection="3d")
        for colour, name in zip(plots.colours(len(set(types))), sorted(set(types)), strict=True):
            here = [index for index, own in enumerate(types) if own == name]
            axes.scatter(*points[here].T, s=18, color=colour, label=name, depthshade=False)
        axes.set_xticklabels([])
        axes.set_yticklabels([])
        axes.set_zticklabels([])
        legend = axes.legend(fontsize=7, loc="upper left")
        axes.set_title(f"{len(rows)} concepts of interest (UMAP of their input vectors)")

        figure.draw_without_rendering()  # fixes the layout, and with it the room that a name takes
        plane = np.stack(proj3d.proj_transform(*points.T, axes.get_proj())[:2], axis=1)
        halo = [patheffects.withStroke(linewidth=2, foreground="white")]
        beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 7, "path_effects": halo}
        taken = [legend.get_window_extent()]
        for index in np.argsort([-row["appearances"] for row in rows], kind="stable").tolist():
            name = axes.annotate(rows[index]["name"][:LETTERS], plane[index], zorder=IN_FRONT, **beside)
            name.set_in_layout(False)
            room = name.get_window_extent()
            if len(taken) > LABELLED or room.count_overlaps(taken):
                name.remove()
            else:
                taken.append(room)


# Each function draws an artifact's picture into a file and returns a description; '' and no file if there is nothing to draw.


def draw_follow_up(artifact: Artifact, naming: Naming, path: Path) -> str:
    """Draw the picture of a patient data set: years of follow-up."""
    if not artifact.file(FOLLOW_UP).is_file():  # made by an earlier version
        return ""
    follow_up(path, json_files.read(artifact.file(FOLLOW_UP)), naming.below)
    return "follow-up"


def draw_concepts(artifact: Artifact, naming: Naming, path: Path) -> str:
    """Draw the picture of concept embeddings: the concepts of interest in three dimensions."""
    if not artifact.file(CONCEPTS).is_file():  # made by an earlier version
        return ""
    found = json_files.read(artifact.file(CONCEPTS))
    shown = [row for row in found if naming.shows(row["concept"], row["patients"])]
    if shown:
        concepts(path, shown)
    return "concepts of interest" if shown else ""
