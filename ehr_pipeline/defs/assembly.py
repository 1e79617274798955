"""The definitions of a study: its assets, checks, resources and what starts its runs."""

from collections.abc import Mapping

import dagster as dg

from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.defs.assets import ASSETS
from ehr_pipeline.defs.automation import build_automation, follows_its_inputs
from ehr_pipeline.defs.checks import build_checks
from ehr_pipeline.defs.columns import column_metadata
from ehr_pipeline.defs.failures import build_failure_hook
from ehr_pipeline.defs.launcher import launcher
from ehr_pipeline.defs.study import build_study
from ehr_pipeline.disclosure.governance import GovernanceSettings, label
from ehr_pipeline.study import settings
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

SECTIONS = {
    RAW_RECORDS: "[records]",
    EXTRACT_CATALOG: "[records] mode",
    MAPPED_EVENTS: "[events]",
    VOCABULARY: "[vocabulary]",
    PATIENT_DATASET: "[patients]",
    DATA_SPLIT: "[patients.split]",
    ENCODER_CHECKPOINT: "[encoder]",
    CONCEPT_EMBEDDINGS: "[concepts]",
    COHORT: "[embeddings.cohort]",
    PATIENT_EMBEDDINGS: "[embeddings]",
    CLUSTERS: "[clusters]",
    PATIENT_TRAJECTORIES: "[trajectories]",
    CLUSTER_REPORTS: "[reports]",
}
"""The part of the settings file that decides each asset, as its description tells."""


def build(study: settings.Study, loggers: Mapping[str, dg.LoggerDefinition] | None = None) -> dg.Definitions:
    """The definitions of a study. The settings of each asset are part of its code version: a change of them makes it stale.

    `loggers` replace Dagster's own console output.
    """
    pipeline = Pipeline(study)

    def with_version(spec: dg.AssetSpec) -> dg.AssetSpec:
        asset = spec.key.to_user_string()
        return spec.replace_attributes(
            code_version=pipeline.code_version(asset),
            description=f"{spec.description}\n\nSettings: `{SECTIONS[asset]}`. Code: `ehr_pipeline.{STAGES[asset]}`.",
            automation_condition=None if asset == RAW_RECORDS else follows_its_inputs(asset),
            metadata={**spec.metadata, **column_metadata(asset, study)},
            tags={
                **spec.tags,
                **{f"ehr_pipeline/{name}": text for name, text in label(asset, GovernanceSettings()).items()},
            },
        )

    own = dg.Definitions(
        assets=[asset.map_asset_specs(with_version) for asset in ASSETS],
        asset_checks=build_checks(study),
        resources={"pipeline": build_study(study), "launcher": launcher},
        # One process for all steps of a run: a step costs 0.1 s in place of 4 s, and a killed run leaves no orphans behind.
        executor=dg.in_process_executor,
        loggers=loggers,
    )
    return dg.Definitions.merge(own, build_automation(study), dg.Definitions(sensors=[build_failure_hook(study)]))
