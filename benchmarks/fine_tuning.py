"""Fine-tuning on the world `outcomes`: what do its three heads add to the encoder as it is, with few labels and with all?

Each seed is a world and a study of its own: an encoder of the preset `demo` is trained on half of the patients; then, for each
outcome, all models have the same samples of labels of that half, and are judged on two fifths whom nothing was learned from. The
index date is a visit drawn at random, the window three years: the outcome recurs or is new. Differences are those of AUROCs on the
same test set, with the same samples. What is made in the folder of --keep is not made again.

Usage: python benchmarks/fine_tuning.py [--patients 6000] [--seeds 1] [--epochs 3] [--outcomes diverticulitis …] [--keep FOLDER]
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import results
from scipy.stats import t as student

from ehr_pipeline.predictions.models import BY_NAME
from ehr_pipeline.predictions.table import TaskResults
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.synthetic.worlds.drivers import OUTCOMES
from ehr_pipeline.synthetic.worlds.write import is_there, write
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT, TASK_LABELS, TASK_RESULTS
from ehr_pipeline.terminology.shipped import shipped

LABELS, YEARS = (10, 50, 200), 3
MODELS = ("prevalence", "history", "counts", "masked", "vectors", "masked_untrained", "vectors_untrained")
HEADS = ("classifier", "sum", "mask")
AGAINST = (
    ("tuned_classifier", "vectors"),
    ("tuned_sum", "vectors"),
    ("tuned_mask", "vectors"),
    ("tuned_mask", "masked"),
    ("tuned_mask", "tuned_classifier"),
    ("tuned_mask", "counts"),
)
Found = list[dict[str, Any]]


def run(folder: Path, seed: int, asked: argparse.Namespace) -> Found:
    """The results of all models of a seed, whose study is in a folder; what is there already is not made again."""
    if not is_there(folder, ["outcomes"], asked.patients, seed):
        write(folder, ["outcomes"], asked.patients, seed)
    chosen = {
        "study": {"seed": seed},
        "encoder": {"max_epochs": asked.epochs},
        "patients": {"min_visits": 1, "split": {"validation_share": 0.1, "test_share": 0.4}},
        "launcher": {"backend": "inline"},
        "tasks": {"task": [task_of(folder, name) for name in asked.outcomes]},
        "predictions": {"models": MODELS, "labels": LABELS, "fine_tuning": {"heads": HEADS}},
    }
    pipeline = Pipeline(settings.load(shipped("demo/settings.toml"), settings.merged(places(folder), chosen)))
    pipeline.make(EXTRACT, until=ENCODER_CHECKPOINT)
    pipeline.asset(TASK_LABELS)
    made = pipeline.asset(TASK_RESULTS)
    assert all(outcome.passed for outcome in pipeline.check(TASK_RESULTS) if outcome.blocking)
    return [dict(row) for row in TaskResults.read(made.path).results]


def task_of(folder: Path, name: str) -> dict[str, Any]:
    """The task of an outcome, whose codes are written as a list into the folder."""
    (outcome,) = (each for each in OUTCOMES if each.name == name)
    path = folder / f"{name.replace(' ', '_')}.csv"
    path.write_text(
        "code,cui,name,source\n" + "".join(f"{code},,{name},world\n" for code in outcome.codes), encoding="utf-8"
    )
    return {
        "name": name,
        "outcome": str(path),
        "window_days": 365 * YEARS,
        "incident": False,
    }


def text(runs: dict[int, Found], asked: argparse.Namespace) -> str:
    """The section."""
    rows = [row for run in runs.values() for row in run]
    sizes = {(row["rows"], row["cases"]) for row in rows}
    cases, people = (sorted(each) for each in (([c for _, c in sizes]), [r for r, _ in sizes]))
    about = (
        f"{asked.patients:,} patients of the world `outcomes` for each seed ({', '.join(map(str, runs))}); encoder of the"
        f" preset `demo`, {asked.epochs} epochs on half of them. Outcomes: {', '.join(asked.outcomes)}, within {YEARS} years of"
        f" a random visit, new or recurring; {_range(cases)} cases of {_range(people)} patients on the test"
        " side. Fine-tuning as by default: nothing frozen, 1e-4, four epochs. AUROC, mean over outcomes, seeds and samples"
        " (five up to 100 labels, three above)."
    )
    header = ("Model", "no labels", *(f"{number} labels" for number in LABELS), "all labels")
    table = results.table(
        header, [row for name in (*MODELS, *(f"tuned_{h}" for h in HEADS)) if (row := line(runs, name))]
    )
    apart = [(_said(*pair), *(_apart(runs, *pair, number) for number in (*LABELS, None))) for pair in AGAINST]
    pairs = results.table(("Difference", *header[2:]), apart)
    return "\n\n".join(
        [
            about,
            table,
            "**Differences of AUROC**, in brackets 95 % intervals over samples of labels (t, of the means over outcomes)",
            pairs,
            "The intervals do not tell how figures differ with other patients in the test set, or with another training of the"
            " encoder: that takes more seeds. With all labels there is one sample of each seed. So small an encoder, after so few"
            " epochs, says nothing of a large one; and outcomes of a generator, whose risks follow from a few findings, nothing of"
            " real ones.",
        ]
    )


def _range(numbers: list[int]) -> str:
    return f"{numbers[0]:,} to {numbers[-1]:,}" if numbers[0] < numbers[-1] else f"{numbers[0]:,}"


def line(runs: dict[int, Found], name: str) -> tuple[str, ...] | None:
    """The row of a model."""
    cells = []
    for labels in (0, *LABELS, None):
        found = [
            row["auroc"] for run in runs.values() for row in run if (row["model"], row["labels"]) == (name, labels)
        ]
        cells.append(f"{np.mean(found):.3f}" if found else "–")
    return (BY_NAME[name].title, *cells) if any(cell != "–" for cell in cells) else None


def _said(one: str, other: str) -> str:
    return f"{BY_NAME[one].title} − {BY_NAME[other].title.lower()}"


def _apart(runs: dict[int, Found], one: str, other: str, labels: int | None) -> str:
    """The mean difference of two models, with its interval over samples of labels where there are several."""
    apart = []
    for run in runs.values():
        first, second = (_by_sample(run, name, labels) for name in (one, other))
        tasks = {task for task, _ in first}
        for replicate in sorted({replicate for _, replicate in first}):
            apart.append(np.mean([first[task, replicate] - second[task, replicate] for task in tasks]))
    mean, count = float(np.mean(apart)), len(apart)
    if count < 2:
        return f"{mean:+.3f}"
    half = float(student.ppf(0.975, count - 1) * np.std(apart, ddof=1) / np.sqrt(count))
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def _by_sample(run: Found, name: str, labels: int | None) -> dict[tuple[str, int], float]:
    """AUROC by task and replicate; a model without labels has the same with every sample."""
    needs = BY_NAME[name].learner != "none"
    wanted = (name, labels if needs else 0)
    own = {(row["task"], row["replicate"]): row["auroc"] for row in run if (row["model"], row["labels"]) == wanted}
    return own if needs else {(task, sample): auroc for (task, _), auroc in own.items() for sample in range(5)}


def main() -> None:
    """Measure all seeds, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=6_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--outcomes", nargs="+", default=["diverticulitis", "pneumonia"])
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        runs = {seed: run(folder / str(seed), seed, asked) for seed in asked.seeds}
    results.write("fine_tuning.py", "Fine-tuning on the world `outcomes`", text(runs, asked))


if __name__ == "__main__":
    main()
