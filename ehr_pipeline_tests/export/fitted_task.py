"""The results of a task whose model is a logistic regression with known weights, for a study that was made."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from ehr_pipeline.predictions import fitted
from ehr_pipeline.predictions.compare import Case, Fit
from ehr_pipeline.predictions.models import BY_NAME
from ehr_pipeline.predictions.table import CALIBRATIONS
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tasks.table import Definition
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary
from ehr_pipeline_tests.prediction_report.invented import results, rising

SLOPE, INTERCEPT = 2.0, 0.5


def written(tiny: Pipeline, folder: Path, model: str = "recency") -> np.ndarray:
    """Write the results of the task `a`; its model has random weights for counts and recency. Returns them by concept (c, 2)."""
    checkpoint = tiny.store.current("encoder_checkpoint").file("checkpoint")
    vocabulary = Vocabulary.read(checkpoint)
    concepts = np.arange(len(vocabulary.concepts)) + FIRST_CONCEPT
    weights = np.random.default_rng(0).normal(0, 0.3, (len(concepts), 2))
    curves: Any = {model: rising(0.7, 0.02), "counts": rising(0.6, 0.02), "vectors": rising(0.6, 0.03)}
    results(("a",), curves, model=model).write(folder)
    rule = {"last": -1, "opens": 1, "closes": 365, "lookback": 0, "visit_window": 0}
    definition = Definition(0, "Task a <", "a", ("C1",), (), "landmark", False, True, rule)
    case: Any = SimpleNamespace(
        concepts=concepts,
        tokens=concepts[:3],
        stops=False,
        rows=SimpleNamespace(prevalence=0.1),
        settings=SimpleNamespace(tokens_before=0),
    )
    flat = np.concatenate([np.zeros(4), weights.T.ravel(), [-1.0]])  # age and sex decide nothing
    fit = Fit(BY_NAME[model], None, 0, np.zeros(0), None, 0.5, flat)
    fitted.write(definition, cast(Case, case), [fit], (vocabulary, checkpoint), folder / fitted.FITTED / "a")
    (folder / CALIBRATIONS).mkdir()
    told = f'{{"{model}": {{"slope": {SLOPE}, "intercept": {INTERCEPT}}}}}'
    (folder / CALIBRATIONS / "a.json").write_text(told)
    return weights
