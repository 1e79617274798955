"""Standard errors of means over tasks that share patients are those of whole bootstrap draws."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ehr_pipeline.predictions import deviations, metrics
from ehr_pipeline.predictions.table import empty, joined
from ehr_pipeline.tables.hashing import hash_of_numbers

Floats = NDArray[np.float64]


def tasks(
    number: int, related: float, people: int = 500
) -> list[tuple[NDArray[np.int64], NDArray[np.bool_], Floats, Floats]]:
    """Tasks: the patient of each row, label, score and weight. Each task lacks a fifth of the patients, and has some of them twice;
    scores and risks have a share in common."""
    rng, found = np.random.default_rng([number, int(100 * related)]), []
    common = rng.normal(size=(2, people))
    for _ in range(number):
        patient = rng.permutation(np.repeat(np.arange(people), rng.choice([0, 1, 2], people, p=[0.2, 0.6, 0.2])))
        own = rng.normal(size=(2, people))
        risk, noise = (np.sqrt(related) * common + np.sqrt(1 - related) * own)[:, patient]
        label = rng.random(len(patient)) < 1 / (1 + np.exp(2 - 1.5 * risk))
        score = np.round(risk + noise, 1)
        found.append((patient, label, score, rng.uniform(0.5, 1.5, len(patient))))
    return found


def drawn(made: list[tuple[NDArray[np.int64], NDArray[np.bool_], Floats, Floats]], draws: int = 600) -> Floats:
    """The mean AUROC over tasks (B,) in draws of patients with replacement, the same for all tasks."""
    rng, people = np.random.default_rng(1), 1 + max(int(patient.max()) for patient, *_ in made)
    found = []
    for _ in range(draws):
        times = np.bincount(rng.integers(0, people, people), minlength=people)
        found.append(np.mean([metrics.auroc(label, score, weight * times[who]) for who, label, score, weight in made]))
    return np.array(found)


def of_mean(made: list[tuple[NDArray[np.int64], NDArray[np.bool_], Floats, Floats]]) -> float:
    """The standard error of the mean AUROC over tasks by deviations."""
    rows = []
    for number, (patient, label, score, weight) in enumerate(made):
        influences: dict[deviations.Fitted, Floats] = {("counts", None, 0): metrics.influence(label, score, weight)}
        rows.append(deviations.table(f"t{number}", hash_of_numbers(patient), influences))
    whole = [part.to_pylist()[0]["deviations"] for part in rows]
    return float(np.sqrt(np.mean(np.mean(whole, axis=0) ** 2)))


@pytest.mark.parametrize("related", [0.0, 0.9])
def test_the_error_of_a_mean_is_that_of_joint_draws(related: float) -> None:
    made = tasks(4, related)
    assert of_mean(made) == pytest.approx(np.std(drawn(made)), rel=0.12)


def test_tasks_that_move_together_leave_more_error() -> None:
    """The error of a mean over four unrelated tasks is half that of one task; if tasks share risks and noise, it is larger."""
    ratio = {
        related: np.mean([of_mean(made) / np.mean([of_mean([task]) for task in made]) for made in worlds])
        for related, worlds in {r: [tasks(4, r, people) for people in (400, 500, 600)] for r in (0.0, 0.9)}.items()
    }
    assert ratio[0.0] == pytest.approx(0.5, abs=0.07)
    assert ratio[0.9] > ratio[0.0] + 0.05


def test_influence_is_the_change_of_the_auroc() -> None:
    """In first order: with a little more weight on one row, case or not, tied or not."""
    (_, label, score, weight), step = tasks(1, 0.0)[0], 1e-5
    found = metrics.influence(label, score, weight)
    whole = metrics.auroc(label, score, weight)
    for row in range(0, len(label), 17):
        more = weight.copy()
        more[row] *= 1 + step
        assert found[row] == pytest.approx((metrics.auroc(label, score, more) - whole) / step, abs=1e-7)
    assert found.sum() == pytest.approx(0, abs=1e-12)


def test_deviations_are_found_by_model_and_tables_joined() -> None:
    rng, patient = np.random.default_rng(0), hash_of_numbers(np.arange(40))
    one, other = rng.normal(size=(2, 40))
    table = deviations.table(
        "a", patient, {("counts", 10, 0): one, ("counts", 10, 1): other, ("masked", 0, 0): one + other}
    )
    found = deviations.by_model(joined([empty(), replace(empty(), deviations=table)]).deviations)
    assert list(found) == [("a", "counts", 10), ("a", "masked", 0)]
    np.testing.assert_allclose(found["a", "counts", 10].sum(0), found["a", "masked", 0][0], atol=1e-5)
    assert deviations.by_model(joined([empty(), empty()]).deviations) == {}
