"""Pictures of the page: learning curves with bands, and calibration."""

from collections.abc import Sequence
from pathlib import Path

from ehr_pipeline.drawing import plots
from ehr_pipeline.prediction_report.curves import ALL, KINDS, NONE, Curves, usual
from ehr_pipeline.predictions.models import BY_NAME, HEADS, MODELS

DRAWN_MODELS = frozenset(
    {
        *("rule_of_thumb", "counts", "recency"),
        *("masked", "vectors", "vectors_masked", "masked_recency", *(f"tuned_{head}" for head in HEADS)),
        *("masked_untrained", "vectors_untrained"),
    }
)
"""The models that are always drawn, in addition to the best ones. The table below the picture has all models."""
LINES = {"baseline": "-", "model": "-", "control": ":"}
MAPS = {"baseline": "Reds", "model": "Blues", "control": "Greys"}
"""Colours by kind, darker from one model to the next."""
MARKERS = "os^Dv"
"""From one model of a kind to the next; a shade alone is hard to recognise."""
ACROSS, SIDE, LETTERS = 5, 2.1, 30


def curves(path: Path, found: Curves) -> None:
    """Draw the mean AUROC by the number of labels. Models that need no labels are horizontal lines."""
    from matplotlib import colormaps

    numbers = [*found.labels, found.all]
    chosen = _models(found)
    with plots.figure(path, width=9, height=4.6) as figure:
        axes = figure.add_subplot()
        banded = {best[0] for kind in KINDS if (best := found.best(kind, usual(found)))}
        for name in chosen:
            model, points = BY_NAME[name], found.points[name]
            alike = [each for each in chosen if BY_NAME[each].kind == model.kind]
            shade, last = alike.index(name), len(alike) - 1
            colour = colormaps[MAPS[model.kind]](0.95 - 0.55 * (last - shade) / max(last, 1))
            if NONE in points:
                drawn = [(number, points[NONE]) for number in (numbers[0], numbers[-1])]
            else:
                known = zip(numbers, (*found.labels, ALL), strict=True)
                drawn = [(place, points[number]) for place, number in known if number in points]
            marker = "" if LINES[model.kind] == ":" else MARKERS[shade % len(MARKERS)]
            axes.plot(
                [number for number, _ in drawn],
                [point.value for _, point in drawn],
                LINES[model.kind],
                color=colour,
                label=model.title,
                marker=marker,
                markersize=5,
            )
            if name in banded:
                low, high = zip(*(point.interval for _, point in drawn), strict=True)
                axes.fill_between([place for place, _ in drawn], low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(xscale="log", xlabel="labels", ylabel="mean AUROC", title="Mean AUROC by number of labels")
        axes.set_xticks(numbers, [*(f"{number:,}" for number in found.labels), f"all ({found.all:,})"], rotation=30)
        axes.minorticks_off()
        axes.axhline(0.5, color=plots.NEUTRAL, linewidth=0.7)
        figure.legend(loc="outside right center", fontsize=8)


def _models(found: Curves) -> list[str]:
    """Return the models to draw, in the order of MODELS."""
    best = (found.best(kind, number) for kind in KINDS for number in (*found.labels, ALL))
    wanted = DRAWN_MODELS | {each[0] for each in best if each}
    return [model.name for model in MODELS if model.name in wanted and model.name in found.points]


def calibration(path: Path, panels: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> None:
    """Draw a panel for each task: shares with the outcome (y) by predicted risk (x)."""
    down = -(-len(panels) // ACROSS)
    across = min(len(panels), ACROSS)
    with plots.figure(path, width=SIDE * across + 0.3, height=SIDE * down + 0.3) as figure:
        for number, (name, points) in enumerate(panels):
            axes = figure.add_subplot(down, across, number + 1)
            most = 1.1 * max(max(pair) for pair in points)
            axes.plot([0, most], [0, most], color=plots.NEUTRAL, linewidth=0.7)
            axes.plot(*zip(*points, strict=True), "o-", color=plots.UNDER, markersize=3)
            axes.set_title(name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…", fontsize=7)
            axes.tick_params(labelsize=6)
        figure.supxlabel("predicted risk", fontsize=8)
        figure.supylabel("share with the outcome", fontsize=8)
