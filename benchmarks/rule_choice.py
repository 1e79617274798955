"""Which rule of thumb decides that a task does not need the model: the one that the validation set chooses, or either of both?

Studies of one task, whose models are really fitted. Every patient has an age, a sex, amounts of record and counts of 200 concepts
that depend on them; the encoder is stood for by 40 random projections of the counts, and age. In `age and sex`, the risk depends on
these two alone; in `amounts`, on age and, not linearly, on the amount of record; in `concepts`, also on five concepts. What is true
of a study is computed from its fitted models, on 20,000 further patients: the better rule reaches at least 95 % of the model's gain
over chance, or less than 80 %.

Usage: python benchmarks/rule_choice.py [--studies 100]
"""

import argparse
import os
from collections import Counter
from unittest import mock

import numpy as np
import results
import verdicts
from numpy.typing import NDArray
from rates import interval
from scipy import sparse
from scipy.special import expit

from ehr_pipeline.predictions import compare, guards, metrics
from ehr_pipeline.predictions.compare import Case, Fit, TestSet, best
from ehr_pipeline.predictions.encoder_queries import Answers
from ehr_pipeline.predictions.features import RecordedConcepts
from ehr_pipeline.predictions.models import BY_NAME, RULES_OF_THUMB
from ehr_pipeline.predictions.rows import FIT, JUDGE, TUNE, People

FURTHER, NOBODY = 20_000, 3
"""Patients on whom the truth is computed, and their side."""
CONCEPTS, DIMENSIONS = 200, 40
SIZES = {"2,000 to fit": (2_000, 400, 600), "600 to fit": (600, 120, 600)}
"""Patients to fit, to validate and to test on."""
WORLDS = ("age and sex", "amounts", "concepts")
MODEL = "vectors"
Floats = NDArray[np.float64]


def case_of(rng: np.random.Generator, world: str, sizes: tuple[int, int, int], seed: int) -> Case:
    """A task of a world."""
    with mock.patch.dict(verdicts.SIZES, {FIT: sizes[0], TUNE: sizes[1], JUDGE: sizes[2], NOBODY: FURTHER}):
        count = sum(verdicts.SIZES.values())
        age, female, active = rng.uniform(20, 90, count), rng.random(count) < 0.5, rng.normal(size=count)
        old = (age - 55) / 20
        visits = rng.poisson(np.exp(2 + 0.3 * old + 0.5 * active)) + 1
        slopes, common = rng.normal(0, 0.4, CONCEPTS), rng.gamma(0.5, 0.06, CONCEPTS)
        counts = rng.poisson(np.minimum(common * np.exp(np.outer(old, slopes)) * visits[:, None], 50)).astype(
            np.float32
        )
        risk = -2.2 + 0.8 * old + 0.5 * female
        if world == "amounts":
            risk = -2.4 + 0.5 * old + 1.6 * ((visits > 12) & (visits < 30))
        if world == "concepts":
            chosen = np.argsort(-common)[5:10]
            own = (counts[:, chosen] > 0).sum(1)
            risk = -2.6 + 0.4 * old + 0.3 * female + 1.0 * (own - own.mean())
        label = rng.random(count) < expit(risk)
        rows = verdicts.rows_of(label)
    held = sparse.csr_array(counts)
    noise = rng.normal(size=(count, 6))
    amounts = np.column_stack([np.log1p(visits), np.log1p(counts.sum(1)), noise[:, :4], 30 + 5 * noise[:, 5]])
    told = RecordedConcepts(held, held, held, amounts, age, np.zeros(count, np.int64))
    projected = np.log1p(counts) @ rng.normal(size=(CONCEPTS, DIMENSIONS)) / np.sqrt(CONCEPTS)
    vectors = np.column_stack([projected, old]).astype(np.float32)
    answers = {"": Answers(vectors, np.zeros(count))}
    return Case(rows, told, People(female.astype(float), {}), np.zeros(1, np.int64), answers, verdicts.SETTINGS, seed)


def study(world: str, sizes: tuple[int, int, int], number: int) -> dict[str, bool]:
    """What either way says of a study, and what is true of it."""
    rng = np.random.default_rng([WORLDS.index(world), sizes[0], number])
    case = case_of(rng, world, sizes, number)
    fits, true = dict[str, Fit](), dict[str, float]()
    further = case.rows.on(NOBODY)
    for name in (*RULES_OF_THUMB, MODEL):
        odds = compare._learner(case, BY_NAME[name])(*case.samples[-1])
        fits[name] = compare._fit(case, BY_NAME[name], None, 0, odds)
        true[name] = metrics.auroc(case.rows.label[further], odds[0][further], np.ones(len(further))) - 0.5
    judged, cases = TestSet.of(case), int(case.rows.label[case.rows.on(TUNE)].sum())
    told = {
        name: (
            metrics.auroc(judged.label, fit.probability, judged.weight),
            judged.bootstrap.aurocs(judged.label, fit.probability),
        )
        for name, fit in fits.items()
    }
    rules = [fits[name] for name in RULES_OF_THUMB]
    chosen = best(rules, "baseline", cases, RULES_OF_THUMB)
    assert chosen is not None
    share = max(true[name] for name in RULES_OF_THUMB) / true[MODEL] if true[MODEL] > 0 else np.inf
    return {
        "true": bool(share >= guards.MOST_OF_GAIN),
        "false": bool(share < guards.CERTAIN_OF_GAIN),
        "chosen": guards.rule_is_enough([told[chosen.model.name]], told[MODEL]),
        "either": guards.rule_is_enough([told[name] for name in RULES_OF_THUMB], told[MODEL]),
    }


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100, help="studies of each world and size")
    studies, rows = parser.parse_args().studies, []
    for size, sizes in SIZES.items():
        for world in WORLDS:
            found = [study(world, sizes, number) for number in range(studies)]
            for truth in ("true", "false"):
                own = [each for each in found if each[truth]]
                made = Counter(way for each in own for way in ("chosen", "either") if each[way])
                if own:
                    rows.append((world, size, truth, *(interval(made[way], len(own)) for way in ("chosen", "either"))))
                    print(*rows[-1], sep=" | ", flush=True)
    heads = ("Risk depends on", "Patients", "“Does not need the model” is", "the validation set chooses", "either rule")
    results.write(
        "rule_choice.py",
        "Which rule of thumb decides",
        f"{studies} studies of each world and size.\n\n" + results.table(heads, rows),
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
