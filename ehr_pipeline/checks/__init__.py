"""What must hold of every artifact. The same checks show in the Dagster UI, gate every consumer, and run in CI.

A check is a function that reads a published artifact and tells what it found. Blocking checks are those whose failure would
ruin what follows: nothing is built on an artifact that failed one.
"""

from dataclasses import replace

from ehr_pipeline.checks import data, drift, encoder, lists, losses, patients, presence, rows, sides
from ehr_pipeline.checks.model import Check, Outcome
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import (
    CLUSTER_REPORTS,
    CLUSTERS,
    COHORT,
    CONCEPT_EMBEDDINGS,
    DATA_SPLIT,
    ENCODER_CHECKPOINT,
    EXTRACT_CATALOG,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    PATIENT_EMBEDDINGS,
    PATIENT_TRAJECTORIES,
    RAW_RECORDS,
    STAGES,
    VOCABULARY,
)

__all__ = ["CHECKS", "ORDER", "Check", "Outcome", "evaluate", "passes"]

ORDER = tuple(STAGES)

_PRESENT = Check(
    "patients_present",
    "Nobody who withdrew, or is absent from the newest snapshot, is in it.",
    presence.of_present_patients,
)
_CONSERVED = Check(
    "rows_conserved", "Every row that came in was kept, collapsed, or dropped with a reason.", rows.rows_conserved
)
_LISTS = Check(
    "lists_understood",
    "Every row of the concept lists stands for a concept.",
    data.lists_understood,
    blocking=False,
)

_UNSEEN = Check(
    "test_side_unseen",
    "Nothing was learned from patients of the test side, by hashes of whom it learned from.",
    sides.unseen,
    only_warns=sides.cannot_be_checked,
    applies=sides.leaves_out,
)

