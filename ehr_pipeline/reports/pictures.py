"""Pictures of the report."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline import drawing

Points = NDArray[np.float64]


def map_of_clusters(path: Path, points: Points, cluster: NDArray[np.integer]) -> None:
    """The map of patients (n, 2) coloured by cluster (n,), with their numbers on it."""
    names = np.unique(cluster)
    with drawing.figure(path, width=7.5, height=6) as figure:
        axes = _map_axes(figure, "Clusters")
        colours = np.array([colour[:3] for colour in drawing.colours(len(names))])
        _scatter(axes, points, c=colours[np.searchsorted(names, cluster)])
        for number in names:
            x, y = np.median(points[cluster == number], axis=0)
            box = {"boxstyle": "round,pad=0.15", "fc": "white", "alpha": 0.75, "lw": 0}
            axes.text(x, y, str(number), ha="center", va="center", fontsize=10, fontweight="bold", bbox=box)


def map_of_density(path: Path, points: Points, fewest: int) -> None:
    """How many patients (n, 2) lie where; cells with fewer than `fewest` are left white."""
    with drawing.figure(path, width=5.6, height=4.4) as figure:
        axes = _map_axes(figure, "Patients per cell")
        cells = axes.hexbin(*points.T, gridsize=70, bins="log", mincnt=fewest, cmap="magma_r", linewidths=0)
        figure.colorbar(cells, ax=axes, shrink=0.8)


def map_in_bands(path: Path, points: Points, band: NDArray[np.integer], names: list[str], title: str) -> None:
    """The map coloured by bands (n,) of a number, of which `names` tell the bounds, from low to high."""
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0.05, 0.95, len(names)))[:, :3]
    _map_with_legend(path, points, band, names, colours, title)


def map_of_categories(path: Path, points: Points, values: NDArray[Any], title: str) -> None:
    """The map coloured by categories (n,)."""
    names, coded = np.unique(values, return_inverse=True)
    colours = np.array([colour[:3] for colour in drawing.colours(len(names))])
    _map_with_legend(path, points, coded, [str(name) for name in names], colours, title)


def map_of_courses(
    path: Path,
    points: Points,
    cluster: NDArray[np.integer],
    numbers: NDArray[np.integer],
    courses: list[Points],
    moves: list[tuple[int, int]],
) -> None:
    """The map (n, 2) twice: with the mean course (windows, 2) of each cluster's patients, and with arrows from cluster to cluster.

    `cluster` (n,) and `moves` are places in `numbers` (K,).
    """
    colours = np.array([colour[:3] for colour in drawing.colours(len(numbers))])
    centres = np.array([np.median(points[cluster == place], axis=0) for place in range(len(numbers))])
    with drawing.figure(path, width=11, height=4.8) as figure:
        titles = ("Mean place, window after window", "More patients this way than back")
        for side, title in enumerate(titles):
            axes = _map_axes(figure, title, place=(1, 2, side + 1))
            _scatter(axes, points, c=0.25 * colours[cluster] + 0.75)
            for (x, y), number in zip(centres, numbers.tolist(), strict=True):
                axes.text(x, y, str(number), ha="center", va="center", fontsize=8, color="#444")
            if side == 0:
                for course, colour in zip(courses, colours, strict=True):
                    axes.plot(*course.T, color=0.7 * colour, lw=1.4, marker="o", ms=2.2)
                    if len(course) > 1:
                        _arrow(axes, course[-2], course[-1], 0.7 * colour)
            else:
                for left, entered in moves:
                    _arrow(axes, centres[left], centres[entered], drawing.OVER, bent=0.15)


def _arrow(axes: Any, begin: NDArray[np.floating], end: NDArray[np.floating], colour: Any, bent: float = 0.0) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "lw": 1.4, "connectionstyle": f"arc3,rad={bent}", "shrinkA": 4}
    axes.annotate("", xy=tuple(end), xytext=tuple(begin), arrowprops=style)


def _map_with_legend(
    path: Path, points: Points, coded: NDArray[np.integer], names: list[str], colours: NDArray[np.float64], title: str
) -> None:
    from matplotlib.lines import Line2D

    with drawing.figure(path, width=5.6, height=4.4) as figure:
        axes = _map_axes(figure, title)
        _scatter(axes, points, c=colours[coded])
        handles = [
            Line2D([], [], marker="o", ls="", color=colour, markersize=5, label=name)
            for name, colour in zip(names, colours, strict=True)
        ]
        axes.legend(handles=handles, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _scatter(axes: Any, points: Points, c: NDArray[np.float64]) -> None:
    """Points in an order of chance, so that no category covers another; small and faint where there are many."""
    order = np.random.default_rng(0).permutation(len(points))
    size = float(np.clip(20_000 / max(len(points), 1), 0.7, 14))
    faint = 0.8 if len(points) < 20_000 else 0.5
    axes.scatter(*points[order].T, c=c[order], s=size, linewidths=0, alpha=faint, rasterized=True)


def _map_axes(figure: Any, title: str, place: tuple[int, int, int] = (1, 1, 1)) -> Any:
    axes = figure.add_subplot(*place)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_title(title)
    return axes


def word_cloud(path: Path, words: list[tuple[str, float, bool]], seed: int) -> None:
    """Names by importance: (name, importance, over-represented). Over-represented are red, under-represented blue."""
    from wordcloud import WordCloud

    over = {name for name, _, more in words if more}

    def colour(word: str, **_: Any) -> str:
        return drawing.OVER if word in over else drawing.UNDER

    weights = {name: max(importance, 1e-6) for name, importance, _ in words}
    cloud = WordCloud(
        width=900,
        height=420,
        background_color="white",
        color_func=colour,
        random_state=seed,
        prefer_horizontal=1.0,
        relative_scaling=0.5,
        max_font_size=86,
        min_font_size=9,
    ).generate_from_frequencies(weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    cloud.to_image().quantize(64).save(path, optimize=True)
