"""Names of assets that several packages use, and the stage of each asset, in whose folder of the store it is kept.

An asset is declared in `assets/`, which the packages that need its name must not import.
"""

RAW_RECORDS = "raw_records"
EXTRACT_CATALOG = "extract_catalog"
MAPPED_EVENTS = "mapped_events"
VOCABULARY = "vocabulary"
PATIENT_DATASET = "patient_dataset"
DATA_SPLIT = "data_split"
TASK_LABELS = "task_labels"
ENCODER_CHECKPOINT = "encoder_checkpoint"
CONCEPT_EMBEDDINGS = "concept_embeddings"
CONCEPT_RELATIONS = "concept_relations"
COHORT = "cohort"
PATIENT_EMBEDDINGS = "patient_embeddings"
CLUSTERS = "clusters"
PATIENT_TRAJECTORIES = "patient_trajectories"
CLUSTER_REPORTS = "cluster_reports"
TASK_RESULTS = "task_results"
PREDICTION_REPORT = "prediction_report"
FORECASTS = "forecasts"

STAGES = {
    RAW_RECORDS: "records",
    EXTRACT_CATALOG: "records",
    MAPPED_EVENTS: "events",
    VOCABULARY: "vocabulary",
    PATIENT_DATASET: "patients",
    DATA_SPLIT: "patients",
    TASK_LABELS: "tasks",
    ENCODER_CHECKPOINT: "encoder",
    CONCEPT_EMBEDDINGS: "concepts",
    CONCEPT_RELATIONS: "relations",
    COHORT: "embeddings",
    PATIENT_EMBEDDINGS: "embeddings",
    CLUSTERS: "clusters",
    PATIENT_TRAJECTORIES: "trajectories",
    CLUSTER_REPORTS: "reports",
    FORECASTS: "forecasts",
    TASK_RESULTS: "predictions",
    PREDICTION_REPORT: "prediction_report",
}
"""The stage of each asset, in the order of the chain. An asset is stored in `<store>/<stage>/<asset>`."""

GROUPS = ("data", "encoder", "patients", "predictions", "reports")
"""The groups of the graph."""


def stage_of(asset: str) -> str:
    """Return the stage of an asset. If an asset is declared only in `assets/`, its stage has the name of the asset."""
    return STAGES.get(asset, asset)


def package_of(asset: str) -> str:
    """Return the package that builds an asset: its stage, except for the cohort, which is stored with another stage."""
    return asset if asset == COHORT else stage_of(asset)
