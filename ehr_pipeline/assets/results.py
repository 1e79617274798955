"""The declarations of the assets from the encoder to the report."""

from ehr_pipeline.assets import identity
from ehr_pipeline.assets.asset import Asset, Sources
from ehr_pipeline.assets.data import EVENT, PATIENT
from ehr_pipeline.checks import data, encoder, patients, relations, rows, train_test_sides
from ehr_pipeline.drawing import data_stages
from ehr_pipeline.reports import PAGE
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import (
    CLUSTER_REPORTS,
    CLUSTERS,
    COHORT,
    CONCEPT_EMBEDDINGS,
    CONCEPT_RELATIONS,
    DATA_SPLIT,
    ENCODER_CHECKPOINT,
    EXTRACT_CATALOG,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    PATIENT_EMBEDDINGS,
    PATIENT_TRAJECTORIES,
    VOCABULARY,
)

WIDTH = 1
"""The vector width shown in column schemas; the real width is only known from the data."""
VISITS: Sources = ((PATIENT_DATASET, "visits"),)
RECORD: Sources = (*VISITS, (PATIENT_DATASET, "birth_date"))
CHOSEN: Sources = ((VOCABULARY, "concept"), (CONCEPT_EMBEDDINGS, "neighbour"))
VECTOR: Sources = ((PATIENT_EMBEDDINGS, "vector"),)


def _clusters_lineage(study: Study) -> dict[str, Sources]:
    return {
        "patient_id": ((PATIENT_EMBEDDINGS, "patient_id"),),
        "sex": ((PATIENT_DATASET, "sex"),),
        **dict.fromkeys(("age", "mean_age"), RECORD),
        **dict.fromkeys(("concepts", "visits"), VISITS),
        "disease": ((COHORT, "disease"),),
        **dict.fromkeys(("cluster", "stability", "x", "y", "assigned", "vector_hash"), VECTOR),
        "cluster_baseline": VISITS,
        **{name: ((PATIENT_DATASET, name),) for name in study.attributes},
        **{f"cluster_{method}": VECTOR for method in study.clusters.others},
    }


