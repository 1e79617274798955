"""Write the pages that our web server adds to Dagster's (`routes`): one about each asset, and the asset's files that may be shown.

These files are those listed as released in the asset's declaration, and its pictures; small counts are suppressed in them. A page
with text from the data is sandboxed, so that its scripts cannot send requests to Dagster.
"""

import dataclasses
import json
from collections.abc import Iterator
from html import escape
from operator import attrgetter
from pathlib import Path
from typing import Any

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.assets.asset import Asset
from ehr_pipeline.defs.column_metadata import meanings
from ehr_pipeline.patients.settings import SplitSettings, shown_key
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import package_of

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em}td,th{text-align:left;padding:.2em .8em"
    " .2em 0;vertical-align:top}code{background:#f2f2f5;padding:0 .2em}"
)


def about(name: str) -> str | None:
    """Return the page about an asset, made from its declaration and the settings of the study; None if there is no such asset."""
    asset = ASSETS.get(name)
    return described(asset, settings.load(settings.settings_path())) if asset else None


def shown_file(name: str, version: str, path: str) -> Path | None:
    """Return the file at this address; None if there is no such file or it may not be shown."""
    study = settings.load(settings.settings_path())
    asset = ASSETS.get(name)
    if asset is None:
        return None
    folder = Store(study.study.store).folder(name) / version
    if version.startswith(".") or "/" in version or not (folder / "manifest.json").is_file():
        return None
    allowed = [folder / one for one in asset.released]
    allowed += [picture for pattern in asset.pictures.values() for picture in folder.glob(pattern)]
    return next((one for one in allowed if one.relative_to(folder).as_posix() == path and one.is_file()), None)


def described(asset: Asset, study: Study) -> str:
    """Return the page about an asset, as HTML."""
    description = "".join(f"<p>{escape(part)}</p>" for part in asset.description.split("\n\n"))
    read = ", ".join(f'<a href="{name}">{name}</a>' for name in asset.reads) or "the extracts"
    checks = [
        (check.name, check.description, "stops the run" if check.blocking else "warns")
        for check in asset.all_checks
        if check.applies(study)
    ]
    columns = list(meanings(asset.name, study)) if asset.columns else []
    parts = [
        f"<!doctype html><html lang='en'><title>{asset.name}</title><style>{STYLE}</style><h1>{asset.name}</h1>",
        description,
        f"<p>Built from: {read}. Code: <code>ehr_pipeline.{package_of(asset.name)}</code>.</p>",
        *_table(f"Settings: [{asset.section}]", ("Setting", "Value", "Meaning"), _settings(asset, study)),
        *_table("Checks", ("Check", "Condition", "If it fails"), checks),
        *_table("Columns", ("Column", "Type", "Meaning"), columns),
    ]
    return "\n".join([*parts, "</html>"])


def _settings(asset: Asset, study: Study) -> Iterator[tuple[str, str, str]]:
    section = attrgetter(asset.section)(study)
    if not dataclasses.is_dataclass(section):
        yield asset.section, str(section), ""
        return
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if isinstance(section, SplitSettings) and field.name == "key":
            value = shown_key(value)
        if field.name not in asset.without and not dataclasses.is_dataclass(value):
            yield field.name, json.dumps(value, default=str), field.metadata["description"]


def _table(title: str, heads: tuple[str, ...], rows: Any) -> Iterator[str]:
    rows = list(rows)
    if rows:
        yield f"<h2>{escape(title)}</h2><table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"
        for first, *rest in rows:
            yield f"<tr><td><code>{escape(first)}</code></td>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        yield "</table>"
