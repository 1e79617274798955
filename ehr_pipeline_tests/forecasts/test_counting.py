"""What is counted, and what becomes of an encoder that knows nothing, or the truth."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.special import logit

from ehr_pipeline.forecasts import counting, scores
from ehr_pipeline.forecasts.cases import COUNT, HORIZONS, JUDGE, NEXT_VISIT, STRATA, TUNE, Cases, History
from ehr_pipeline.forecasts.counting import PRIOR, Rates, Tables
from ehr_pipeline.forecasts.evaluate import Groups, Judge
from ehr_pipeline.forecasts.metrics import NEW, RECURRING
from ehr_pipeline.forecasts.scores import COUNTING, FORECAST, EncoderStates
from ehr_pipeline.forecasts.table import Forecasts, SavedCounting

SIZE, PEOPLE = 65, 1500


def test_rates_by_hand() -> None:
    rates = Rates(np.array([[2], [0]]), np.array([[10], [30]]))
    overall = 2.01 / 41
    assert rates.rate().ravel() == pytest.approx([(2 + PRIOR * overall) / (10 + PRIOR), PRIOR * overall / (30 + PRIOR)])
    left = rates.without(np.array([0, 0]), np.array([0, 0]), np.array([True, False]))
    assert left == pytest.approx([(1 + PRIOR * overall) / (9 + PRIOR), (2 + PRIOR * overall) / (9 + PRIOR)])


def made_up(seed: int = 1) -> tuple[Cases, np.ndarray]:
    """Cases in which concepts that were had often come again, and new ones come by age, and by a risk (P, V) of each patient."""
    rng = np.random.default_rng(seed)
    visits = rng.geometric(0.4, (PEOPLE, SIZE)) * (rng.random((PEOPLE, SIZE)) < 0.25)
    visits[:, :5] = 0
    stratum = rng.integers(0, STRATA, PEOPLE)
    had = visits > 0
    usual = rng.normal(-3.5, 0.8, (STRATA, SIZE))[stratum]
    risk = 1 / (1 + np.exp(-(usual + 1.2 * np.log1p(visits) + rng.normal(0, 1.5, (PEOPLE, SIZE)))))
    risk[:, :5] = 0
    truth = rng.random((PEOPLE, SIZE)) < risk
    row, concept = np.nonzero(had)
    count = visits[row, concept].astype(np.int32)
    since = rng.integers(0, 1000, len(row)).astype(np.int32)
    history = History(
        np.searchsorted(row, np.arange(PEOPLE + 1)),
        concept.astype(np.int32),
        count,
        count // 2,
        since,
        since + 30 * count,
    )
    side = np.repeat([COUNT, TUNE, JUDGE], [700, 400, 400]).astype(np.int8)
    plain = {name: np.zeros(PEOPLE, np.int64) for name in ("row", "index", "next_day")}
    every = {name: np.ones(PEOPLE, bool) for name in HORIZONS}
    targets = {name: csr_array(truth) for name in HORIZONS}
    return Cases(
        np.zeros(PEOPLE, np.int32),
        plain["row"],
        side,
        plain["index"],
        plain["next_day"],
        stratum,
        every,
        history,
        targets,
    ), risk


class Fixed(EncoderStates):
    """Answers that are given, in place of an encoder's."""

    def __init__(self, probability: np.ndarray) -> None:
        object.__setattr__(self, "given", probability.astype(np.float32))

    def probability(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.given[rows]  # type: ignore[attr-defined]
        return found


def judged(cases: Cases, encoder: np.ndarray) -> tuple[Forecasts, Tables, scores.Mixed]:
    counted = counting.count(cases, NEXT_VISIT, cases.on(COUNT, NEXT_VISIT), 0)
    assert counted is not None
    tables, asked = Tables.of(counted), Fixed(encoder)
    mixed = scores.mix(cases, NEXT_VISIT, asked, tables, 0)
    assert mixed is not None
    judge = Judge(Groups.of([("a",)] * SIZE, np.ones(SIZE, np.int64)), 200, 0)
    judge.horizon(cases, NEXT_VISIT, asked, tables, mixed)
    return judge.done(), tables, mixed


def value(found: Forecasts, name: str, model: str) -> float:
    (row,) = [row for row in found.forecasts if (row["list"], row["model"], row["measure"]) == (name, model, "recall")]
    return float(row["value"])


def test_an_encoder_that_knows_the_risk_is_better_than_counting() -> None:
    cases, risk = made_up()
    found, _, _ = judged(cases, risk / risk.sum(1, keepdims=True))
    for name in (NEW, RECURRING):
        assert found.verdict(NEXT_VISIT, name)["verdict"] == "better"  # type: ignore[index]
    pairs = [row for row in found.calibration if row["pairs"] > 500]
    assert pairs
    assert all(row["predicted"] == pytest.approx(row["observed"], abs=0.03, rel=0.3) for row in pairs)


def test_an_encoder_that_knows_nothing_is_no_better_than_counting() -> None:
    cases, _ = made_up()
    noise = np.random.default_rng(5).dirichlet(np.ones(SIZE), PEOPLE)
    found, _, _ = judged(cases, noise)
    for name in (NEW, RECURRING):
        row = found.verdict(NEXT_VISIT, name)
        assert row is not None
        assert row["verdict"] in ("no better", "worse")
        assert row["low"] < 0.01
        assert value(found, name, FORECAST) == pytest.approx(value(found, name, COUNTING), abs=0.03), (
            "it is given no weight"
        )


def test_own_history_says_more_of_what_recurs_than_popularity() -> None:
    cases, risk = made_up()
    found, _, _ = judged(cases, risk / risk.sum(1, keepdims=True))
    assert value(found, RECURRING, "history") > value(found, RECURRING, "popularity")
    assert value(found, RECURRING, COUNTING) >= value(found, RECURRING, "history") - 0.01


def test_weights_are_those_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal([3, -2], [2, 0.1], (40_000, 2))
    case = rng.random(40_000) < 1 / (1 + np.exp(-(features @ [0.5, 4.0] + 6)))
    made = counting.fit(features, case)
    assert made.weights == pytest.approx((0.5, 4.0), rel=0.15)
    assert made.log_odds(np.array([3.0, -2.0])) == pytest.approx(-0.5, abs=0.1)
    assert counting.log_odds(np.array([0.0, 0.5])) == pytest.approx([logit(1e-7), 0])


def test_what_was_counted_comes_back(tmp_path: Path) -> None:
    cases, risk = made_up()
    _, tables, mixed = judged(cases, risk / risk.sum(1, keepdims=True))
    SavedCounting({NEXT_VISIT: tables}, {NEXT_VISIT: mixed}, 34).write(tmp_path)
    read = SavedCounting.read(tmp_path)
    assert read is not None
    assert read.gap_days == 34
    assert read.mixed[NEXT_VISIT] == mixed
    assert (read.tables[NEXT_VISIT].recurring == tables.recurring).all()
    assert read.tables[NEXT_VISIT].both == tables.both
    assert SavedCounting.read(tmp_path / "nothing") is None
