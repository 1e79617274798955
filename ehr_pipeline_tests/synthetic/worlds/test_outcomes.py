"""Outcomes of known risk: the true risk has the AUROC of the plan, and only what was planted drives it."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from ehr_pipeline.synthetic.worlds import drivers, outcomes
from ehr_pipeline.synthetic.worlds.drivers import OUTCOMES
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, Events
from ehr_pipeline.synthetic.worlds.outcomes import Outcomes
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.synthetic.worlds.write import draw


@pytest.fixture(scope="module")
def planted() -> Outcomes:
    world = World.of(11, 0.5)
    return next(mechanism for mechanism in make(world, ["outcomes"]) if isinstance(mechanism, Outcomes))


@pytest.fixture(scope="module")
def risks(planted: Outcomes) -> pl.DataFrame:
    """Risks and outcomes of 24,000 patients, without their records."""
    parts = []
    for number in range(24):
        block = Block(11, number, planted.population.diagnoses)
        planted.population.people(block)
        planted.people(block)
        driven = drivers.draw_drivers(block)
        parts += [planted.simulate(block, driven, outcome)[0] for outcome in OUTCOMES]
    return pl.concat(parts)


@pytest.fixture(scope="module")
def drawn() -> tuple[World, Block, Events]:
    world = World.of(5, 0.5)
    return world, *draw(make(world, ["outcomes"]), world, 0)


def auroc(rows: pl.DataFrame, score: str) -> float:
    return float(roc_auc_score(rows["happened"].to_numpy(), rows[score].cast(pl.Float64).to_numpy()))


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
def test_the_true_risk_has_the_auroc_of_the_plan(risks: pl.DataFrame, outcome: drivers.Outcome) -> None:
    """Here within 3 standard errors of 24,000 patients; benchmarks/worlds.py has ten times as many."""
    rows = risks.filter(outcome=outcome.name)
    if outcome.among_both:
        rows = rows.filter("both")
    cases = rows["happened"].sum()
    assert auroc(rows, "risk") == pytest.approx(outcome.auroc, abs=3 * 0.29 / np.sqrt(cases))
    assert rows["happened"].mean() == pytest.approx(rows["risk"].mean(), rel=4 / np.sqrt(cases))


def test_having_both_tells_nothing_of_an_outcome_by_order(risks: pl.DataFrame) -> None:
    for outcome in OUTCOMES:
        if outcome.among_both:
            rows = risks.filter(outcome=outcome.name)
            assert auroc(rows, "both") == pytest.approx(0.5, abs=0.03)


def test_an_outcome_happens_once(drawn: tuple[World, Block, Events]) -> None:
    _, block, _ = drawn
    happened, risk = block.truth["outcomes"], block.truth["risk"]
    assert not happened.select("person", "outcome").is_duplicated().any()
    assert risk.filter("happened").height == happened.height
    last = (
        risk.group_by("person", "outcome")
        .agg(pl.col("happened").sort_by("index"))
        .filter(pl.col("happened").list.any())
    )
    assert last["happened"].list.last().all(), "nobody is at risk after it"


def test_the_number_of_records_of_a_and_b_tells_nothing_of_their_order(drawn: tuple[World, Block, Events]) -> None:
    world, block, events = drawn
    first, second = drivers.draw_drivers(block).begins["elbow and finger"]
    counts = [
        np.bincount(events.person[events.code == world.book.row(code)], minlength=BLOCK)
        for code in drivers.PAIRS["elbow and finger"]
    ]
    both = np.isfinite(first) & np.isfinite(second)
    earlier = both & (first < second)
    difference = counts[0] - counts[1]
    spread = difference[both].std() * np.sqrt(1 / earlier.sum() + 1 / (both & ~earlier).sum())
    assert abs(difference[earlier].mean() - difference[both & ~earlier].mean()) < 3 * spread


def test_codes_drift_and_leak(drawn: tuple[World, Block, Events]) -> None:
    world, block, events = drawn
    before, after = (events.day[events.code == world.book.row(code)] for code in outcomes.DRIFTED)
    assert before.max() < outcomes.DRIFT <= after.min()
    leak = events.where(events.code == world.book.row(outcomes.LEAK[1]))
    assert len(leak.person) > 50
    days = block.truth["outcomes"].filter(outcome=outcomes.LEAK[0]).select("person", pl.col("date").cast(pl.Int32))
    assert set(zip(leak.person.tolist(), leak.day.tolist(), strict=True)) <= set(days.iter_rows())
    codes = world.book.rows(OUTCOMES[0].codes)
    counted = np.array([(events.code == code).sum() for code in codes])
    assert counted[0] > counted[1] > counted[2] > 0


def test_who_has_much_of_a_finding_leaves_earlier() -> None:
    world = World.of(5, 0.0)
    mechanisms = make(world, ["outcomes"])
    stayed, rates = [], []
    for number in range(6):
        block = Block(5, number, world.diagnoses)
        mechanisms[0].people(block)
        before = block.days("end")
        mechanisms[-1].people(block)
        stayed.append(block.days("end") == before)
        rates.append(block.floats("rate of heartburn"))
    stay, rate = np.concatenate(stayed), np.concatenate(rates)
    assert stay[rate > np.quantile(rate, 0.8)].mean() < stay[rate < np.quantile(rate, 0.2)].mean() - 0.15


def test_another_seed_has_the_same_strengths(planted: Outcomes) -> None:
    other = next(one for one in make(World.of(12, 0.5), ["outcomes"]) if isinstance(one, Outcomes))
    outcome = OUTCOMES[4]
    assert other.strengths[outcome.name] == planted.strengths[outcome.name]


def test_an_event_far_back_counts_less() -> None:
    person, when = (
        np.array([0, 1, 2]),
        np.array([drivers.INDEX[0] - 10, drivers.INDEX[0] - 800, drivers.INDEX[1] + 5]),
    )
    counted = drivers.count_before(person, when, drivers.COUNTED_DAYS)
    assert counted[:3, 0].tolist() == [1, 0, 0]
    assert counted[0, 1] == 1
    assert counted[2, 2] == 1
    assert YEAR * 2 > drivers.COUNTED_DAYS
