"""Tasks of the world `outcomes`: what do models with and without an encoder reach of what can be known, with and without labels?

Of each of the eight outcomes, the true risk of everybody on each 1 January is known: as a score it has the best AUROC that there
is (Bayes). For each seed, the demo's encoder is trained on half of the patients, and all models are judged on the other half, on
1 January of several years, so that there are cases enough (tasks: `outcome_tasks.py`). Intervals are over patients, each with all
years; differences are between models on the same rows. They are normal intervals from the influence of patients on AUROCs
(DeLong 1988): so those of means over outcomes are right, although outcomes share patients. Seeds differ in world and training.

Coverage is that of intervals on stored scores: patients are drawn again and again from a large population with known AUROC.

What is in the folder of --keep is not made again: world, training and scores of each task. The section is written of the seeds that
are asked for.

Usage: python benchmarks/tasks.py [encoder | counts | coverage] [--patients 41000] [--seeds 0 1 2] [--epochs 6] [--keep FOLDER]; for
each seed 2 minutes of one core without an encoder, 11 for the training, 6 for the rest; `counts` needs no encoder
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import results
from numpy.typing import NDArray
from outcome_tasks import (
    AGAIN,
    AGE,
    AMOUNT,
    BAYES,
    FINDING,
    INCIDENT,
    LABELS,
    RATE,
    RISK,
    WITH,
    WITHOUT,
    YEARS,
    Judged,
    Seed,
)
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from ehr_pipeline.predictions import guards, metrics
from ehr_pipeline.predictions.metrics import Bootstrap
from ehr_pipeline.synthetic.worlds.drivers import OUTCOMES
from ehr_pipeline.synthetic.worlds.outcomes import LEAK

REPEATS, DRAWN, POPULATION, STEEP, ROWS = 2_000, 1_000, 400_000, 1.5, 4
NULL, MOST_BELOW, NEAR, WANTED, LEVEL, PROBE = "stye", 0.03, 0.02, 0.03, 0.005, 0.02
NONE, SOME, ALL = "0", str(LABELS), "all"
DRIVEN = [f"{INCIDENT}: {one.name}" for one in OUTCOMES if one.name != NULL]
COUNTING = ("counts", "recency", "recency_boosting")


@dataclass(frozen=True)
class Figure:
    """A figure of several seeds, with the influence (P,) of each seed's patients on its own."""

    values: tuple[float, ...]
    moves: tuple[NDArray[np.float64], ...]

    def __sub__(self, other: "Figure") -> "Figure":
        values = tuple(one - two for one, two in zip(self.values, other.values, strict=True))
        return Figure(values, tuple(one - two for one, two in zip(self.moves, other.moves, strict=True)))

    @classmethod
    def mean(cls, figures: Iterable["Figure"]) -> "Figure":
        """The mean of several figures of the same seeds."""
        every = list(figures)
        values = np.mean([each.values for each in every], axis=0)
        return cls(
            tuple(map(float, values)),
            tuple(np.asarray(np.mean(each, axis=0), float) for each in zip(*(own.moves for own in every), strict=True)),
        )

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.values))

    @property
    def limits(self) -> tuple[float, float]:
        """The 95 % interval of the mean over seeds."""
        half = 1.96 * np.sqrt(sum(float(each @ each) for each in self.moves)) / len(self.values)
        return self.value - half, self.value + half

    @property
    def clear(self) -> bool:
        """Whether the interval of each seed is above zero."""
        seeds = (Figure((value,), (moves,)) for value, moves in zip(self.values, self.moves, strict=True))
        return all(own.limits[0] > 0 for own in seeds)

    def __str__(self) -> str:
        return "{:+.3f} ({:+.3f} to {:+.3f})".format(self.value, *self.limits)

    @property
    def each(self) -> str:
        """The figure of each seed."""
        return ", ".join(f"{value:+.3f}" for value in self.values)


