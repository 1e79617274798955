"""From raw primary-care records to a foundation model of patients and a report that a clinician can read."""

__version__ = "0.1.0"

from ehr_pipeline.work import threads as threads  # must run before anything imports torch
