"""The figures by which variants are compared, read from their artifacts: scores and counts, but no counts of patients."""

from collections.abc import Iterator, Mapping
from typing import Any

from ehr_pipeline.clusters import planted
from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.disclosure.kinds import Score
from ehr_pipeline.encoder.metrics import of_concepts
from ehr_pipeline.encoder.metrics import read as read_metrics
from ehr_pipeline.predictions.table import TaskResults
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.store.count_kinds import shown_counts
from ehr_pipeline.tables.asset_names import CLUSTERS, ENCODER_CHECKPOINT, TASK_RESULTS, VOCABULARY

Figures = dict[str, float | str | None]
"""Figures of a variant by name, in the order of the table."""


def of(made: Mapping[str, Artifact], guard: Guard) -> Figures:
    """Return the figures of a variant from its artifacts (`made`, by asset); figures of missing artifacts are left out."""
    found: Figures = {}
    for asset, figures in (
        (VOCABULARY, _vocabulary),
        (ENCODER_CHECKPOINT, _encoder),
        (TASK_RESULTS, _tasks),
        (CLUSTERS, _groups),
    ):
        if asset in made:
            found |= dict(figures(made[asset], guard))
    return found


def _vocabulary(artifact: Artifact, guard: Guard) -> Iterator[tuple[str, float]]:
    yield "concepts", shown_counts(VOCABULARY, artifact.counts, guard)["kept"]


def _encoder(artifact: Artifact, guard: Guard) -> Iterator[tuple[str, float]]:
    metrics = read_metrics(artifact.path)
    yield "parameters", artifact.counts["parameters"]
    yield "epochs", artifact.counts["epochs"]
    if "transfer" in metrics:
        yield "share of events with concepts that the other study does not have", metrics["transfer"]["share_of_events"]
    loss, by_frequency = of_concepts(metrics)
    yield "validation loss", loss
    yield "loss by frequency alone", by_frequency


def _tasks(artifact: Artifact, guard: Guard) -> Iterator[tuple[str, float | str | None]]:
    for row in TaskResults.read(artifact.path).verdicts:
        if row["model_auroc"] is not None:
            yield f"AUROC {row['task']}", guard.number(Score(row["model_auroc"]))
            yield f"AUROC {row['task']}, best baseline", guard.number(Score(row["baseline_auroc"]))
        yield f"verdict {row['task']}", row["verdict"]


def _groups(artifact: Artifact, guard: Guard) -> Iterator[tuple[str, float | str | None]]:
    counts = shown_counts(CLUSTERS, artifact.counts, guard)
    yield "clusters", counts["clusters"]
    yield "stable clusters", counts["stability"]["stable"]
    test: dict[str, Any] = counts["split_half"]
    if test.get("excess") is not None:
        yield "split-half excess", test["excess"]
    yield "evidence", str(artifact.counts["split_half"]["verdict"])
    if (agreement := planted.read_agreement(artifact.path)) and agreement["groups"]:
        for name, vectors in (("planted groups", planted.THIS_RUN), ("planted groups, counts alone", planted.COUNTS)):
            yield f"{name} (adjusted Rand index)", agreement["vectors"][vectors]["adjusted_rand_index"]
