"""The settings that a reader asks for first, out of all."""

import json
from dataclasses import asdict

from ehr_pipeline.embeddings.settings import EmbeddingsSettings, VectorSettings
from ehr_pipeline.reports.inputs import Inputs, read_json
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.tables.asset_names import (
    CLUSTERS,
    COHORT,
    ENCODER_CHECKPOINT,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    PATIENT_EMBEDDINGS,
    VOCABULARY,
)

POOLED = {
    "all": "all concepts",
    "types": "concepts of chosen semantic types",
    "list": "the concepts of a list and their nearest neighbours",
}


def chosen(inputs: Inputs, reports: ReportsSettings) -> list[tuple[str, str]]:
    """What was set, and to what."""
    vocabulary, dataset, clusters = (inputs.settings[name] for name in (VOCABULARY, PATIENT_DATASET, CLUSTERS))
    encoder, vectors = inputs.settings[ENCODER_CHECKPOINT], inputs.settings[PATIENT_EMBEDDINGS]
    cohort = [
        disease["name"] + (f" (on {disease['min_visits']} days or more)" if disease["min_visits"] > 1 else "")
        for disease in inputs.settings[COHORT]["cohort"]
    ]
    return [
        ("Cohort: patients with a code of", ", ".join(cohort)),
        ("Visits that a patient has at least", f"{dataset['min_visits']:,}"),
        ("Concepts that a visit has at most", f"{dataset['max_concepts_per_visit']:,}"),
        ("Appearances (patient and day) that a concept has at least", f"{vocabulary['min_appearances']:,}"),
        (
            "Encoder",
            f"preset {encoder['preset']}: {encoder['layers']} layer{'s' if encoder['layers'] > 1 else ''} of width"
            f" {encoder['hidden_size']}, at most {encoder['max_epochs']} epochs, chunks of {encoder['context']} concepts",
        ),
        (
            "Patient vectors",
            f"preset {vectors['preset']}{''.join(f', but {change}' for change in changed(inputs))}, over"
            f" {POOLED[vectors['pooling']['select']]}",
        ),
        ("Clusters", f"{clusters['n']}, by the method {clusters['method']}, {clusters['neighbours']} neighbours"),
        (
            "Map (UMAP)",
            f"2 dimensions, by cosine, {clusters['neighbours']} neighbours, least distance 0.1, seed {inputs.seed};"
            " all else as the library has it",
        ),
        ("Source of the concepts", _source(inputs)),
        ("Counts of patients that are not shown", f"under {reports.suppress_below}"),
        ("Seed of all that is random", str(inputs.seed)),
    ]


def changed(inputs: Inputs) -> list[str]:
    """What of the vectors' preset was set otherwise, as in a settings file: 'profile = 0', 'habits = ""'."""
    own = inputs.artifacts[PATIENT_EMBEDDINGS].manifest["settings"]
    preset = VectorSettings(**EmbeddingsSettings.PRESETS[own["preset"]].get("vectors", {}))
    return [
        f"{name} = {json.dumps(own['vectors'][name])}"
        for name, value in asdict(preset).items()
        if own["vectors"][name] != value
    ]


def _source(inputs: Inputs) -> str:
    """From which vocabulary codes were mapped, with its release where the mapping knows it (MRSAB of the UMLS)."""
    source: str = read_json(inputs.artifacts[MAPPED_EVENTS], "coverage.json")["source"]
    if source != inputs.settings[MAPPED_EVENTS]["source"]:
        return source
    return f"{source}; its release is not told by the mapping table (events.mrsab names the file that does)"
