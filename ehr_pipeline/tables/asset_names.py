"""Names of assets that several rooms call, as constants, and the stage in whose folder of the store each lies.

What an asset is stands in its declaration (`assets/`), far above the rooms that need its name.
"""

RAW_RECORDS = "raw_records"
EXTRACT_CATALOG = "extract_catalog"
MAPPED_EVENTS = "mapped_events"
VOCABULARY = "vocabulary"
PATIENT_DATASET = "patient_dataset"
DATA_SPLIT = "data_split"
ENCODER_CHECKPOINT = "encoder_checkpoint"
CONCEPT_EMBEDDINGS = "concept_embeddings"
COHORT = "cohort"
PATIENT_EMBEDDINGS = "patient_embeddings"
CLUSTERS = "clusters"
PATIENT_TRAJECTORIES = "patient_trajectories"
CLUSTER_REPORTS = "cluster_reports"

STAGES = {
    RAW_RECORDS: "records",
    EXTRACT_CATALOG: "records",
    MAPPED_EVENTS: "events",
    VOCABULARY: "vocabulary",
    PATIENT_DATASET: "patients",
    DATA_SPLIT: "patients",
    ENCODER_CHECKPOINT: "encoder",
    CONCEPT_EMBEDDINGS: "concepts",
    COHORT: "embeddings",
    PATIENT_EMBEDDINGS: "embeddings",
    CLUSTERS: "clusters",
    PATIENT_TRAJECTORIES: "trajectories",
    CLUSTER_REPORTS: "reports",
}
"""The stage of each of these assets, in the order of the chain: its folder in the store, `<store>/<stage>/<asset>`."""


def stage_of(asset: str) -> str:
    """The stage of an asset; that of one which is declared in `assets/` alone has its name."""
    return STAGES.get(asset, asset)
