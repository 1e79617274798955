"""The published run and this one, side by side. Source: Scienta Lab, January 2026."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ehr_pipeline.clusters.marker_concepts import MAX_Q
from ehr_pipeline.disclosure.figures import HIDDEN
from ehr_pipeline.encoder.metrics import read as read_metrics
from ehr_pipeline.patients.settings import LEARNED_FROM
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.sections.flow import patients_lost
from ehr_pipeline.reports.shown_counts import StageCounts, on_sides
from ehr_pipeline.reports.statements.statement import percent
from ehr_pipeline.tables import asset_names as assets
from ehr_pipeline.tables.drop_reasons import in_words

Row = tuple[str, str, str]
"""Quantity, published value, and that of this run."""
OF_POOLING = {
    "all": "all: {chosen:,}",
    "types": "of chosen types (all, if none has a type): {chosen:,}",
    "list": "a list → {chosen:,}",
}


@dataclass(frozen=True)
class Run:
    """The parts of this run that are compared with the published run."""

    counted: StageCounts
    metrics: Mapping[str, Any]
    """Those of the training."""
    settings: Mapping[str, Mapping[str, Any]]
    """By asset."""
    top_concepts: int
    max_p: float
    concepts_in_visits: Mapping[int, int]
    """Number of visits of the data set by the number of their concepts."""
    is_tested: bool
    """Whether the cards show what passes the mark test, and not the published ranking."""


def content(findings: Findings) -> dict[str, Any]:
    """Return a row for each quantity, with its value in the published run and in this one."""
    artifacts, settings = findings.inputs.artifacts, findings.settings
    run = Run(
        findings.counted,
        read_metrics(artifacts[assets.ENCODER_CHECKPOINT].path),
        findings.inputs.settings,
        settings.top_concepts,
        settings.max_p,
        concepts_in_visits(artifacts[assets.PATIENT_DATASET].files("patients")),
        findings.is_tested,
    )
    return {"published": [*of_the_data(run), *of_the_encoder(run), *of_the_clusters(run)]}


def concepts_in_visits(shards: Iterable[Path]) -> dict[int, int]:
    """Count the visits by their number of concepts."""
    found = np.zeros(0, np.int64)
    for path in shards:
        sizes = np.bincount(np.diff(Shard.read(path).visit_start), minlength=len(found))
        sizes[: len(found)] += found
        found = sizes
    return {size: count for size, count in enumerate(found.tolist()) if count}


def of_the_data(run: Run) -> Iterator[Row]:
    """Yield the rows on the records and on the patient data set."""
    counted, counts = run.counted, run.counted.counts
    person, show = counted.person, counted.disclosure.show
    dataset, split = counts[assets.PATIENT_DATASET], counts[assets.DATA_SPLIT]
    patients = dataset["patients"]
    yield "rows of the raw table", "more than 3 billion", counted.event(counts[assets.RAW_RECORDS]["rows_in"])
    yield "codes in the records", "270,000", show(counts[assets.MAPPED_EVENTS]["codes"])
    yield "concepts kept", "36,058", show(counts[assets.VOCABULARY]["kept"])
    yield "concepts per visit: median, 90th percentile", "2, 21", quantiles(run, (0.5, 0.9))
    yield "visits removed for their size", "0.00005 %", _large_visits(counted)
    yield "patients before short records were removed", "2,691,123", person(patients["rows_in"])
    yield "patients removed for few visits", "about 6,000 (0.2 %)", _few_visits(counted)
    yield "patients in the data set", "2,685,031", person(patients["kept"])
    held_out = f"{person(split['validation'])} ({person.share(split['validation'], split['kept'])})"
    yield "validation patients", "about 50,000 (2 %)", held_out
    for side, number in on_sides(counts).items():
        if side not in LEARNED_FROM and number:
            yield f"patients not used for training ({side})", "–", person(number)


def quantiles(run: Run, shares: Iterable[float]) -> str:
    """Return quantiles of the number of concepts in a visit; hidden if the data set has too few patients."""
    visits = run.concepts_in_visits
    if not visits or run.counted.disclosure.small(run.counted.counts[assets.PATIENT_DATASET]["patients"]["kept"]):
        return HIDDEN
    size, upto = np.array(list(visits)), np.cumsum(list(visits.values()))
    return ", ".join(f"{size[np.searchsorted(upto, share * upto[-1])]:,}" for share in shares)


def _large_visits(counted: StageCounts) -> str:
    """Return how many visits were removed for their size, and their share, if it reveals no more than the number."""
    dataset = counted.counts[assets.PATIENT_DATASET]
    large, few = dataset["visits"]["dropped"]["large"], dataset["patients"]["dropped"]["few_visits"]
    # Together with the visits kept, a share would reveal the visits read, and so those of the few patients dropped.
    if counted.disclosure.small(few):
        return counted.event(large)
    return f"{counted.event(large)} ({counted.event.share(large, dataset['visits']['rows_in'])})"


def _few_visits(counted: StageCounts) -> str:
    """Return how many patients were removed for few visits, and their share if the number is shown."""
    patients = counted.counts[assets.PATIENT_DATASET]["patients"]
    few = patients["dropped"]["few_visits"]
    by_reason = dict(patients_lost(patients["dropped"], patients["rows_in"], patients["kept"], counted))
    removed = by_reason.get(in_words("few_visits", patients=True), "0" if not few else HIDDEN)
    if few and removed == counted.person(few):
        removed += f" ({counted.person.share(few, patients['rows_in'])})"
    return removed


def of_the_encoder(run: Run) -> Iterator[Row]:
    """Yield the rows on the encoder, its training and its concepts."""
    encoder, concepts = run.settings[assets.ENCODER_CHECKPOINT], run.settings[assets.CONCEPT_EMBEDDINGS]
    epochs = str(run.metrics["epochs"][-1]["epoch"])
    yield "parameters of the encoder", "12.6 million", f"{run.metrics['parameters'] / 1e6:.2f} million"
    yield "width of its hidden layers", "256", f"{encoder['hidden_size']:,}"
    yield "concepts read at once (context)", "256", f"{encoder['context']:,}"
    yield "concepts hidden from it (masked)", "15 %", percent(encoder["mask_share"])
    yield "epochs", "18", epochs
    yield "concepts of interest", "about 150", f"{run.counted.counts[assets.CONCEPT_EMBEDDINGS]['kept']:,}"
    yield "neighbours listed per concept", "10", str(concepts["neighbours"])


def of_the_clusters(run: Run) -> Iterator[Row]:
    """Yield the rows on the cohort and its clusters."""
    counts = run.counted.counts
    vectors = counts[assets.PATIENT_EMBEDDINGS]
    pooled = OF_POOLING[vectors["pooling"]].format(chosen=vectors["selected_concepts"])
    published_ranking = f"the first {run.top_concepts} with p below {run.max_p:g}"
    marked = f"those that pass the mark test (BH value below {MAX_Q:g})" if run.is_tested else published_ranking
    yield "pooled concepts: listed → with neighbours", "250 → 1,294", pooled
    yield "cohort patients", "53,228", run.counted.person(counts[assets.COHORT]["kept"])
    yield "clusters", "20", str(counts[assets.CLUSTERS]["clusters"])
    yield "concepts named per cluster", "the first 50 with p below 0.1", marked
