"""A study, as described by its settings file."""

ENVIRONMENT_VARIABLE = "EHR_PIPELINE_SETTINGS"
