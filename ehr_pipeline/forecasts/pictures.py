"""Draw the picture of the forecasts: recall at ten, by list, horizon and model, with intervals."""

from pathlib import Path

from ehr_pipeline.drawing import plots
from ehr_pipeline.forecasts.cases import HORIZONS
from ehr_pipeline.forecasts.metrics import NEW, RECURRING
from ehr_pipeline.forecasts.scores import COUNTING, ENCODER, FORECAST, HISTORY, POPULARITY
from ehr_pipeline.forecasts.table import Forecasts

RECALLS = "notes/forecasts.png"
NAMES = {
    POPULARITY: "popularity by age and sex",
    HISTORY: "own history",
    COUNTING: "own history and popularity",
    ENCODER: "encoder",
    FORECAST: "encoder and counting",
}
WORDS = {"next_visit": "next visit", "30_days": "30 days", "365_days": "a year"}


def recalls(path: Path, found: Forecasts) -> None:
    """Draw recall at ten for new and for recurring concepts; nothing if no forecast was evaluated."""
    rows = {(row["list"], row["horizon"], row["model"]): row for row in found.forecasts if row["measure"] == "recall"}
    if not rows:
        return
    with plots.figure(path, width=7.5, height=3) as drawn:
        for axes, name in zip(drawn.subplots(1, 2), (NEW, RECURRING), strict=True):
            for place, (model, colour) in enumerate(zip(NAMES, plots.colours(len(NAMES)), strict=True)):
                own = [(x, rows[name, each, model]) for x, each in enumerate(HORIZONS) if (name, each, model) in rows]
                values = [row["value"] for _, row in own]
                errors = [[row["value"] - row["low"] for _, row in own], [row["high"] - row["value"] for _, row in own]]
                where = [x + (place - 2) * 0.15 for x, _ in own]
                axes.bar(
                    where, values, 0.15, yerr=errors, color=colour, label=NAMES[model], error_kw={"linewidth": 0.7}
                )
            axes.set(title=f"{name.capitalize()} concepts", ylabel="recall at ten")
            axes.set_xticks(range(len(HORIZONS)), [WORDS[each] for each in HORIZONS])
        drawn.legend(*drawn.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
