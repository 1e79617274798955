"""Values that decide an asset's result, in addition to its section of the settings."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ehr_pipeline import typed_settings
from ehr_pipeline.encoder.configuration import SUMS
from ehr_pipeline.patients.settings import SIDES, SplitSettings
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import Store, hash_of
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import DATA_SPLIT, STAGES, room_of

REPORT_SOURCES = (
    "reports",
    "clusters/comparison.py",
    "clusters/contributions.py",
    "clusters/clustering.py",
    "clusters/number_of_clusters.py",
    "clusters/occlusion.py",
    "clusters/planted.py",
    "clusters/table.py",
    "concepts/table.py",
    "concepts/recorded_together.py",
    "embeddings/patient_blocks.py",
    "embeddings/encoder_share.py",
    "embeddings/ablations.py",
    "embeddings/vectors.py",
    "encoder/metrics.py",
    "encoder/settings.py",
    "events/coverage.py",
    "disclosure/spreadsheet.py",
    "disclosure/suppression.py",
    "disclosure/by_subtraction.py",
    "disclosure/tabulate.py",
    "clusters/patients_alike.py",
    "clusters/baseline.py",
    "clusters/evidence.py",
    "clusters/groups.py",
    "clusters/many_tests.py",
    "clusters/marker_concepts.py",
    "clusters/microaggregation.py",
    "clusters/overlap.py",
    "clusters/trait_correlations.py",
    "clusters/cluster_stability.py",
    "concepts/substitutes.py",
    "drawing/plots.py",
    "drawing/network.py",
    "relations/table.py",
    "cohort/members.py",
    "patients/shard.py",
    "disclosure/figures.py",
    "disclosure/kinds.py",
    "store/count_kinds.py",
    *(f"{room}/__init__.py" for room in dict.fromkeys(map(room_of, STAGES))),
    "drawing/data_stages.py",
    "tables/align.py",
    "tables/asset_names.py",
    "tables/drop_reasons.py",
    "records/events_without_patient.py",
    "records/numeric.py",
    "tables/schemas.py",
    "terminology/semantic_types.py",
    "trajectories/build.py",
    "trajectories/transitions.py",
    "vocabulary/table.py",
)
"""Modules and folders of this package that decide the report page. Any change in them remakes the page, which is quick."""

PREDICTION_REPORT_SOURCES = (
    "prediction_report",
    "forecasts/cases.py",
    "forecasts/metrics.py",
    "forecasts/pictures.py",
    "forecasts/table.py",
    "reports/statements/forecasts.py",
    "disclosure/figures.py",
    "disclosure/kinds.py",
    "disclosure/suppression.py",
    "drawing/plots.py",
    "predictions/result_schemas.py",
    "predictions/metrics.py",
    "predictions/models.py",
    "predictions/table.py",
    "reports/diagram.py",
    "reports/inputs.py",
    "reports/layout.py",
    "reports/page.css",
    "reports/page.html.j2",
    "reports/page.js",
    "reports/statements/statement.py",
    "tasks/assign_labels.py",
    "tasks/meds.py",
    "tasks/table.py",
    "vocabulary/table.py",
)
"""Modules and folders of this package that decide the page of predictions."""


def version_of_sources(root: Path, sources: Sequence[str]) -> str:
    """A version computed from the paths (below `root`) and bytes of Python modules, templates, styles and scripts."""
    found = [path for name in sources for path in ([root / name] if Path(name).suffix else (root / name).rglob("*"))]
    kept = sorted(path for path in found if path.suffix in (".py", ".j2", ".css", ".js"))
    return hash_of([(path.relative_to(root).as_posix(), typed_settings.file_hash(path)) for path in kept])


ENCODER_SHAPE = ("context", "age_unit", "max_positions", "precision")


def seed(study: Study) -> dict[str, Any]:
    """The seed of everything random."""
    return {"seed": study.study.seed}


def split_settings(study: Study) -> SplitSettings:
    """The settings of the split, with its key: from the settings file, else from the store's split, else from the store's key.

    So a new study never gets a key that others know, and an existing split keeps its key when the store's key changes.
    """
    split, store = study.patients.split, Store(study.study.store)
    if split.key:
        return split
    current, made = store.fingerprint(DATA_SPLIT), store.published(DATA_SPLIT)
    made.sort(key=lambda artifact: artifact.manifest["fingerprint"] == current)  # the current one last, else the newest
    return replace(split, key=made[-1].manifest["settings"]["key"] if made else secret_key.of(store.root).text("split"))


def transferred(study: Study) -> dict[str, Any]:
    """A hash of the checkpoint, from another study, that the encoder starts from; empty if it starts from none."""
    folder = study.encoder.transfer.checkpoint
    return {"transferred": typed_settings.file_hash(Path(folder) / SUMS)} if folder else {}


def habits(study: Study) -> dict[str, Any]:
    """The patient column, such as the practice, by which habits of recording differ (`embeddings.vectors.habits`)."""
    return {"habits": study.embeddings.vectors.habits}


def sides(study: Study) -> dict[str, Any]:
    """A hash of the settings that decide which patients are used for training; empty if all are. The settings include the key."""
    return {SIDES: hash_of(typed_settings.identity(split_settings(study)))} if study.patients.split.leaves_out else {}


def encoder_shape(study: Study) -> dict[str, Any]:
    """The encoder settings that the embedding job needs."""
    return {name: getattr(study.encoder, name) for name in ENCODER_SHAPE}


def of_predictions(study: Study) -> dict[str, Any]:
    """Values that decide the results of tasks, in addition to the settings of predictions; empty without tasks."""
    if not study.tasks.any:
        return {}
    return {**seed(study), **encoder_shape(study), "audited": study.reports.audited}


def of_forecasts(study: Study) -> dict[str, Any]:
    """Values that decide forecasts, in addition to their settings: seed, sides, encoder shape; empty without a test side."""
    if not study.patients.split.leaves_out:
        return {}
    return {**seed(study), **sides(study), **encoder_shape(study)}


def of_tasks(study: Study) -> dict[str, Any]:
    """Values that decide labels, in addition to the settings of tasks: seed, split, screened types; empty without tasks."""
    if not study.tasks.any:
        return {}
    own: dict[str, Any] = {**seed(study), "split": hash_of(typed_settings.identity(split_settings(study)))}
    own |= {"visit_window_days": study.patients.visit_window_days}
    if study.tasks.screen:
        own |= {"semantic_types": study.embeddings.pooling.semantic_types}
    return own
