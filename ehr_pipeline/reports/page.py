"""The HTML page: its sections in order. One file, no network, readable and printable.

A section is a module in `sections` with a function `content`, a template next to it, and an entry in `SECTIONS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from ehr_pipeline import __version__
from ehr_pipeline.errors import undirected
from ehr_pipeline.reports.findings import Findings
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
    settings,
    short,
    truth,
    verdict,
)
from ehr_pipeline.reports.statements.words import WORDS


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    name: str
    """Names the template, `sections/<name>.html.j2`; if the page links to the section, it is the id of its heading."""
    content: Callable[[Findings], dict[str, Any] | None] = lambda _: {}
    """Returns the values for the template; None if there is nothing to show and the section is omitted."""
    link: str = ""
    """The text of its link at the top of the page; empty for no link."""


SECTIONS = (
    Section("verdict", verdict.content),
    Section("short", short.content, "In short"),
    Section("map", patient_map.content, "Map"),
    Section("clusters", clusters.content, "Clusters"),
    Section("new_extracts", new_extracts.content),
    Section("alternatives", alternatives.content),
    Section("evolution", evolution.content, "Change over time"),
    Section("audit", audit.content, "Bias audit"),
    Section("concepts", concepts.content, "Concept check"),
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
    """Return the page as HTML. Every value in it is escaped."""
    contents = [(section, section.content(findings)) for section in SECTIONS]
    parts = [
        (section, Markup(_template(f"sections/{section.name}").render(content)))  # noqa: S704  # escaped by its template
        for section, content in contents
        if content is not None
    ]
    inputs, made_by = findings.inputs, f"ehr_pipeline {__version__}"
    return _template("page").render(
        title=findings.settings.title, study=inputs.study, terms=inputs.terms, made_by=made_by, sections=parts
    )


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ehr_pipeline.reports", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _template(name: str) -> jinja2.Template:
    return _environment().get_template(f"{name}.html.j2")


def _shown(value: Any) -> Any:
    """Escape direction marks in texts, which may be names from the data; markup comes from the page's own code."""
    return undirected(value) if type(value) is str else value
