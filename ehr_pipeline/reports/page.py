"""The HTML page: one file, no network, readable and printable."""

from functools import cache
from typing import Any

import jinja2

from ehr_pipeline.errors import undirected


def _shown(value: Any) -> Any:
    """A value as the page has it: names come from the data. What is markup already is ours."""
    return undirected(value) if type(value) is str else value


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ehr_pipeline.reports", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def render(content: dict[str, Any]) -> str:
    """The page for some content. Everything in it is escaped."""
    return _template().render(**content)
