"""The settings, libraries, machines and data with which the results were made."""

import json
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline import __version__
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.embeddings.settings import EmbeddingsSettings, VectorSettings
from ehr_pipeline.events.coverage import read as read_coverage
from ehr_pipeline.patients.settings import SIDES, shown_key
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.reports.statements import settings as say
from ehr_pipeline.reports.statements.statement import counted
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import asset_names as assets

LIBRARIES = ("torch", "transformers", "numpy", "scipy", "scikit-learn", "umap-learn", "pyarrow", "polars")
POOLED = {
    "all": "all concepts",
    "types": "concepts of chosen semantic types (all concepts, if none has a type)",
    "list": "the concepts of a list",
}


def content(findings: Findings) -> dict[str, Any]:
    """Return the main settings in words, all settings, and the versions of code and data."""
    inputs = findings.inputs
    made_with = [say.installed(versions()), say.machines(machines(inputs.artifacts))]
    return {
        "chosen": chosen(inputs, findings.settings),
        "settings": json.dumps(_public(inputs.settings), indent=1, default=str),
        "made_with": [statement for statement in made_with if statement],
        "made_from": say.version(__version__),
        "versions": [(name, artifact.data_version) for name, artifact in inputs.artifacts.items()],
    }


def chosen(inputs: Inputs, reports: ReportsSettings) -> list[tuple[str, str]]:
    """Return the main settings and their values, in words."""
    vocabulary, dataset, clusters = (
        inputs.settings[name] for name in (assets.VOCABULARY, assets.PATIENT_DATASET, assets.CLUSTERS)
    )
    encoder, vectors = inputs.settings[assets.ENCODER_CHECKPOINT], inputs.settings[assets.PATIENT_EMBEDDINGS]
    made = inputs.artifacts[assets.CLUSTERS].counts["clusters"]
    number = f"{made} (n = {json.dumps(clusters['n'])})" if clusters["n"] != made else str(made)
    cohort = [
        disease["name"] + (f" (on {disease['min_visits']} days or more)" if disease["min_visits"] > 1 else "")
        for disease in inputs.settings[assets.COHORT]["cohort"]
    ]
    return [
        ("Cohort: patients with a code of", ", ".join(cohort)),
        ("Minimum visits per patient", f"{dataset['min_visits']:,}"),
        ("Maximum concepts per visit", f"{dataset['max_concepts_per_visit']:,}"),
        ("Minimum visits containing a concept", f"{vocabulary['min_appearances']:,}"),
        (
            "Encoder",
            f"preset {encoder['preset']}: {counted(encoder['layers'], 'layer')} of width"
            f" {encoder['hidden_size']}, at most {encoder['max_epochs']} epochs, chunks of {encoder['context']} concepts",
        ),
        (
            "Patient vectors",
            f"preset {vectors['preset']}{''.join(f', but {change}' for change in changed(inputs))}, over"
            f" {POOLED[vectors['pooling']['select']]}{_and_neighbours(vectors['pooling'])}",
        ),
        ("Clusters", f"{number}, by the method {clusters['method']}, {clusters['neighbours']} neighbours"),
        (
            "Map (UMAP)",
            f"2 dimensions, cosine distance, {clusters['neighbours']} neighbours, minimum distance 0.1, seed {inputs.seed}; other"
            " parameters at their defaults",
        ),
        ("Source of the concepts", _source(inputs)),
        ("Counts of patients that are suppressed", f"fewer than {reports.suppress_below}"),
        ("Random seed", str(inputs.seed)),
    ]


def _and_neighbours(pooling: Mapping[str, Any]) -> str:
    """Return the words for the nearest neighbours that are pooled too; empty if there are none."""
    number = pooling["neighbours"] if pooling["select"] == "list" else 0
    return f" and {counted(number, 'nearest neighbour')} of each" if number else ""


def changed(inputs: Inputs) -> list[str]:
    """Return settings of vectors that differ from their preset, as in a settings file: 'profile = 0', 'habits = ""'."""
    own = inputs.artifacts[assets.PATIENT_EMBEDDINGS].manifest["settings"]
    preset = VectorSettings(**EmbeddingsSettings.PRESETS[own["preset"]].get("vectors", {}))
    return [
        f"{name} = {json.dumps(own['vectors'][name])}"
        for name, value in asdict(preset).items()
        if own["vectors"][name] != value
    ]


def _source(inputs: Inputs) -> str:
    """Return the vocabulary to which codes were mapped, with its release if the mapping knows it (MRSAB of the UMLS)."""
    coverage = read_coverage(inputs.artifacts[assets.MAPPED_EVENTS].path)
    source: str = coverage["source"]
    if not coverage["mapped_events"]:
        return "the codes themselves: each is a separate concept"
    if source != inputs.settings[assets.MAPPED_EVENTS]["source"]:
        return source
    return f"{source}, release unknown (to record it, set events.mrsab to the path of MRSAB)"


def _public(settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return settings without the split's key."""
    split = settings[assets.DATA_SPLIT]
    # Settings of assets that learn from only a part of the patients contain a hash that includes the key.
    settings = {name: {key: value for key, value in own.items() if key != SIDES} for name, own in settings.items()}
    return settings | {assets.DATA_SPLIT: split | {"key": shown_key(split["key"])}}


def versions() -> list[tuple[str, str]]:
    """Return the versions of Python and of the libraries that compute figures, as installed where the page is written."""
    return [("Python", platform.python_version()), *((name, metadata.version(name)) for name in LIBRARIES)]


def machines(artifacts: Mapping[str, Artifact]) -> list[tuple[str, str]]:
    """Return, for each asset, the choices that depended on the machine, such as the precision: (asset, 'device cpu, precision
    float32')."""
    decided = [(name, artifact.manifest.get("machine", {})) for name, artifact in artifacts.items()]
    return [(name, ", ".join(f"{key} {value}" for key, value in each.items())) for name, each in decided if each]


def years(dataset: Artifact, disclosure: Disclosure) -> str:
    """Return the first and last calendar year in which enough patients of the data set have visits: '1998 to 2019', or ''."""
    patients: Counter[int] = Counter()
    for path in dataset.files("patients"):
        patients.update(_patients_by_year(path))
    shown = sorted(year for year, count in patients.items() if not disclosure.small(count))
    return f"{shown[0]} to {shown[-1]}" if shown else ""


def _patients_by_year(path: Path) -> dict[int, int]:
    """Return the number of a shard's patients with a visit in each calendar year."""
    shard = Shard.read(path)
    year: NDArray[np.int64] = shard.visit_day.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    visits = np.diff(shard.patient_start)
    patient = np.repeat(np.arange(len(visits)), visits)
    if not len(year):
        return {}
    # the visits of a patient are in order of date
    new = np.concatenate([[True], (patient[1:] != patient[:-1]) | (year[1:] != year[:-1])])
    found, counts = np.unique(year[new], return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