CHECKS: dict[str, tuple[Check, ...]] = {
    RAW_RECORDS: (
        _CONSERVED,
        Check(
            "schema", "Columns of the event shards.", rows.schema("events", lambda artifact, study: schemas.RAW_EVENTS)
        ),
        Check(
            "patient_schema",
            "Columns of the patient shards.",
            rows.schema("patients", lambda artifact, study: schemas.patients(study.records.attributes)),
        ),
        Check(
            "rows_as_counted",
            "The shards hold as many events as were counted.",
            rows.rows_as_counted("events", lambda a: int(a.counts["kept"])),
        ),
        Check(
            "patients_decodable",
            "The values that patients carry are text in the encoding that the settings name.",
            data.decodable,
            blocking=False,
        ),
        Check(
            "patients_consistent",
            "Rows of one patient agree, and months and days of birth can be read.",
            data.consistent,
            blocking=False,
        ),
        Check(
            "rejected_rows",
            "Few of the rows of events and of patients are rejected, against records.limits.",
            losses.rejected_rows,
            only_warns=losses.below_the_limit,
        ),
        Check(
            "values_understood",
            "Sex, and dates of observation, are understood, against records.limits.",
            losses.values_understood,
            only_warns=losses.few_not_understood,
        ),
        Check(
            "files_ended",
            "Every text file ends with a line end, so that none seems to be cut off.",
            losses.files_ended,
            blocking=False,
        ),
        Check(
            "tables_joined",
            "Patients have their row in the joined tables, against records.limits.",
            losses.tables_joined,
            blocking=False,
        ),
        Check(
            "columns_filled",
            "Each column that patients carry is known of somebody.",
            losses.columns_filled,
            blocking=False,
        ),
    ),
    EXTRACT_CATALOG: (
        _CONSERVED,
        Check(
            "patients_known",
            "Of each extract, few of the events are of patients whom no extract has a row of, against records.limits.",
            losses.patients_known,
            only_warns=losses.known_above_the_limit,
        ),
        Check(
            "sides_understood",
            "The column that tells the sides of patients is understood, and extracts agree on it, against records.limits.",
            sides.understood,
            only_warns=sides.few_misunderstood,
            applies=lambda study: bool(study.patients.split.column),
        ),
    ),
    MAPPED_EVENTS: (
        _CONSERVED,
        Check("schema", "Columns of the shards.", rows.schema("events", lambda artifact, study: schemas.MAPPED_EVENTS)),
        Check(
            "rows_as_counted",
            "The shards hold as many events as were counted.",
            rows.rows_as_counted("events", lambda a: int(a.counts["kept"])),
        ),
        Check("rows_taken_up", "Every raw event was taken up.", rows.rows_taken_up(EXTRACT_CATALOG, "")),
        Check(
            "mapping_coverage",
            "Share of events that are mapped, or kept as concepts of their own, against events.coverage_floor.",
            data.coverage,
        ),
        Check(
            "cohort_recorded",
            "Each concept list of the cohort finds events.",
            lists.recorded,
            blocking=False,
            applies=lambda study: bool(lists.cohort(study)),
        ),
        Check(
            "snomed_recognised",
            "Codes of other systems do not look like SNOMED's.",
            data.snomed_recognised,
            blocking=False,
            applies=lambda study: study.records.source == "meds",
        ),
        *(
            Check(
                f"drift_{kind}",
                f"The newest extract beside the one before: {told}.",
                drift.beside_the_one_before(kind, told),
                blocking=False,
            )
            for kind, told in (
                ("volume", "events per patient, relative difference"),
                ("codes", "difference of the code mix (0 to 1)"),
                ("ages", "years between the mean years of birth"),
                ("coverage", "difference of the share of events with a concept"),
            )
        ),
    ),
    VOCABULARY: (
        _CONSERVED,
        Check(
            "rows_taken_up",
            "The concepts of every mapped event were counted.",
            rows.rows_taken_up(MAPPED_EVENTS, "events"),
        ),
        Check(
            "semantic_types_known",
            "Few of the concepts of the UMLS lack a semantic type.",
            data.typed,
            blocking=False,
        ),
        Check("vocabulary_size", "Enough concepts to train on, against vocabulary.min_size.", data.size),
        Check(
            "concepts_of_many_patients",
            "Each concept is of reports.suppress_below patients or more, so that a model with this vocabulary may be handed on.",
            data.named_of_many,
            blocking=False,
            applies=lambda study: study.vocabulary.min_patients > 0,
        ),
        _LISTS,
        _UNSEEN,
    ),
    PATIENT_DATASET: (
        _CONSERVED,
        Check(
            "schema",
            "Columns of the shards.",
            rows.schema("patients", lambda artifact, study: schemas.patient_dataset(study.attributes)),
        ),
        Check("rows_taken_up", "Every mapped event was taken up.", rows.rows_taken_up(MAPPED_EVENTS, "")),
        Check(
            "rows_as_counted",
            "The shards hold as many patients as were counted.",
            rows.rows_as_counted("patients", lambda a: int(a.counts["patients"]["kept"])),
        ),
        Check(
            "tokens_in_vocabulary", "Every token id belongs to a concept of the vocabulary.", data.tokens_in_vocabulary
        ),
    ),
    DATA_SPLIT: (
        _CONSERVED,
        Check("schema", "Columns of the shards.", rows.schema("split", lambda artifact, study: schemas.SPLIT)),
        Check(
            "no_patient_on_both_sides",
            "Each patient is on one side, and those that are learned from have patients.",
            data.no_patient_on_both_sides,
        ),
    ),
    ENCODER_CHECKPOINT: (
        Check(
            "better_than_frequency",
            "The validation loss is finite, and better than guessing by frequency.",
            encoder.better_than_frequency,
        ),
        Check(
            "vocabulary_fits",
            "The checkpoint was trained with the current vocabulary, or with one that grew into it.",
            encoder.checkpoint_fits,
        ),
        _UNSEEN,
    ),
    CONCEPT_EMBEDDINGS: (
        _CONSERVED,
        Check("vectors_finite", "No concept vector holds NaN or infinity.", encoder.vectors_finite),
        _LISTS,
    ),
    COHORT: (_CONSERVED, _LISTS),
    PATIENT_EMBEDDINGS: (
        _CONSERVED,
        Check(
            "everybody_accounted_for",
            "Every cohort patient has a vector, or is counted.",
            patients.everybody_accounted_for,
        ),
        Check("embeddings_sound", "Vectors are finite, and do not all point the same way.", encoder.embeddings_sound),
        _UNSEEN,
    ),
    CLUSTERS: (
        _CONSERVED,
        Check("no_empty_cluster", "As many clusters as asked for.", patients.no_empty_cluster),
        Check(
            "eigenvectors_converged",
            "The eigenvectors that spectral clusters are made of are exact.",
            patients.eigenvectors_converged,
            blocking=False,
            applies=lambda study: study.clusters.method == "spectral",
        ),
        Check(
            "clusters_stable",
            "Random halves of the patients give the same clusters, against clusters.unstable_below.",
            patients.clusters_stable,
            blocking=False,
        ),
        Check(
            "evidence_of_subgroups",
            "The split-half test finds more agreement than chance.",
            patients.evidence,
            blocking=False,
        ),
        Check(
            "planted_groups",
            "On synthetic extracts: clusters agree with what was planted.",
            patients.planted_groups,
            blocking=False,
            applies=lambda study: bool(study.clusters.truth),
        ),
    ),
    PATIENT_TRAJECTORIES: (
        _CONSERVED,
        Check(
            "clustered_taken_up", "Every clustered patient was taken up, or is counted.", patients.clustered_taken_up
        ),
        Check(
            "planted_changes",
            "On synthetic extracts where patients change: the transitions are those that were planted.",
            patients.planted_changes,
            blocking=False,
            applies=lambda study: bool(study.clusters.truth),
        ),
    ),
    CLUSTER_REPORTS: (
        _CONSERVED,
        Check("page_whole", "The page is complete, and links to nothing outside.", patients.page_whole),
    ),
}


CHECKS = {name: (_PRESENT, *checks) for name, checks in CHECKS.items()} | {
    # A checkpoint holds no patient, but it has learnt from those who left: it is flagged, and used until it is trained again.
    ENCODER_CHECKPOINT: (replace(_PRESENT, blocking=False), *CHECKS[ENCODER_CHECKPOINT]),
}


def passes(name: str, asset: str, artifact: Artifact, store: Store, study: Study) -> bool:
    """Whether an artifact, current or not, passes one check."""
    return next(check.test(artifact, store, study)[0] for check in CHECKS[asset] if check.name == name)


def evaluate(asset: str, artifact: Artifact, store: Store, study: Study) -> list[Outcome]:
    """Run the checks of an asset on its artifact."""
    outcomes = []
    for check in CHECKS[asset]:
        if check.applies(study):
            passed, message, figures = check.test(artifact, store, study)
            blocking = check.blocking and (passed or not check.only_warns(artifact, study))
            outcomes.append(Outcome(check.name, passed, message, blocking, figures))
    return outcomes