class Scores:
    """The scores of all tasks and seeds, in the test sets."""

    def __init__(self, judged: Mapping[int, Mapping[str, Judged]]) -> None:
        self.judged = judged
        self.people = [np.unique(np.concatenate([one.patient for one in own.values()])) for own in judged.values()]
        self.auroc: Callable[[str, str, str], Figure] = cache(self._auroc)

    def _auroc(self, task: str, model: str, labels: str) -> Figure:
        """AUROC, mean over samples of labels."""
        values, moves = list[float](), list[NDArray[np.float64]]()
        for own, people in zip(self.judged.values(), self.people, strict=True):
            one = own[task]
            ones, place = np.ones(len(one.label)), np.searchsorted(people, one.patient)
            found = [each for key, each in one.scores.items() if key[:2] == (model, labels)]
            values.append(float(np.mean([metrics.auroc(one.label, each, ones) for each in found])))
            influences = np.mean([metrics.influence(one.label, each, ones) for each in found], axis=0)
            moves.append(np.bincount(place, influences, len(people)).astype(float))
        return Figure(tuple(values), tuple(moves))

    def mean(self, tasks: Iterable[str], model: str, labels: str) -> Figure:
        """Mean AUROC over tasks."""
        return Figure.mean(self.auroc(task, model, labels) for task in tasks)

    def chosen(self, task: str, models: Sequence[str], labels: str) -> Figure:
        """AUROC of the model that is best on the validation set, chosen in each seed."""
        values, moves = [], []
        for number, own in enumerate(self.judged.values()):
            name = max(models, key=lambda model: own[task].tuned[model, labels, 0])
            figure = self.auroc(task, name, labels)
            values.append(figure.values[number])
            moves.append(figure.moves[number])
        return Figure(tuple(values), tuple(moves))

    def highest(self, task: str, pairs: Iterable[tuple[str, str]]) -> Figure:
        """The highest AUROC on the test set of several models and numbers of labels, as a mean over seeds."""
        return max((self.auroc(task, *pair) for pair in pairs), key=lambda figure: figure.value)

    def cases(self, task: str) -> str:
        """Cases and rows in the test sets."""
        return ", ".join(f"{int(own[task].label.sum()):,} of {len(own[task].label):,}" for own in self.judged.values())

    def tasks(self, kind: str) -> list[str]:
        """Names of the tasks of a kind."""
        return [name for name in next(iter(self.judged.values())) if name.startswith(f"{kind}: ")]


RULES = ((AGE, NONE), (AMOUNT, NONE), ("history", NONE), ("age_sex", ALL))
"""Rules that know nothing of what causes the outcome; rates by age and sex are learned from all labels, as published ones are."""


