"""Build the Dagster assets from their declarations. Each makes an artifact through the library and reports its numbers."""

from typing import Any

import dagster as dg

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.assets.asset import Asset
from ehr_pipeline.defs import read_all_extracts
from ehr_pipeline.defs.automation import follows_its_inputs
from ehr_pipeline.defs.column_metadata import column_metadata
from ehr_pipeline.defs.dagster_jobs import EXTRACTS, WHOLE_STUDY
from ehr_pipeline.defs.links import link_about
from ehr_pipeline.defs.metadata import published, published_together
from ehr_pipeline.disclosure.governance import GovernanceSettings, label
from ehr_pipeline.engines.base import Engine
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import EXTRACT_CATALOG, RAW_RECORDS, package_of


def build_assets(study: Study) -> list[dg.AssetsDefinition]:
    """Return the assets of a study, in the order in which they are made. Their settings are part of their code versions."""
    return [_definition(asset, study) for asset in ASSETS.values()]


def _definition(asset: Asset, study: Study) -> dg.AssetsDefinition:
    """Return the Dagster asset. Raw records have one partition per extract; heavy assets are made one at a time."""
    name, read = asset.name, asset.name == RAW_RECORDS
    about = (
        f"[Documentation]({link_about(name)}). Settings: `[{asset.section}]`. Code: `ehr_pipeline.{package_of(name)}`."
    )

    def make(
        context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline], launcher: dg.ResourceParam[Engine]
    ) -> dg.MaterializeResult[Any]:
        if read:
            return published_together(pipeline, [pipeline.raw_records(key) for key in sorted(context.partition_keys)])
        if name == EXTRACT_CATALOG and context.job_name == WHOLE_STUDY:
            read_all_extracts.read_all(context, pipeline)
        return published(pipeline, pipeline.asset(name, launcher.launch))

    return dg.asset(
        make,
        name=name,
        description=f"{asset.description}\n\n{about}",
        deps=asset.reads,
        code_version=asset.code_version(study),
        automation_condition=None if read else follows_its_inputs(name),
        metadata=column_metadata(name, study),
        tags={f"ehr_pipeline/{key}": text for key, text in label(asset.released, GovernanceSettings()).items()},
        group_name=asset.group,
        kinds=set(asset.kinds),
        owners=list(study.operation.owners),
        partitions_def=EXTRACTS if read else None,
        backfill_policy=dg.BackfillPolicy.single_run() if read else None,
        pool="reading" if read else "training" if asset.heavy else None,
    )
