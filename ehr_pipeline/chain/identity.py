"""What decides an asset's result apart from its inputs: the version of its stage, and its own settings."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ehr_pipeline import fields
from ehr_pipeline.chain.incremental import SOUND
from ehr_pipeline.checks import presence
from ehr_pipeline.errors import Damaged, MissingArtifact
from ehr_pipeline.patients.settings import SIDES, SplitSettings
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import Artifact, Store, hash_of
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import asset_names
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

REPORT_SOURCES = (
    "reports",
    "disclosure/spreadsheet.py",
    "disclosure/suppression.py",
    "disclosure/by_subtraction.py",
    "disclosure/tabulate.py",
    "clusters/baseline.py",
    "clusters/build.py",
    "clusters/evidence.py",
    "clusters/overlap.py",
    "clusters/trust.py",
    "concepts/substitutes.py",
    "drawing/plots.py",
    "cohort/build.py",
    "encoder/sequences.py",
    "disclosure/figures.py",
    "disclosure/kinds.py",
    "store/declared.py",
    *(f"{stage}/__init__.py" for stage in dict.fromkeys((*STAGES.values(), "cohort"))),
    "drawing/data_stages.py",
    "tables/asset_names.py",
    "tables/drop_reasons.py",
    "records/deltas.py",
    "records/numeric.py",
    "tables/schemas.py",
    "terminology/semantic_types.py",
    "trajectories/build.py",
    "trajectories/transitions.py",
    "vocabulary/table.py",
)
"""What the page is made of: modules and folders of this package. A page is quickly made, so any change of them makes it anew."""


def version_of_sources(root: Path, sources: Sequence[str]) -> str:
    """A version that follows from the bytes of Python modules and templates, by their places below `root`."""
    found = [path for name in sources for path in ([root / name] if name.endswith(".py") else (root / name).rglob("*"))]
    kept = sorted(path for path in found if path.suffix in (".py", ".j2"))
    return hash_of([(path.relative_to(root).as_posix(), fields.file_hash(path)) for path in kept])


# Raised when the same settings and inputs give another result: ehr_pipeline_tests/test_versions.py asks for it.
VERSIONS = dict.fromkeys(STAGES, "1") | {
    RAW_RECORDS: "7",
    EXTRACT_CATALOG: "3",
    MAPPED_EVENTS: "7",
    VOCABULARY: "2",
    PATIENT_DATASET: "2",
    ENCODER_CHECKPOINT: "2",
    CONCEPT_EMBEDDINGS: "3",
    COHORT: "2",
    PATIENT_EMBEDDINGS: "6",
    CLUSTERS: "4",
    CLUSTER_REPORTS: version_of_sources(Path(__file__).parents[1], REPORT_SOURCES),
}
# What the embedding job has to know of the encoder.
ENCODER_SHAPE = ("context", "age_unit", "max_positions", "precision")


def assets(study: Study) -> tuple[str, ...]:
    """The assets that a study comes to, in the order of the chain: without a cohort, those before it."""
    every = tuple(STAGES)
    return every if study.embeddings.cohort else every[: every.index(COHORT)]


def own_settings(asset: str, study: Study) -> dict[str, Any]:
    """The settings that decide an asset's result, apart from its inputs: their change makes it stale, and no other."""
    identity = fields.identity
    seed = {"seed": study.study.seed}
    own: dict[str, Any]
    match asset:  # lists that another asset's settings name are not read
        case asset_names.RAW_RECORDS:
            own = _without("mode", identity(study.records)) | {"withdrawals": presence.list_of_withdrawals(study)}
        case asset_names.EXTRACT_CATALOG:
            own = {"mode": study.records.mode}
            if (
                study.records.outside_observation != "keep"
            ):  # of events that were set aside; the default changes nothing
                own |= {"outside_observation": study.records.outside_observation}
            own |= _sides(study)
        case asset_names.MAPPED_EVENTS:
            own = identity(study.events)
        case asset_names.VOCABULARY:
            own = identity(study.vocabulary) | _sides(study)
        case asset_names.PATIENT_DATASET:
            own = _without("split", identity(study.patients))
        case asset_names.DATA_SPLIT:
            own = identity(split_settings(study))
        case asset_names.ENCODER_CHECKPOINT:
            own = identity(study.encoder) | seed
        case asset_names.CONCEPT_EMBEDDINGS:
            own = identity(study.concepts) | seed
        case asset_names.COHORT:
            own = {"cohort": identity(study.embeddings.cohort)}
        case asset_names.PATIENT_EMBEDDINGS:
            own = _without("cohort", identity(study.embeddings)) | _shape(study) | seed | _sides(study)
        case asset_names.CLUSTERS:
            own = identity(study.clusters) | seed
        case asset_names.PATIENT_TRAJECTORIES:
            own = identity(study.trajectories) | _shape(study) | seed
        case asset_names.CLUSTER_REPORTS:
            own = identity(study.reports) | {"study": study.study.name, "terms": study.governance.terms} | seed
        case _:
            raise AssertionError(asset)
    return own


