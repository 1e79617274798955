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
    methods,
    new_extracts,
    patient_map,
    published,
    record,
    relations,
    settings,
    short,
    truth,
    verdict,
)
from ehr_pipeline.reports.statements.words import WORDS

FOLDER = "ehr_pipeline.reports.sections"
SECTIONS: tuple[Section[Findings], ...] = (
    Section("verdict", verdict.content),
    Section("short", short.content, "In short"),
    Section("map", patient_map.content, "Map"),
    Section("clusters", clusters.content, "Clusters"),
    Section("new_extracts", new_extracts.content),
    Section("alternatives", alternatives.content),
    Section("evolution", evolution.content, "Change over time"),
    Section("audit", audit.content, "Bias audit"),
    Section("concepts", concepts.content, "Concept check"),
    Section("relations", relations.content, "Which diseases go together"),
    Section("encoder", encoder.content, "Encoder"),
    Section("contributions", contributions.content, "What makes the vectors"),
    Section("flow", flow.content, "From raw rows to clusters"),
    Section("published", published.content, "Published against this run"),
    Section("truth", truth.content, "Planted groups"),
    Section("words", lambda _: {"words": WORDS}, "Words explained"),
    Section("methods", methods.content, "Methods"),
    Section("record", record.content, "RECORD"),
    Section("settings", settings.content, "Settings"),
)
"""All sections, in the order of the page."""


def render(findings: Findings) -> str:
    """Return the page as HTML."""
    inputs = findings.inputs
    return layout.render(SECTIONS, findings, Header(findings.settings.title, inputs.study, inputs.terms), FOLDER)
