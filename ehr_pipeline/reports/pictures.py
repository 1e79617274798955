"""Pictures of the report."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline import drawing

Points = NDArray[np.float64]


def coloured_map(
    path: Path,
    points: Points,
    values: NDArray[Any],
    title: str,
    number_clusters: bool = False,
    numbered: NDArray[np.int64] | None = None,
) -> None:
    """The map of patients (n, 2) coloured by an attribute (n,). With `number_clusters`, `numbered` (n,) names places on it."""
    size = float(np.clip(6000 / max(len(points), 1), 0.6, 14))
    numeric = np.issubdtype(values.dtype, np.number) and not number_clusters
    with drawing.figure(
        path, width=5.6 if not number_clusters else 7.5, height=4.4 if not number_clusters else 6
    ) as figure:
        axes = figure.add_subplot()
        if numeric:
            low, high = np.quantile(values, (0.02, 0.98))
            drawn = axes.scatter(
                *points.T,
                c=np.clip(values, low, high),
                s=size,
                cmap="viridis",
                linewidths=0,
                alpha=0.8,
                rasterized=True,
            )
            figure.colorbar(drawn, ax=axes, shrink=0.8)
        else:
            names = np.unique(values)
            for colour, name in zip(drawing.colours(len(names)), names, strict=True):
                here = values == name
                axes.scatter(
                    *points[here].T,
                    s=size,
                    color=colour,
                    label=str(name) or "not known",
                    linewidths=0,
                    alpha=0.8,
                    rasterized=True,
                )
            if not number_clusters:
                axes.legend(fontsize=7, markerscale=max(1, 3 / size**0.5), loc="center left", bbox_to_anchor=(1, 0.5))
        if number_clusters and numbered is not None:
            for number in np.unique(numbered):
                x, y = np.median(points[numbered == number], axis=0)
                axes.text(
                    x,
                    y,
                    str(number),
                    ha="center",
                    va="center",
                    fontsize=10,
                    fontweight="bold",
                    bbox={"boxstyle": "round,pad=0.15", "fc": "white", "alpha": 0.75, "lw": 0},
                )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_title(title)


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


def learning_curve(path: Path, epochs: list[dict[str, Any]], baseline: dict[str, Any]) -> None:
    """Training and validation loss by epoch, beside the frequency baseline."""
    with drawing.figure(path, width=5.2, height=3.2) as figure:
        axes = figure.add_subplot()
        number = [row["epoch"] for row in epochs]
        axes.plot(
            number, [row["training_loss"] for row in epochs], "o-", label="training", color=drawing.UNDER, markersize=4
        )
        axes.plot(
            number,
            [row["validation_loss"] for row in epochs],
            "s-",
            label="validation",
            color=drawing.OVER,
            markersize=4,
        )
        axes.axhline(baseline["loss"], ls="--", color=drawing.NEUTRAL, label="frequency baseline")
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss (nats per masked token)")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        axes.set_title("Learning curve")


def coverage_bars(path: Path, by_namespace: dict[str, dict[str, Any]]) -> None:
    """Events that were mapped and lost, by kind of code."""
    names = list(by_namespace)[::-1]
    mapped = np.array([by_namespace[name]["mapped_events"] for name in names]) / 1e3
    lost = np.array([by_namespace[name]["events"] for name in names]) / 1e3 - mapped
    with drawing.figure(path, width=5.2, height=0.6 + 0.38 * len(names)) as figure:
        axes = figure.add_subplot()
        labels = [name.replace("_", " ") for name in names]
        axes.barh(labels, mapped, color=drawing.UNDER, label="mapped")
        axes.barh(labels, lost, left=mapped, color=drawing.NEUTRAL, alpha=0.5, label="lost")
        axes.set_xlabel("events (thousands)")
        axes.legend()
        axes.set_title("Events by kind of code")