def lists(asset: str, study: Study) -> list[Path]:
    """The small files whose content is among an asset's settings, those that are there."""
    of: Any = {
        RAW_RECORDS: study.records,
        MAPPED_EVENTS: study.events,
        VOCABULARY: study.vocabulary,
        PATIENT_DATASET: study.patients,
        CONCEPT_EMBEDDINGS: study.concepts,
        COHORT: study.embeddings.cohort,
        PATIENT_EMBEDDINGS: replace(study.embeddings, cohort=()),
        CLUSTERS: study.clusters,
        PATIENT_TRAJECTORIES: study.trajectories,
        CLUSTER_REPORTS: study.reports,
    }.get(asset, ())
    return [path for path in fields.lists(of) if path.is_file()]


def split_settings(study: Study) -> SplitSettings:
    """The settings of the split with its key: the one of the settings file, else that of the store's split, else the store's own.

    So a new study never gets a key that others know, and a split that was made keeps its key whatever becomes of the store's.
    """
    split, store = study.patients.split, Store(study.study.store)
    if split.key:
        return split
    current, made = store.fingerprint(DATA_SPLIT), store.published(DATA_SPLIT)
    made.sort(key=lambda artifact: artifact.manifest["fingerprint"] == current)  # the current one last, else the newest
    return replace(split, key=made[-1].manifest["settings"]["key"] if made else secret_key.of(store.root).text("split"))


def _sides(study: Study) -> dict[str, Any]:
    """What decides from whom is learned, as a hash since it has the key in it; nothing where everybody is learned from."""
    return {SIDES: hash_of(fields.identity(split_settings(study)))} if study.patients.split.leaves_out else {}


def _shape(study: Study) -> dict[str, Any]:
    return {name: getattr(study.encoder, name) for name in ENCODER_SHAPE}


def _without(name: str, values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def code_version(asset: str, study: Study) -> str:
    """What Dagster compares to say that an asset is stale: the version of the stage and its own settings.

    What new extracts do is one of them for the model and what is made with it. It is no part of the fingerprint, which names
    what was gone on from instead.
    """
    own = own_settings(asset, study)
    if asset in SOUND:
        own |= {"on_new_extract": study.encoder.on_new_extract}
    return f"{VERSIONS[asset]}-{hash_of(own)}"


def previous(asset: str, store: Store, partition: str | None = None) -> Artifact | None:
    """The artifact that is current, if it was made by the same version of the stage; its files are not looked at."""
    try:
        found = store.current(asset, partition)
    except (MissingArtifact, Damaged):
        return None
    return found if found.manifest["version"] == VERSIONS[asset] else None


def reusable(asset: str, store: Store, partition: str | None = None) -> Artifact | None:
    """The same, if it is intact as well: unchanged buckets are taken from it, and damage must not be handed on as new work."""
    found = previous(asset, store, partition)
    return store.usable(asset, partition) if found else None