def coverage(seed: int, rows: int = 1) -> dict[str, float]:
    """Shares of intervals that hold the true AUROC, calibration slope and intercept, in REPEATS samples of DRAWN rows.

    Scores are stored. Predictions are too extreme, and too low: the true slope is 1 / STEEP. Each patient has so many `rows`, whose
    risks are alike.
    """
    rng = np.random.default_rng(seed)
    everybody = POPULATION // rows
    risk = rng.normal(-3, 0.85, (everybody, 1)) + rng.normal(0, 0.85, (everybody, rows))
    label = (rng.random((everybody, rows)) < expit(risk)).ravel()
    risk, score = risk.ravel(), expit(STEEP * risk + 0.5).ravel()
    ones = np.ones(len(risk))
    true = {
        "AUROC": metrics.auroc(label, risk, ones),
        "slope": 1 / STEEP,
        "intercept": metrics.calibration_intercept(label, score, ones),
    }
    held, one = dict.fromkeys(true, 0), np.ones(DRAWN // rows * rows)
    for repeat in range(REPEATS):
        people = rng.choice(everybody, DRAWN // rows, replace=False)
        own = (people[:, None] * rows + np.arange(rows)).ravel()
        labels, scores = label[own], score[own]
        draws, found = Bootstrap(own // rows, one, 400, repeat), metrics.recalibration(labels, scores, one)
        assert found is not None
        shift = metrics.calibration_intercept(labels, scores, one)
        drawn = {
            "AUROC": draws.aurocs(labels, scores),
            "slope": draws.slopes(labels, scores, found),
            "intercept": draws.intercepts(labels, scores, shift),
        }
        for name, values in drawn.items():
            low, high = metrics.interval(values)
            held[name] += low <= true[name] <= high
    return {name: number / REPEATS for name, number in held.items()}


def write_coverage() -> None:
    """Measure the coverage of intervals, and write its section."""
    found = {rows: coverage(0, rows) for rows in (1, ROWS)}
    table = [(rows, *(f"{share:.1%}" for share in shares.values())) for rows, shares in found.items()]
    text = (
        f"Shares of 95 % intervals that hold the true value, in {REPEATS:,} samples of {DRAWN:,} rows with about 8 % cases, 400"
        f" draws of patients each. Scores are stored, too extreme (the true slope is {1 / STEEP:.2f}) and too low. Slopes and"
        " intercepts in draws are one step of Newton's method.\n\n"
        + results.table(("rows of a patient", *found[1]), table)
    )
    results.write("tasks.py coverage", "Coverage of intervals of AUROC and calibration", text)


def reached(scores: Scores, models: tuple[str, ...]) -> str:
    """With all labels: how near the best come to what can be known."""
    able = [name for name in models if name not in ("age_sex", "history", "masked")]
    rows = []
    for outcome in OUTCOMES:
        task = f"{INCIDENT}: {outcome.name}"
        final = [scores.auroc(task, name, NONE if name in ("history", "masked") else ALL) for name in models]
        bayes, best = scores.auroc(task, BAYES, NONE), scores.chosen(task, able, ALL)
        apart = best - bayes
        met = abs(best.value - 0.5) <= NEAR if outcome.name == NULL else apart.value >= -MOST_BELOW
        rows.append(
            (
                outcome.name,
                outcome.driver,
                scores.cases(task),
                *(f"{each.value:.3f}" for each in (bayes, *final, best)),
                str(apart),
                "yes" if met else "**no**",
            )
        )
    head = ("outcome", "driver", "cases in each test set", BAYES, *models, "best", "best minus Bayes", "reached")
    said = (
        "**With all labels, incident cases**: AUROC, mean over seeds (`history` and `masked` use no labels). Best: of the models"
        " with counts or with the encoder, the one that is best on the validation set, chosen in each seed. Reached: at most"
        f" {MOST_BELOW} below Bayes; for the outcome without any cause ({NULL}), within {NEAR} of 0.5."
    )
    return f"{said}\n\n{results.table(head, rows)}"


def unlabelled(scores: Scores) -> str:
    """Without labels: the encoder's two scores beside rules and the outcome's own history."""
    incident, again = [], []
    columns = ((AGE, NONE), (AMOUNT, NONE), ("age_sex", ALL), (RISK, NONE), ("masked", NONE), (RATE, NONE))
    for task in scores.tasks(INCIDENT):
        share, rate, rule = (
            scores.auroc(task, "masked", NONE),
            scores.auroc(task, RATE, NONE),
            scores.highest(task, RULES),
        )
        cells = (f"{scores.auroc(task, *pair).value:.3f}" for pair in columns)
        incident.append((task.split(": ")[1], *cells, str(rate - share), str(share - rule), str(rate - rule)))
    for task in (*scores.tasks(AGAIN), *scores.tasks(FINDING)):
        bayes = f"{scores.auroc(task, BAYES, NONE).value:.3f}" if task.startswith(FINDING) else ""
        history, share, rate = (scores.auroc(task, name, NONE) for name in ("history", "masked", RATE))
        cells = (f"{each.value:.3f}" for each in (history, share, rate))
        again.append(
            (task, scores.cases(task), bayes, *cells, str(rate - share), str(share - history), str(rate - history))
        )
    rules = ("rate minus share", "share minus best rule", "rate minus best rule")
    head = ("outcome", AGE, AMOUNT, "age and sex, all labels", RISK, "share", RATE, *rules)
    said = (
        "**Without labels, incident cases**: AUROC, mean over seeds. Share: the encoder's odds at the mask (`masked`). Rate: share"
        " times the concepts a year in the record. Best rule: the best on the test set of age, amount, and rates by age and sex"
        " (from all labels). Risk concepts: those that the plan makes a cause, counted with a half-life of a year: what somebody"
        " can count who knows the cause."
    )
    own = ("rate minus share", "share minus history", "rate minus history")
    shown = ("task", "cases in each test set", BAYES, "own history", "share", RATE, *own)
    more = (
        "**Without labels, recurrent**: outcomes again (`again`), and findings that cause them (`finding`), in patients who had"
        " them. Own history: decayed count (`history`). An outcome happens once, and is recorded again within 200 days: so its own"
        " history tells nearly all that can be known. Of findings, Bayes is the mean of the patient's rate, given the records."
    )
    return "\n\n".join((said, results.table(head, incident), more, results.table(shown, again)))


def labelled(scores: Scores) -> str:
    """With 100 and with all labels: means over the outcomes with a driver."""
    rows = []
    masked = scores.mean(DRIVEN, "masked", NONE)
    for labels in (SOME, ALL):
        counts = scores.mean(DRIVEN, "counts", labels)
        for name in ("counts", "recency", *WITH[1:], "vectors_untrained"):
            own = scores.mean(DRIVEN, name, labels)
            apart = ("", "") if name == "counts" else (str(own - counts), (own - counts).each)
            rows.append((labels, name, f"{own.value:.3f}", *apart, str(own - masked)))
    head = ("labels", "model", "mean AUROC", "minus counts", "each seed", "minus masked, no labels")
    said = (
        f"**With {LABELS} and with all labels, incident cases**: mean over the {len(DRIVEN)} outcomes with a driver, over samples"
        " of labels (five) and over seeds; differences on the same rows with the same labels."
    )
    return f"{said}\n\n{results.table(head, rows)}"


def asked_for(scores: Scores) -> str:
    """What was asked for, and whether it holds."""
    share, rate = (scores.mean(DRIVEN, name, NONE) for name in ("masked", RATE))
    rule = Figure.mean(scores.highest(task, RULES) for task in DRIVEN)
    knowing = Figure.mean(scores.highest(task, (*RULES, (RISK, NONE))) for task in DRIVEN)
    again, findings = scores.tasks(AGAIN), scores.tasks(FINDING)
    lines = [
        ("incident, no labels: share minus the best rule", share - rule, WANTED),
        ("the same for the rate", rate - rule, WANTED),
        (
            "incident, no labels: share minus the best rule, one that knows the causes among them",
            share - knowing,
            WANTED,
        ),
        ("the same for the rate", rate - knowing, WANTED),
    ]
    for title, tasks in (("outcomes", again), ("findings", findings)):
        history = scores.mean(tasks, "history", NONE)
        for name, said in (("masked", "share"), (RATE, RATE)):
            lines.append(
                (
                    f"recurrent {title}, no labels: {said} minus own history",
                    scores.mean(tasks, name, NONE) - history,
                    WANTED,
                )
            )
    for name in WITH[1:]:
        own = scores.mean(DRIVEN, name, SOME)
        lines.append((f"{LABELS} labels: {name} minus counts", own - scores.mean(DRIVEN, "counts", SOME), WANTED))
        lines.append((f"{LABELS} labels: {name} minus the encoder without labels", own - share, 0.0))
    best = Figure.mean(scores.chosen(task, COUNTING, ALL) for task in DRIVEN)
    encoder = Figure.mean(scores.chosen(task, WITH[1:], ALL) for task in DRIVEN)
    lines.append(("all labels: best model with the encoder minus best count model", encoder - best, -LEVEL))
    for labels in (SOME, ALL):
        apart = scores.mean(DRIVEN, "vectors", labels) - scores.mean(DRIVEN, "vectors_untrained", labels)
        lines.append((f"probe on frozen vectors, {labels} labels: trained minus untrained weights", apart, PROBE))
    lines.append(("rate minus share, incident", rate - share, 0.0))
    for title, tasks in (("outcomes", again), ("findings", findings)):
        lines.append(
            (
                f"rate minus share, recurrent {title}",
                scores.mean(tasks, RATE, NONE) - scores.mean(tasks, "masked", NONE),
                0.0,
            )
        )
    rows = [
        (said, f"{wanted:+.3f}", str(apart), apart.each, "yes" if apart.value >= wanted else "**no**")
        for said, apart, wanted in lines
    ]
    said = "**What was asked for**: means over outcomes, 95 % interval over patients of all seeds, and each seed."
    return f"{said}\n\n{results.table(('difference', 'at least', 'found', 'each seed', 'holds'), rows)}"


def leak(seed: Seed) -> str:
    """What the planted leak does, and what the guard says of it."""
    name = f"{INCIDENT}: {LEAK[0]}"
    found = seed.leak(name)
    caught = guards.no_future("", found.rows, found.late.latest)["passed"] is False
    clean = guards.no_future("", found.rows, found.recorded.latest)["passed"] is True
    said = ("catches it" if caught else "**does not catch it**", "passes" if clean else "**refuses**")
    return (
        f"With the year that is predicted in the history, counts and recency reach {found.auroc:.3f} for {LEAK[0]}"
        f" (seed {seed.seed}); the guard {said[0]}, and {said[1]} the right histories."
    )


def as_others(one: Judged) -> float:
    """The largest difference of AUROC, average precision and Brier score from those of scikit-learn, over the models of a task."""
    label, ones, apart = one.label, np.ones(len(one.label)), [0.0]
    for (_, labels, _), own in one.scores.items():
        apart.append(abs(metrics.auroc(label, own, ones) - roc_auc_score(label, own)))
        apart.append(abs(metrics.average_precision(label, own, ones) - average_precision_score(label, own)))
        if labels != NONE:
            apart.append(abs(metrics.brier(label, own, ones) - brier_score_loss(label, own)))
    return float(max(apart))


def without(seeds: Sequence[Seed], judged: Mapping[int, Mapping[str, Judged]]) -> str:
    """What the records carry, as far as models without an encoder find it."""
    scores = Scores(judged)
    labels = [seed.labels_apart() for seed in seeds]
    slopes = ((task.split(": ")[1], np.mean([own[task].slope for own in judged.values()])) for task in DRIVEN)
    sloping = ", ".join(f"{name} {value:.2f}" for name, value in slopes)
    nulls = [scores.auroc(f"{INCIDENT}: {NULL}", name, ALL).values for name in ("age_sex", *COUNTING)]
    apart = max(as_others(one) for own in judged.values() for one in own.values())
    models = sum(len(one.scores) for own in judged.values() for one in own.values())
    truth = (
        f"Labels of the truth and those of the records differ in {', '.join(f'{one:,} of {all_:,}' for one, all_ in labels)} rows"
        " of patients who stay for the year."
    )
    checks = (
        f"{NULL}, of all models and seeds: {np.min(nulls):.3f} to {np.max(nulls):.3f}. Calibration slope of `recency` after"
        f" recalibration, means over seeds: {sloping}. AUROC, average precision and Brier score differ from"
        f" scikit-learn's by at most {apart:.1e}, over {models:,} scores."
    )
    parts = (" ".join((about(scores), truth, *map(leak, seeds))), reached(scores, WITHOUT), checks)
    return "\n\n".join(parts)


def about(scores: Scores) -> str:
    """Whom the figures are of."""
    sides = ", ".join(f"{len(people):,}" for people in scores.people)
    return (
        f"Patients of the test set who have a row: {sides}. Rows: 1 January of {', '.join(map(str, YEARS))}. AUROCs are means over"
        " seeds; in brackets 95 % intervals over patients."
    )


def with_encoder(seeds: Sequence[Seed], judged: Mapping[int, Mapping[str, Judged]]) -> str:
    """What the encoder adds."""
    scores = Scores(judged)
    losses = "; ".join(f"seed {seed.seed}, {seed.epochs} epochs: {seed.loss()}" for seed in seeds)
    trained = (
        "The demo's encoder is trained on 46 % of the patients. Its loss on the 5 % for validation, in nats, and that of frequency"
        f" alone: {losses}."
    )
    models = (*WITHOUT, *WITH)
    parts = (
        f"{about(scores)} {trained}",
        asked_for(scores),
        reached(scores, models),
        unlabelled(scores),
        labelled(scores),
    )
    return "\n\n".join(parts)


def main() -> None:
    """Measure what is asked for and not there, and write its part of the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("encoder", "counts", "coverage"), default="encoder")
    parser.add_argument("--patients", type=int, default=41_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--keep", type=Path, help="folder of worlds, trainings and scores (default: a temporary one)")
    options = parser.parse_args()
    if options.part == "coverage":
        write_coverage()
        return
    encoder = options.part == "encoder"
    with tempfile.TemporaryDirectory() as scratch:
        kept = options.keep or Path(scratch)
        places = [(kept / f"{options.patients}-{seed}", seed) for seed in options.seeds]
        seeds = [Seed(folder, options.patients, seed, options.epochs) for folder, seed in places]
        judged = {own.seed: {name: own.judged(name, encoder=encoder) for name in own.tasks} for own in seeds}
    which = f"{options.patients:,} patients, seeds {', '.join(map(str, options.seeds))}"
    if encoder:
        heading, told = f"With the encoder: {which}", with_encoder(seeds, judged)
    else:
        heading, told = f"Without an encoder: {which}", without(seeds, judged)
    results.write_part("tasks.py", "Tasks of the world `outcomes`", heading, told)


if __name__ == "__main__":
    main()
