"""Pictures of the report. Maps show marks, never single patients (`Disclosure.marks`)."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.disclosure.suppression import OTHERS, Marks
from ehr_pipeline.drawing import plots

Points = NDArray[np.float64]
Colours = NDArray[np.float64]
"""Red, green and blue of K groups (K, 3)."""
Place = tuple[float, float]
LABEL = np.array([22.0, 16.0])
"""Width and height of the number of a cluster, in points of type."""
FAR_LABEL = 16.0
"""Distance of a label from its centre, in points of type, above which a line connects the two."""
WORD_MARGIN = 8
"""Pixels between the names of a word cloud, so that two names are not read as one."""
OTHER_COLOUR = (0.25, 0.25, 0.25)
"""The colour of `OTHERS`."""
CURVES = ("#2f7d4f", "#a86200")
"""Colours of further curves."""


def map_of_clusters(path: Path, marks: Marks, centres: Mapping[int, Place], clusters: int) -> None:
    """Draw the map by cluster, with the numbers of clusters that have a centre. The groups of the marks are indices from 0."""
    with plots.figure(path, width=7.5, height=6) as figure:
        axes = _map_axes(figure, "Clusters")
        _scatter(axes, marks, _rgb(plots.colours(clusters)))
        _name(axes, centres, fontsize=10, fontweight="bold")


def label_offsets(anchors: Points) -> Points:
    """Return offsets of labels from their `anchors` with which no two overlap, both in points of type (K, 2).

    Each label starts above its anchor, since the only mark of a small cluster may be there. Overlapping ones move apart
    along the axis where the shorter move suffices.
    """
    label = anchors + np.array([0.0, 10.0])
    for _ in range(300):
        apart = label[:, None] - label[None]
        room = LABEL - np.abs(apart)
        one, other = np.nonzero(np.triu((room > 0).all(2), 1))
        if not len(one):
            break
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            axis = int((room[a, b] / LABEL).argmin())
            step = (room[a, b, axis] / 2 + 0.1) * (1 if apart[a, b, axis] >= 0 else -1)
            label[a, axis] += step
            label[b, axis] -= step
    offsets: Points = label - anchors
    return offsets


def map_of_courses(
    path: Path,
    marks: Marks,
    centres: Mapping[int, Place],
    *,
    courses: Mapping[int, NDArray[np.float64]],
    moves: list[tuple[int, int]],
) -> None:
    """Draw two maps: one with the mean place of each cluster's patients in each window (windows, 2), and one with arrows between
    clusters.

    The second map is omitted if there are no moves. `courses` holds the mean places of all clusters, by number; the marks' groups
    are indices of its entries. A cluster without a centre gets no arrow.
    """
    colours = _rgb(plots.colours(len(courses)))
    titles = ("Mean position, window after window", "More patients moved this way than expected")[: 2 if moves else 1]
    with plots.figure(path, width=5.5 * len(titles), height=4.8) as figure:
        for side, title in enumerate(titles):
            axes = _map_axes(figure, title, place=(1, len(titles), side + 1))
            _scatter(axes, marks, colours, pale=True)
            if side == 0:
                for course, colour in zip(courses.values(), colours, strict=True):
                    axes.plot(*course.T, color=0.7 * colour, lw=1.4, marker="o", ms=2.2)
                    if len(course) > 1:
                        _arrow(axes, course[-2], course[-1], 0.7 * colour)
            else:
                for left, entered in moves:
                    if left in centres and entered in centres:
                        _arrow(axes, centres[left], centres[entered], plots.OVER, bent=0.15)
            _name(axes, centres, fontsize=8, color="#444")


def agreement_by_number(
    path: Path,
    agreement: Mapping[int, tuple[float, float]],
    chosen: int,
    others: Mapping[str, Mapping[int, float]] = MappingProxyType({}),
) -> None:
    """Draw the agreement of halves of the patients (mean, SD) by number of clusters; the `chosen` one is marked.

    `others` are further curves, by name.
    """
    numbers = sorted(agreement)
    mean, spread = np.array([agreement[n] for n in numbers]).T
    with plots.figure(path, width=6.2, height=2.8) as figure:
        axes = figure.add_subplot()
        style = {"marker": "o", "ms": 3, "lw": 1}
        axes.errorbar(
            numbers, mean, spread, color=plots.UNDER, elinewidth=0.6, capsize=2, label="halves of the patients", **style
        )
        for (name, curve), colour in zip(others.items(), CURVES, strict=False):
            axes.plot(list(curve), list(curve.values()), color=colour, label=name, **style)
        axes.axvline(chosen, color=plots.OVER, linestyle="--", lw=1, label=f"{chosen} clusters, as on this page")
        axes.set(xlabel="number of clusters", ylabel="agreement", title="Agreement of random halves")
        axes.set_ylim(min(0.0, float(mean.min())), 1.05)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="lower left", fontsize="small")


def _name(axes: Any, centres: Mapping[int, Place], **style: Any) -> None:
    """Write the numbers of clusters near their centres, once the axes have been drawn; a line leads to a distant centre."""
    if not centres:
        return
    axes.figure.draw_without_rendering()  # fixes the layout, and with it where a centre lies
    anchors = axes.transData.transform(list(centres.values())) * 72 / axes.figure.dpi
    box = {"boxstyle": "round,pad=0.15", "fc": "white", "alpha": 0.75, "lw": 0}
    line = {"arrowstyle": "-", "color": "#5b6773", "lw": 0.6, "shrinkA": 0, "shrinkB": 0}
    for number, offset in zip(centres, label_offsets(anchors), strict=True):
        far = {"arrowprops": line} if np.linalg.norm(offset) > FAR_LABEL else {}
        words = {"xytext": offset, "textcoords": "offset points", "ha": "center", "va": "center", "bbox": box, **style}
        axes.annotate(str(number), centres[number], **words, **far)


def _arrow(axes: Any, begin: Iterable[float], end: Iterable[float], colour: Any, bent: float = 0.0) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "lw": 1.4, "connectionstyle": f"arc3,rad={bent}", "shrinkA": 4}
    axes.annotate("", xy=tuple(end), xytext=tuple(begin), arrowprops=style)


def _scatter(axes: Any, marks: Marks, colours: Colours, pale: bool = False) -> None:
    """Draw marks in random order, so that no group covers another; small and faint if many; rings for those `apart`.

    All have one size: different sizes would reveal how many patients each mark represents.
    """
    order = np.random.default_rng(0).permutation(len(marks.group))
    colour = np.vstack([colours, [OTHER_COLOUR]])[marks.group[order]]  # the last row is the colour of OTHERS
    line = 0.25 * colour + 0.75 if pale else colour
    fill = np.where(marks.apart[order, None], 1.0, line)
    size = float(np.clip(12_000 / max(len(order), 1), 0.7, 48))
    faint = 0.85 if len(order) < 20_000 else 0.5
    axes.scatter(
        *marks.places[order].T, c=fill, edgecolors=line, s=size, linewidths=size**0.5 / 8, alpha=faint, rasterized=True
    )
    if marks.fewest > 1:
        notes = [f"each dot: at least {marks.fewest} patients"]
        notes += ["rings: these patients are far apart"] * bool(marks.apart.any())
        notes += ["dark: others"] * bool((marks.group == OTHERS).any())
        axes.set_xlabel("; ".join(notes), fontsize=7, color="#5b6773")


def _rgb(colours: list[Any]) -> Colours:
    return np.array([colour[:3] for colour in colours]).reshape(-1, 3)


def _map_axes(figure: Any, title: str, place: tuple[int, int, int] = (1, 1, 1)) -> Any:
    axes = figure.add_subplot(*place)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_title(title)
    return axes


def word_cloud(path: Path, words: list[tuple[str, float, bool]], seed: int) -> None:
    """Draw names sized by importance, from (name, importance, over-represented): over-represented red, others blue."""
    from wordcloud import WordCloud

    over = {name for name, _, more in words if more}

    def colour(word: str, **_: Any) -> str:
        return plots.OVER if word in over else plots.UNDER

    weights = {name: max(importance, 1e-6) for name, importance, _ in words}
    cloud = WordCloud(
        width=900,
        height=560,
        background_color="white",
        color_func=colour,
        random_state=seed,
        prefer_horizontal=1.0,
        margin=WORD_MARGIN,
        relative_scaling=0.5,
        max_font_size=96,
        min_font_size=16,
    ).generate_from_frequencies(weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    cloud.to_image().quantize(64).save(path, optimize=True)