RESULTS = (
    Asset(
        name=ENCODER_CHECKPOINT,
        description="The trained encoder, as a folder that `AutoModel` loads. Training starts from random weights or"
        " from another study's encoder.",
        reads=(VOCABULARY, PATIENT_DATASET, DATA_SPLIT),
        version="5",
        heavy=True,
        section="encoder",
        also=(identity.seed, identity.transferred),
        checks=(encoder.better_than_frequency, encoder.vocabulary_fits, train_test_sides.test_side_unseen),
        sound=("better_than_frequency", "vocabulary_fits"),
        counts_rows=False,
        group="encoder",
        kinds=("torch", "huggingface"),
        pictures={"learning curves": "notes/curves.png"},
    ),
    Asset(
        name=CONCEPT_EMBEDDINGS,
        description="Concept vectors, the ten nearest neighbours of each concept of interest, and files for"
        " TensorBoard's projector.",
        reads=(ENCODER_CHECKPOINT, VOCABULARY, MAPPED_EVENTS),
        version="3",
        section="concepts",
        also=(identity.seed,),
        checks=(rows.rows_conserved, encoder.vectors_finite, data.lists_understood),
        columns=lambda study: schemas.NEIGHBOURS,
        lineage=lambda study: {
            "concept": ((VOCABULARY, "concept"),),
            "name": ((VOCABULARY, "name"),),
            "neighbour": (*VISITS, (VOCABULARY, "concept")),
            "neighbour_name": (*VISITS, (VOCABULARY, "name")),
            **dict.fromkeys(("rank", "cosine"), (*VISITS, (VOCABULARY, "token_id"))),
        },
        group="encoder",
        kinds=("numpy", "umap"),
        draw=data_stages.draw_concepts,
    ),
    Asset(
        name=CONCEPT_RELATIONS,
        description="Pairs of concepts that occur together or follow each other, found by counting and by the"
        " encoder. Both are compared as graphs; pairs on which the evidence agrees are kept as edges.",
        reads=(ENCODER_CHECKPOINT, VOCABULARY, MAPPED_EVENTS, PATIENT_DATASET),
        version="11",
        section="relations",
        also=(identity.seed, identity.habits),
        checks=(rows.rows_conserved, relations.two_are_compared, relations.few_are_suppressed),
        columns=lambda study: schemas.CONCEPT_RELATIONS,
        meanings={
            "partner": "The other concept.",
            "partner_name": "Its name.",
            "direction": "'together'; or 'after': how far the partner comes after the concept.",
            "measure": "What is measured.",
            "value": "The measure.",
            "low": "The lower end of its 95 % interval, by which partners are ranked.",
            "high": "The upper end.",
            "q": "False discovery rate over all pairs.",
            "patients": "Number of patients behind the value, at least.",
            "suppressed": "Whether these are too few; there is then no value.",
        },
        lineage=lambda study: {
            **dict.fromkeys(("concept", "partner"), ((VOCABULARY, "concept"),)),
            **dict.fromkeys(("name", "partner_name"), ((VOCABULARY, "name"),)),
            **dict.fromkeys(("rank", "value", "low", "high", "q", "patients", "suppressed"), RECORD),
        },
        counts_rows=False,
        group="encoder",
        kinds=("numpy", "torch", "parquet"),
    ),
    Asset(
        name=COHORT,
        description="The patients with one of the diseases of interest, which are defined by lists of concepts; they"
        " are embedded and clustered.",
        reads=(MAPPED_EVENTS, PATIENT_DATASET),
        version="3",
        section="embeddings.cohort",
        checks=(rows.rows_conserved, data.lists_understood),
        columns=lambda study: schemas.COHORT,
        lineage=lambda study: {
            **dict.fromkeys(("patient_id", "shard", "row"), PATIENT),
            **dict.fromkeys(("disease", "diseases", "first_date"), EVENT),
        },
        group="patients",
        kinds=("arrow",),
    ),
    Asset(
        name=PATIENT_EMBEDDINGS,
        description="One vector for each patient of the cohort.",
        reads=(PATIENT_DATASET, COHORT, ENCODER_CHECKPOINT, CONCEPT_EMBEDDINGS, VOCABULARY, MAPPED_EVENTS),
        reads_for_sides=(DATA_SPLIT,),
        version="9",
        heavy=True,
        section="embeddings",
        without=("cohort",),
        also=(identity.encoder_shape, identity.seed, identity.sides),
        checks=(
            rows.rows_conserved,
            patients.everybody_accounted_for,
            encoder.embeddings_sound,
            train_test_sides.test_side_unseen,
        ),
        sound=("embeddings_sound",),
        columns=lambda study: schemas.embeddings(WIDTH),
        lineage=lambda study: {
            "patient_id": ((COHORT, "patient_id"),),
            "vector": (*RECORD, *CHOSEN),
            "chunks": VISITS,
            "tokens": (*VISITS, *CHOSEN),
        },
        group="patients",
        kinds=("torch", "arrow"),
    ),
    Asset(
        name=CLUSTERS,
        description="A cluster and a place on the map for each patient of the cohort, and measures of how far the"
        " clusters can be trusted.",
        reads=(PATIENT_DATASET, COHORT, PATIENT_EMBEDDINGS, VOCABULARY),
        version="14",
        section="clusters",
        also=(identity.seed, identity.shifted_dates),
        checks=(
            rows.rows_conserved,
            patients.no_empty_cluster,
            patients.eigenvectors_converged,
            patients.clusters_stable,
            patients.evidence_of_subgroups,
            patients.planted_groups,
        ),
        sound=("no_empty_cluster",),
        columns=lambda study: schemas.clusters(study.attributes, (*study.clusters.others, "baseline")),
        lineage=_clusters_lineage,
        group="patients",
        kinds=("scikitlearn", "umap"),
    ),
    Asset(
        name=PATIENT_TRAJECTORIES,
        description="Each patient's record in windows of time, each with a vector, a cluster and a place on the map;"
        " transitions between clusters.",
        reads=(PATIENT_DATASET, COHORT, ENCODER_CHECKPOINT, PATIENT_EMBEDDINGS, CLUSTERS, VOCABULARY),
        heavy=True,
        version="3",
        section="trajectories",
        also=(identity.encoder_shape, identity.seed, identity.shifted_dates),
        checks=(rows.rows_conserved, patients.clustered_taken_up, patients.planted_changes),
        columns=lambda study: schemas.trajectories(WIDTH),
        lineage=lambda study: {
            "patient_id": ((COHORT, "patient_id"),),
            **dict.fromkeys(("window", "first_date", "last_date"), VISITS),
            "tokens": (*VISITS, *CHOSEN),
            "vector": (*RECORD, *CHOSEN),
            **dict.fromkeys(("cluster", "support"), (*RECORD, *VECTOR, (CLUSTERS, "cluster"))),
            **{axis: (*RECORD, *VECTOR, (CLUSTERS, axis)) for axis in "xy"},
        },
        group="patients",
        kinds=("torch", "arrow"),
    ),
    Asset(
        name=CLUSTER_REPORTS,
        description="One self-contained page for a clinician: the clusters, their distinguishing concepts, the bias"
        " audit, and the counts of every stage.",
        reads=(
            EXTRACT_CATALOG,
            MAPPED_EVENTS,
            VOCABULARY,
            PATIENT_DATASET,
            DATA_SPLIT,
            ENCODER_CHECKPOINT,
            CONCEPT_EMBEDDINGS,
            CONCEPT_RELATIONS,
            COHORT,
            PATIENT_EMBEDDINGS,
            CLUSTERS,
            PATIENT_TRAJECTORIES,
        ),
        version=identity.version_of_page("reports", *identity.COUNTED_IN),
        section="reports",
        also=(lambda study: {"study": study.study.name, "terms": study.governance.terms}, identity.seed),
        checks=(rows.rows_conserved, patients.page_whole(PAGE)),
        counts_rows=False,
        group="reports",
        kinds=("html",),
        pictures={"map of clusters": "notes/map_cluster.png", "first cluster": "notes/cloud_*.png"},
        released=(PAGE,),
    ),
)
