"""The frame of every page: a title, links, and sections in order. One file, no network, readable and printable.

A page's package has, for each section, a template, which contains only layout, and a function that returns the template's values.
The page's one script (`page.js`) adds sorting, search and the like; nothing depends on it. A content security policy in the page
lets this script run, by its hash, and nothing else: no other script, no network."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import jinja2
from markupsafe import Markup

from ehr_pipeline import __version__
from ehr_pipeline.errors import undirected

Findings = TypeVar("Findings")
FRAME = "ehr_pipeline.reports"
"""The package that holds `page.html.j2`."""


@dataclass(frozen=True)
class Section(Generic[Findings]):
    """A part of a page."""

    name: str
    """Name of the template, `<name>.html.j2`; if the page links to the section, it is also the id of its heading."""
    content: Callable[[Findings], dict[str, Any] | None] = lambda _: {}
    """Returns the values for the template; None if there is nothing to show and the section is omitted."""
    link: str = ""
    """The text of its link at the top of the page; empty for no link."""
    folded: str = ""
    """Its heading if it is folded away behind it; empty for a section that is open, whose template has the heading."""


@dataclass(frozen=True)
class Header:
    """The content of the top of a page."""

    title: str
    study: str
    terms: Mapping[str, str]
    """Licence, protocol and expiry of the data, those that are known."""


def render(sections: Sequence[Section[Findings]], findings: Findings, header: Header, folder: str) -> str:
    """Return a page as HTML. `folder` is the package with the templates of its sections. Every value in the page is escaped."""
    templates = environment(folder)
    contents = [(section, section.content(findings)) for section in sections]
    parts = [
        (section, Markup(templates.get_template(f"{section.name}.html.j2").render(content)))  # noqa: S704  # escaped by its template
        for section, content in contents
        if content is not None
    ]
    style, script = (Markup(Path(__file__).with_name(f"page.{kind}").read_text("utf-8")) for kind in ("css", "js"))  # noqa: S704  # of our own
    return (
        environment(FRAME)
        .get_template("page.html.j2")
        .render(
            **vars(header),
            made_by=f"ehr_pipeline {__version__}",
            sections=parts,
            style=style,
            script=script,
            policy=policy(script),
        )
    )


def policy(script: str) -> str:
    """Return a content security policy that allows a page its own styles and pictures and this one script, but no network."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline';"
        f" script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


@cache
def environment(folder: str) -> jinja2.Environment:
    """Return the environment that loads the templates of a package."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(folder, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=escape_direction,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def escape_direction(value: Any) -> Any:
    """Escape direction marks in a text, since it may be a name from the data. Markup is left as it is: it comes from the page's
    code."""
    return undirected(value) if type(value) is str else value
