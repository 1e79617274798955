"""The HTML page of the clusters: its sections in order (`layout`).

A section is a module in `sections` with a function `content`, a template next to it, and an entry in `SECTIONS`.
"""

from ehr_pipeline.reports import layout
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.layout import Header, Section
from ehr_pipeline.reports.sections import (
    alternatives,
    audit,
    clusters,
    concepts,
    contributions,
    encoder,
    evolution,
    flow,
    glossary,
    methods,
    new_extracts,
    published,
    record_checklist,
    relations,
    settings,
    short,
    truth,
    verdict,
)

FOLDER = "ehr_pipeline.reports.sections"
SECTIONS: tuple[Section[Findings], ...] = (
    Section("verdict", verdict.content, "Answer"),
    Section("short", short.content, "In short"),
    Section("clusters", clusters.content, "Clusters"),
    Section("new_extracts", new_extracts.content),
    Section("evolution", evolution.content, "Change over time"),
    Section("audit", audit.content, "Bias audit"),
    Section("relations", relations.content, "Diseases together"),
    Section("flow", flow.content, "Patients left out"),
    Section("alternatives", alternatives.content, folded="How many clusters, and other methods"),
    Section("concepts", concepts.content, "Concept check", "Concept check: do neighbours belong together?"),
    Section("encoder", encoder.content, folded="Encoder"),
    Section("contributions", contributions.content, folded="Contributions to the patient vectors"),
    Section("published", published.content, folded="Comparison with the published study"),
    Section("truth", truth.content, folded="Agreement with the planted groups"),
    Section("glossary", glossary.content, "Glossary", "Glossary"),
    Section("methods", methods.content, "Methods", "Methods and their limits"),
    Section("record_checklist", record_checklist.content, folded="RECORD checklist"),
    Section("settings", settings.content, "Settings", "Settings and versions"),
)
"""All sections, in the order of the page."""


def render(findings: Findings) -> str:
    """Return the page as HTML."""
    inputs = findings.inputs
    return layout.render(SECTIONS, findings, Header(findings.settings.title, inputs.study, inputs.terms), FOLDER)
