"""How well the encoder predicts masked concepts, and the course of its training."""

from typing import Any

from ehr_pipeline.drawing import plots
from ehr_pipeline.encoder.metrics import read as read_metrics
from ehr_pipeline.patients.settings import VALIDATION
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import embedded
from ehr_pipeline.reports.sections import short
from ehr_pipeline.reports.statements import encoder as say
from ehr_pipeline.reports.statements import vectors
from ehr_pipeline.tables.asset_names import DATA_SPLIT, ENCODER_CHECKPOINT

COURSE = 3
"""Smallest number of epochs for which a learning curve is drawn."""


def content(findings: Findings) -> dict[str, Any]:
    """Return the scores on held-out patients, and the learning curve."""
    metrics = read_metrics(findings.inputs.artifacts[ENCODER_CHECKPOINT].path)
    curve = findings.pictures / "learning_curve.png"
    drawn = len(metrics["epochs"]) >= COURSE
    if drawn:
        plots.learning_curves(curve, metrics)
    return {
        "trained": [
            *say.trained(metrics),
            *filter(None, [vectors.no_part(short.vector_method(findings.inputs, findings.vocabulary))]),
            say.held_out(findings.counted.person(findings.counted.counts[DATA_SPLIT][VALIDATION])),
        ],
        "best_epoch": metrics["best"]["epoch"],
        "scores": say.scores(metrics),
        "learning_curve": embedded(curve) if drawn else "",
        "no_curve": say.no_curve(metrics),
    }
