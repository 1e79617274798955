"""Define the jobs of the UI: the whole study, one new extract with everything downstream, and reading one extract."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from ehr_pipeline.assets import ASSETS, of_study
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import RAW_RECORDS

EXTRACTS = dg.DynamicPartitionsDefinition(name="extract")
WHOLE_STUDY, NEW_EXTRACT, READING = "whole_study", "new_extract", "read_extract"


def whole_study(study: Study) -> Any:
    """Make everything in one click. The user chooses no partition, because the catalog first reads all extracts."""
    return dg.define_asset_job(
        WHOLE_STUDY,
        selection=_with_checks([asset for asset in of_study(study) if asset != RAW_RECORDS]),
        description="Reads every extract in the landing folder, then builds the whole study, with all checks. Unchanged assets are"
        " not rebuilt.",
    )


def new_extract(study: Study) -> Any:
    """Read one extract and make everything downstream."""
    return dg.define_asset_job(
        NEW_EXTRACT,
        selection=_with_checks(of_study(study)),
        description="Reads one extract (choose it as the partition), then builds everything downstream, with all checks.",
    )


def reading(tags: Mapping[str, str]) -> Any:
    """Read one extract. The sensor and the schedule start this job."""
    return dg.define_asset_job(
        READING,
        selection=_with_checks([RAW_RECORDS]),
        description="Reads one extract (raw_records, one partition), and checks what was read.",
        tags=tags,
    )


def _with_checks(assets: Any) -> dg.AssetSelection:
    keys = [dg.AssetKey(name) for name in ASSETS if name in assets]
    return dg.AssetSelection.assets(*keys) | dg.AssetSelection.checks_for_assets(*keys)
