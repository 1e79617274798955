"""The system, in the order of its flow. Each body makes one artifact through the library and reports its numbers."""

from typing import Any

import dagster as dg

from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.defs.metadata import published, published_together
from ehr_pipeline.engines.base import Engine

EXTRACTS = dg.DynamicPartitionsDefinition(name="extract")
OWNERS = ["team:ehr-pipeline"]

Result = dg.MaterializeResult[Any]
PipelineParam = dg.ResourceParam[Pipeline]
LauncherParam = dg.ResourceParam[Engine]


@dg.asset(
    partitions_def=EXTRACTS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="data",
    kinds={"polars", "arrow"},
    owners=OWNERS,
    pool="reading",
)
def raw_records(context: dg.AssetExecutionContext, pipeline: PipelineParam) -> Result:
    """One extract's text as typed columns, hash-bucketed by patient; rejected rows in a quarantine with file, line, reason.

    An extract is a folder in the landing folder (`records.landing`), and a partition of this asset, registered when the server
    starts or by the sensor `new_extracts`.
    """
    return published_together(pipeline, [pipeline.raw_records(extract) for extract in sorted(context.partition_keys)])


@dg.asset(deps=[raw_records], group_name="data", kinds={"json"}, owners=OWNERS)
def extract_catalog(pipeline: PipelineParam) -> Result:
    """All extracts that were read and passed their checks, each with its data version.

    Everything downstream depends on this one asset: Dagster ignores a dependence on a hundred partitions or more.
    """
    return published(pipeline, pipeline.extract_catalog())


@dg.asset(deps=[extract_catalog], group_name="data", kinds={"arrow"}, owners=OWNERS)
def mapped_events(pipeline: PipelineParam) -> Result:
    """Patient, date, UMLS concept: every code mapped, kept as its own token, or counted as lost."""
    return published(pipeline, pipeline.mapped_events())


@dg.asset(deps=[mapped_events], group_name="data", kinds={"csv"}, owners=OWNERS)
def vocabulary(pipeline: PipelineParam) -> Result:
    """Concept to token id, with name, semantic types and counts; what was dropped, and why."""
    return published(pipeline, pipeline.vocabulary())


@dg.asset(deps=[extract_catalog, mapped_events, vocabulary], group_name="data", kinds={"arrow"}, owners=OWNERS)
def patient_dataset(pipeline: PipelineParam) -> Result:
    """One row for each patient: visits as lists of concepts, in Arrow."""
    return published(pipeline, pipeline.patient_dataset())


@dg.asset(deps=[patient_dataset], group_name="data", kinds={"arrow"}, owners=OWNERS)
def data_split(pipeline: PipelineParam) -> Result:
    """Training and validation patients, by a keyed hash of the patient id: a patient keeps its side for ever."""
    return published(pipeline, pipeline.data_split())


@dg.asset(
    deps=[vocabulary, patient_dataset, data_split],
    group_name="encoder",
    kinds={"torch", "huggingface"},
    owners=OWNERS,
    pool="training",
)
def encoder_checkpoint(pipeline: PipelineParam, launcher: LauncherParam) -> Result:
    """The encoder, trained from scratch by masked language modelling: a folder that `AutoModel` loads."""
    return published(pipeline, pipeline.encoder_checkpoint(launcher.launch))


@dg.asset(
    deps=[encoder_checkpoint, vocabulary, mapped_events], group_name="encoder", kinds={"numpy", "umap"}, owners=OWNERS
)
def concept_embeddings(pipeline: PipelineParam) -> Result:
    """Concept vectors, the ten nearest neighbours of the concepts of interest, and projector files."""
    return published(pipeline, pipeline.concept_embeddings())


@dg.asset(deps=[mapped_events, patient_dataset], group_name="cohort", kinds={"arrow"}, owners=OWNERS)
def cohort(pipeline: PipelineParam) -> Result:
    """Who has one of the diseases of interest, by lists of concepts: the patients who are embedded and clustered."""
    return published(pipeline, pipeline.cohort())


@dg.asset(
    deps=[patient_dataset, cohort, encoder_checkpoint, concept_embeddings, vocabulary, mapped_events],
    group_name="cohort",
    kinds={"torch", "arrow"},
    owners=OWNERS,
    pool="training",
)
def patient_embeddings(pipeline: PipelineParam, launcher: LauncherParam) -> Result:
    """One vector for each patient of the cohort."""
    return published(pipeline, pipeline.patient_embeddings(launcher.launch))


@dg.asset(
    deps=[patient_dataset, cohort, patient_embeddings, vocabulary],
    group_name="cohort",
    kinds={"scikitlearn", "umap"},
    owners=OWNERS,
)
def clusters(pipeline: PipelineParam) -> Result:
    """A cluster and a place on the map for every patient of the cohort, and how far the division can be trusted."""
    return published(pipeline, pipeline.clusters())


@dg.asset(
    deps=[patient_dataset, cohort, encoder_checkpoint, patient_embeddings, clusters, vocabulary],
    group_name="cohort",
    kinds={"torch", "arrow"},
    owners=OWNERS,
    pool="training",
)
def patient_trajectories(pipeline: PipelineParam, launcher: LauncherParam) -> Result:
    """Each patient's record in windows of time: a vector, a cluster and a place on the map for each; transitions."""
    return published(pipeline, pipeline.patient_trajectories(launcher.launch))


@dg.asset(
    deps=[
        extract_catalog,
        mapped_events,
        vocabulary,
        patient_dataset,
        data_split,
        encoder_checkpoint,
        concept_embeddings,
        cohort,
        patient_embeddings,
        clusters,
        patient_trajectories,
    ],
    group_name="reports",
    kinds={"html"},
    owners=OWNERS,
)
def cluster_reports(pipeline: PipelineParam) -> Result:
    """One self-contained page for a clinician: clusters, their marking concepts, the bias audit, and every count on the way."""
    return published(pipeline, pipeline.cluster_reports())


ASSETS = (
    raw_records,
    extract_catalog,
    mapped_events,
    vocabulary,
    patient_dataset,
    data_split,
    encoder_checkpoint,
    concept_embeddings,
    cohort,
    patient_embeddings,
    clusters,
    patient_trajectories,
    cluster_reports,
)
