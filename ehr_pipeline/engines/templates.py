"""Templates that a site can edit, filled in from the settings."""

import shlex
from pathlib import Path
from typing import Any

import jinja2

from ehr_pipeline.errors import UserError


def fill(path: Path, setting: str, values: dict[str, Any]) -> str:
    """A filled template. Raises UserError with the place of what is wrong in it; `setting` is the one that names it."""
    rules = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (no HTML; values that are not ours are quoted by the template)
    )
    rules.filters["quote"] = lambda value: shlex.quote(str(value))
    try:
        return rules.from_string(path.read_text(encoding="utf-8")).render(**values)
    except (OSError, UnicodeDecodeError, jinja2.TemplateError) as error:
        line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise UserError(f"{path} ({setting}){line}: {error}.") from None
