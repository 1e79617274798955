"""Forecasts of the next concepts on synthetic worlds: is the encoder better than counting, for recurring and for new concepts?

Each world and seed is a study of its own, trained with the preset `demo`; half of its patients train, a tenth weigh encoder and
counting, and the others, whom nothing was learned from, are judged. Studies stay in --keep, and what is made there is not
made again.

Usage: python benchmarks/forecasts.py [--patients 8000] [--runs base:1 base:2 base:3 …] [--keep FOLDER]
       a run of 8,000 patients takes about ten minutes on a core
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import results

from ehr_pipeline.forecasts.cases import HORIZONS
from ehr_pipeline.forecasts.metrics import NEW, RECURRING
from ehr_pipeline.forecasts.pictures import NAMES, WORDS
from ehr_pipeline.forecasts.scores import FORECAST, HISTORY, POPULARITY
from ehr_pipeline.forecasts.table import Forecasts
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.synthetic.worlds.write import is_there, write
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT, FORECASTS
from ehr_pipeline.terminology.shipped import shipped

WORLDS, SEEDS = ("base", "outcomes"), (1, 2, 3)
OVERRIDES: dict[str, Any] = {
    "patients": {"split": {"validation_share": 0.1, "test_share": 0.4}},
    "launcher": {"backend": "inline"},
}


def run(folder: Path, world: str, seed: int, patients: int) -> dict[str, list[dict[str, Any]]]:
    """The tables of the forecasts on a world, whose study is in a folder; what is there already is not made again."""
    if not is_there(folder, [world], patients, seed):
        write(folder, [world], patients, seed)
    overrides = settings.merged(places(folder), OVERRIDES, {"study": {"seed": seed}})
    pipeline = Pipeline(settings.load(shipped("demo/settings.toml"), overrides))
    pipeline.make(EXTRACT, until=ENCODER_CHECKPOINT)
    made = pipeline.asset(FORECASTS)
    assert all(outcome.passed for outcome in pipeline.check(FORECASTS) if outcome.blocking)
    found = Forecasts.read(made.path)
    tables = {name: [dict(row) for row in getattr(found, name)] for name in Forecasts.__annotations__}
    return {**tables, "counts": [made.counts]}


def text(runs: dict[tuple[str, int], dict[str, list[dict[str, Any]]]], patients: int) -> str:
    """The section."""
    made = ", ".join(f"`{world}` {seed}" for world, seed in runs)
    told = [
        f"{patients:,} patients of each world and seed ({made}); of each, about"
        f" {_mean([run['counts'][0]['kept'] for run in runs.values()], 0)} patients are judged. Figures are means over seeds, in"
        " brackets the lowest and the highest seed. Recall at ten: of the concepts that were recorded, the share among the ten that"
        " are named. The two lists are made of each patient's own candidates: in a short record ten recurring ones may be all.",
        _read(runs),
        *(_recalls(runs, world) for world in dict.fromkeys(world for world, _ in runs)),
        _verdicts(runs),
        _foresight(runs),
    ]
    return "\n\n".join(told)


def _read(runs: dict[tuple[str, int], dict[str, list[dict[str, Any]]]]) -> str:
    """How many verdicts there are of each kind, and how far the forecast is from each list's plain baseline."""
    parts = []
    for name, baseline in ((RECURRING, HISTORY), (NEW, POPULARITY)):
        verdicts = [row["verdict"] for run in runs.values() for row in run["verdicts"] if row["list"] == name]
        plain = [
            (row["difference"], row["ratio"])
            for run in runs.values()
            for row in run["differences"]
            if (row["list"], row["model"], row["baseline"], row["measure"]) == (name, FORECAST, baseline, "recall")
        ]
        better, level = verdicts.count("better"), verdicts.count("no better")
        parts.append(
            f'Of {name} concepts, {better} of {len(verdicts)} verdicts are "better", {level} "no better". Against'
            f" {NAMES[baseline]} alone, the forecast has {min(d for d, _ in plain):+.3f} to {max(d for d, _ in plain):+.3f} recall,"
            f" {min(r for _, r in plain):.2f} to {max(r for _, r in plain):.2f} times as much."
        )
    return " ".join(parts)


def _recalls(runs: dict[tuple[str, int], dict[str, list[dict[str, Any]]]], world: str) -> str:
    rows = []
    for horizon in HORIZONS:
        for name in (RECURRING, NEW):
            cells = []
            for model in NAMES:
                own = [
                    row["value"]
                    for (where, _), run in runs.items()
                    for row in run["forecasts"]
                    if (where, row["horizon"], row["list"], row["model"], row["measure"])
                    == (world, horizon, name, model, "recall")
                ]
                cells.append(_spread(own))
            rows.append((WORDS[horizon], name, *cells))
    return f"**World `{world}`: recall at ten**\n\n" + results.table(("Horizon", "Concepts", *NAMES.values()), rows)


def _verdicts(runs: dict[tuple[str, int], dict[str, list[dict[str, Any]]]]) -> str:
    rows = [
        (
            world,
            seed,
            WORDS[row["horizon"]],
            row["list"],
            NAMES[row["baseline"]],
            f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
            f"{row['ratio']:.2f}",
            row["verdict"],
        )
        for (world, seed), run in runs.items()
        for row in run["verdicts"]
    ]
    header = ("World", "Seed", "Horizon", "Concepts", "Best baseline", "Difference of recall", "Ratio", "Verdict")
    return "**Encoder and counting against the best baseline**, 95 % intervals over patients\n\n" + results.table(
        header, rows
    )


def _foresight(runs: dict[tuple[str, int], dict[str, list[dict[str, Any]]]]) -> str:
    rows = []
    for name in (RECURRING, NEW):
        cells = []
        for model in NAMES:
            own = [
                row["share"]
                for run in runs.values()
                for row in run["foresight"]
                if (row["list"], row["model"]) == (name, model)
            ]
            cells.append(_spread(own))
        rows.append((name, *cells))
    return (
        "**Foresight's own metric** (type and status of the answer given, any of ten within a year): it hardly sees a model\n\n"
        + results.table(("Concepts", *NAMES.values()), rows)
    )


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]" if len(values) else "–"


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{np.mean(values):,.{digits}f}"


def main() -> None:
    """Make the runs that are missing, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=8000)
    parser.add_argument("--runs", nargs="+", default=[f"{world}:{seed}" for seed in SEEDS for world in WORLDS])
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "ehr-forecasts")
    options = parser.parse_args()
    runs = {
        (world, int(seed)): run(options.keep / f"{world}-{seed}-{options.patients}", world, int(seed), options.patients)
        for world, _, seed in (each.partition(":") for each in options.runs)
    }
    results.write("forecasts.py", "Forecasts of the next concepts", text(runs, options.patients))


if __name__ == "__main__":
    main()
