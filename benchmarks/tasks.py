"""Tasks of the world `outcomes`: do models without an encoder reach what can be known, and are figures, intervals and guards right?

Of each of the eight outcomes, the true risk of everybody on 1 January 2012 is known: as a score it has the best AUROC that there is
(Bayes). Labels are those of the truth, histories those of the records. Half of the patients are fitted on, half are the test side.
Coverage is that of intervals on stored scores: patients are drawn again and again from a large population with known AUROC.

Usage: python benchmarks/tasks.py [coverage] [--patients 12000] [--seeds 3]; minutes for each seed
"""

import argparse
from dataclasses import dataclass

import numpy as np
import polars as pl
import results
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from world_groups import shard_of

from ehr_pipeline.patients.histories import ALWAYS, cut
from ehr_pipeline.predictions import guards, metrics
from ehr_pipeline.predictions.compare import Case, Fit, TestSet, fits
from ehr_pipeline.predictions.features import RecordedConcepts, joined, of_histories
from ehr_pipeline.predictions.metrics import Bootstrap
from ehr_pipeline.predictions.rows import FIT, JUDGE, TUNE, People, Rows
from ehr_pipeline.predictions.settings import PredictionsSettings
from ehr_pipeline.synthetic.worlds.drivers import OUTCOMES
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, day
from ehr_pipeline.synthetic.worlds.outcomes import LEAK
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.write import draw

INDEX, WINDOW = day("2012-01-01"), 365
MODELS = ("age_sex", "rule_of_thumb", "counts", "recency", "recency_boosting")
SETTINGS = PredictionsSettings(models=MODELS, labels=(), concepts=1_000, boosted_concepts=100, bootstrap=1_000)
REPEATS, DRAWN, POPULATION, STEEP, ROWS = 2_000, 1_000, 400_000, 1.5, 4
NULL, MOST_BELOW, NEAR = "stye", 0.03, 0.02


@dataclass(frozen=True)
class Patients:
    """Everybody who is at risk of an outcome on the index day."""

    rows: Rows
    told: RecordedConcepts
    late: RecordedConcepts
    """The same with the window in the history: the leak."""
    people: People
    risk: NDArray[np.float64]


def drawn(world: World, blocks: int) -> dict[str, Patients]:
    """The patients of all blocks, by outcome. The first half is fitted on, a tenth of it validates."""
    mechanisms = make(world, ["outcomes"])
    size = len(world.book.codes)
    parts: dict[str, list[Patients]] = {outcome.name: [] for outcome in OUTCOMES}
    for number in range(blocks):
        block, events = draw(mechanisms, world, number)
        shard = shard_of(block, events, np.arange(BLOCK))
        risk = block.truth["risk"].filter(pl.col("index") == pl.lit("2012-01-01").str.to_date())
        visited = np.isin(np.arange(BLOCK), events.person[events.day < INDEX])
        for name, own in parts.items():
            here = risk.filter((pl.col("outcome") == name) & pl.Series(visited).gather(risk["person"]))
            person = here["person"].to_numpy().astype(np.int64)
            rows = rows_of(person, here["happened"].to_numpy(), number, blocks)
            histories = (cut(shard, person, rows.first, last) for last in (rows.last, rows.last + WINDOW + 1))
            told, late = (of_histories(each, rows, size) for each in histories)
            female = block.people["female"].astype(float)[person]
            own.append(Patients(rows, told, late, People(female, {}), here["risk"].to_numpy()))
    return {name: together(own, size) for name, own in parts.items()}


