"""Dagster's entry point: the assets, checks and resources of the study that EHR_PIPELINE_SETTINGS names."""

import os

import dagster as dg

from ehr_pipeline.defs.build_definitions import build
from ehr_pipeline.defs.extract_partitions import register_when_loaded
from ehr_pipeline.disclosure.governance import private_files
from ehr_pipeline.study import settings
from ehr_pipeline.study.dagster_home import refuse_network_disk


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions that Dagster loads."""
    private_files()
    if "DAGSTER_HOME" in os.environ:  # without it, Dagster keeps its state in a temporary folder
        refuse_network_disk()
    study = settings.load(settings.settings_path())
    register_when_loaded(study)
    return build(study)
