"""The page of predictions: its sections in order. A section is a function in `sections` and a template."""

from ehr_pipeline.prediction_report import next_concepts, sections
from ehr_pipeline.prediction_report.findings import Findings
from ehr_pipeline.reports import layout
from ehr_pipeline.reports.layout import Header, Section

FOLDER = "ehr_pipeline.prediction_report"
SECTIONS: tuple[Section[Findings], ...] = (
    Section("worth", sections.worth),
    Section("curve", sections.curve, "Learning curve"),
    Section("tasks", sections.tasks, "Tasks"),
    Section("models", sections.models, "All models"),
    Section("calibration", sections.calibration, "Calibration"),
    Section("subgroups", sections.subgroups, "Subgroups"),
    Section("forecasts", next_concepts.forecasts, "Forecasts"),
    Section("excluded", sections.excluded, "Who was excluded"),
    Section("guards", sections.guards, "Guards"),
    Section("methods", sections.methods, "Methods"),
)


def render(findings: Findings) -> str:
    """Return the page as HTML."""
    return layout.render(SECTIONS, findings, Header("What the model predicts", findings.study, findings.terms), FOLDER)