def rows_of(person: NDArray[np.int64], happened: NDArray[np.bool_], block: int, blocks: int) -> Rows:
    """The rows of a block: histories until the day before the index day."""
    count = len(person)
    side = JUDGE if 2 * block >= blocks else TUNE if block % 10 == 9 else FIT

    def constant(value: int) -> NDArray[np.int64]:
        return np.full(count, value, np.int64)

    return Rows(
        shard=np.full(count, block, np.int32),
        row=person,
        side=np.full(count, side, np.int8),
        patient=(person + block * BLOCK).astype(np.uint64),
        index=constant(INDEX),
        first=constant(ALWAYS),
        last=constant(INDEX - 1),
        known=constant(INDEX - 1),
        opens=constant(INDEX),
        asked=constant(INDEX + WINDOW // 2),
        label=happened.astype(bool),
        weight=np.ones(count),
        prevalence=0.0,
    )


def together(parts: list[Patients], size: int) -> Patients:
    """The patients of several blocks."""
    names = [name for name in Rows.__annotations__ if name != "prevalence"]
    columns = {name: np.concatenate([getattr(part.rows, name) for part in parts]) for name in names}
    rows = Rows(**columns, prevalence=float(columns["label"][columns["side"] == FIT].mean()))
    return Patients(
        rows,
        joined([part.told for part in parts], size),
        joined([part.late for part in parts], size),
        People(np.concatenate([part.people.female for part in parts]), {}),
        np.concatenate([part.risk for part in parts]),
    )


def compared(
    patients: Patients, told: RecordedConcepts, models: tuple[str, ...], seed: int
) -> tuple[TestSet, list[Fit]]:
    """All models of an outcome, and the test side."""
    settings = PredictionsSettings(**{**vars(SETTINGS), "models": models})
    case = Case(patients.rows, told, patients.people, np.zeros(0, np.int64), {}, settings, seed)
    return TestSet.of(case), list(fits(case))


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


def as_others(judged: TestSet, fit: Fit) -> float:
    """The largest difference of AUROC, average precision and Brier score from those of scikit-learn."""
    label, own, weight = judged.label, fit.probability, judged.weight
    pairs = (
        (metrics.auroc(label, own, weight), roc_auc_score(label, own)),
        (metrics.average_precision(label, own, weight), average_precision_score(label, own)),
        (metrics.brier(label, own, weight), brier_score_loss(label, own)),
    )
    return float(max(abs(one - other) for one, other in pairs))


def one_seed(seed: int, blocks: int) -> tuple[list[tuple[str, ...]], list[float]]:
    """A row of the table for each outcome, and the differences from scikit-learn."""
    shown, apart = [], []
    for outcome in OUTCOMES:
        patients = _of(seed, blocks)[outcome.name]
        judged, found = compared(patients, patients.told, MODELS, seed)
        final = {
            fit.model.name: metrics.auroc(judged.label, fit.probability, judged.weight) for fit in found if fit.final
        }
        apart += [as_others(judged, fit) for fit in found]
        test = patients.rows.on(JUDGE)
        bayes = metrics.auroc(judged.label, patients.risk[test], judged.weight)
        recency = next(fit for fit in found if fit.model.name == "recency" and fit.final)
        slope = metrics.recalibration(judged.label, recency.recalibrated, judged.weight)
        best = max(final.values())
        shown.append(
            (
                str(seed),
                outcome.name,
                outcome.driver,
                f"{int(judged.label.sum()):,} of {len(judged.label):,}",
                f"{bayes:.3f}",
                *(f"{final[name]:.3f}" for name in MODELS),
                f"{slope.slope:.2f}" if slope else "–",
                _said(outcome.name, best, bayes),
            )
        )
        print(shown[-1], flush=True)
    return shown, apart


_drawn: dict[tuple[int, int], dict[str, Patients]] = {}


def _of(seed: int, blocks: int) -> dict[str, Patients]:
    if (seed, blocks) not in _drawn:
        _drawn.clear()
        _drawn[seed, blocks] = drawn(World.of(seed, 0.5), blocks)
    return _drawn[seed, blocks]


def _said(name: str, best: float, bayes: float) -> str:
    if name == NULL:
        return "yes" if abs(best - 0.5) <= NEAR else "**no**"
    return "yes" if best >= bayes - MOST_BELOW else "**no**"


def leak(seed: int, blocks: int) -> str:
    """What the planted leak does, and what the guard says of it."""
    patients = _of(seed, blocks)[LEAK[0]]
    judged, found = compared(patients, patients.late, ("recency",), seed)
    (fit,) = [fit for fit in found if fit.final]
    caught = guards.no_future("", patients.rows, patients.late.latest)["passed"] is False
    clean = guards.no_future("", patients.rows, patients.told.latest)["passed"] is True
    reached = metrics.auroc(judged.label, fit.probability, judged.weight)
    return (
        f"With the year that is predicted in the history, counts and recency reach {reached:.3f} for {LEAK[0]}; the guard"
        f" {'catches it' if caught else '**does not catch it**'}, and {'passes' if clean else '**refuses**'} the right histories."
    )


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


def main() -> None:
    """Measure all seeds, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=12_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("part", nargs="?", choices=("all", "coverage"), default="all")
    asked = parser.parse_args()
    write_coverage()
    if asked.part == "coverage":
        return
    blocks, said = asked.patients // BLOCK, ""
    shown: list[tuple[str, ...]] = []
    apart: list[float] = []
    for seed in range(asked.seeds):
        rows, differences = one_seed(seed, blocks)
        shown, apart = [*shown, *rows], [*apart, *differences]
        said = said or leak(seed, blocks)
    head = (
        "seed",
        "outcome",
        "driver",
        "cases on the test side",
        "Bayes",
        *MODELS,
        "slope",
        "reached",
    )
    about = (
        f"{asked.patients:,} patients drawn for each seed, half of them the test side; no encoder. AUROC on the test side; slope of"
        f" `recency` after recalibration. Reached: the best model is at most {MOST_BELOW} below Bayes; for the outcome without any"
        f" effect ({NULL}), within {NEAR} of 0.5."
    )
    figures = (
        f"AUROC, average precision and Brier score differ from scikit-learn's by at most {max(apart):.1e}, over {len(apart)} fitted"
        " models."
    )
    text = "\n\n".join([about, results.table(head, shown), said, figures])
    results.write("tasks.py", "Tasks of the world `outcomes`", text)


if __name__ == "__main__":
    main()
