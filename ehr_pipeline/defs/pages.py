"""Pages that our web server adds to Dagster's: an entrance, a page about each asset, and the asset's files that may be shown.

These files are the released ones in the asset's declaration, and its pictures; small counts are suppressed in them. A page
with text from the data is sandboxed, so that its scripts cannot send requests to Dagster.
"""

import dataclasses
import json
from collections.abc import Iterator
from html import escape
from operator import attrgetter
from pathlib import Path
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.assets.asset import Asset
from ehr_pipeline.defs.column_metadata import meanings
from ehr_pipeline.defs.links import PLACE, QUERY
from ehr_pipeline.patients.settings import SplitSettings, shown_key
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import room_of

SANDBOX = (
    "sandbox allow-scripts allow-popups allow-downloads; default-src 'none'; style-src 'unsafe-inline';"
    " script-src 'unsafe-inline'; img-src data:; font-src data:"
)
OPEN_GROUPS = "asset-graph-open-graph-nodes-global-__GLOBAL__"
"""Key under which Dagster's UI stores, in the browser, which groups of the graph are open."""
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em}td,th{text-align:left;padding:.2em .8em"
    " .2em 0;vertical-align:top}code{background:#f2f2f5;padding:0 .2em}"
)

NOT_SHOWN = PlainTextResponse("There is no such file, or it may not be shown.", 404)


def routes(prefix: str = "") -> list[Route]:
    """The routes of these pages, which must come before Dagster's own routes. `prefix` is the path of the server, such as /look."""

    async def entrance(request: Request) -> Response:
        return HTMLResponse(entered(prefix))

    return [
        Route(f"{prefix}/", entrance),
        Route(f"{prefix}{PLACE}/{{asset}}", about),
        Route(f"{prefix}{PLACE}/{{asset}}/{{version}}/{{path:path}}", file),
    ]


class Leading:
    """Leads requests with the query of our links (`links`) to these pages, whichever page of the UI the link was on."""

    def __init__(self, app: ASGIApp, prefix: str = ""):
        self._app, self._place = app, f"{prefix}{PLACE}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect such a request; hand on all others."""
        asked = QueryParams(scope["query_string"]).get(QUERY) if scope["type"] == "http" else None
        app = self._app
        if asked is not None:
            app = NOT_SHOWN if ".." in asked.split("/") else RedirectResponse(f"{self._place}/{asked}")
        await app(scope, receive, send)


def entered(prefix: str) -> str:
    """The page that leads to the graph. On the first visit, it opens the graph's groups, which Dagster shows as closed boxes."""
    groups = dict.fromkeys(f"global@global:{asset.group}" for asset in ASSETS.values())
    seen, opened = json.dumps(OPEN_GROUPS), json.dumps(json.dumps({"expanded": ",".join(groups)}))
    script = (
        f"if (!localStorage.getItem({seen})) localStorage.setItem({seen}, {opened});"
        f" location.replace({json.dumps(f'{prefix}/asset-groups')});"
    )
    return f"<!doctype html><title>Asset graph</title><script>{script}</script>"


async def about(request: Request) -> Response:
    """The page about an asset, made from its declaration and the settings of the study."""
    asset = ASSETS.get(request.path_params["asset"])
    if asset is None:
        return PlainTextResponse("There is no such asset.", 404)
    return HTMLResponse(described(asset, settings.load(settings.settings_path())))


async def file(request: Request) -> Response:
    """Send a file of an artifact, if it may be shown."""
    asked = request.path_params
    path = shown_file(settings.load(settings.settings_path()), asked["asset"], asked["version"], asked["path"])
    if path is None:
        return NOT_SHOWN
    return FileResponse(path, headers={"Content-Security-Policy": SANDBOX, "X-Content-Type-Options": "nosniff"})


def shown_file(study: Study, name: str, version: str, path: str) -> Path | None:
    """The file at this address; None if there is no such file or it may not be shown."""
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
    """The page about an asset, as HTML."""
    description = "".join(f"<p>{escape(part)}</p>" for part in asset.description.split("\n\n"))
    read = ", ".join(f'<a href="{name}">{name}</a>' for name in asset.reads) or "the extracts"
    checks = [
        (check.name, check.description, "stops what follows" if check.blocking else "warns")
        for check in asset.all_checks
        if check.applies(study)
    ]
    columns = list(meanings(asset.name, study)) if asset.columns else []
    parts = [
        f"<!doctype html><html lang='en'><title>{asset.name}</title><style>{STYLE}</style><h1>{asset.name}</h1>",
        description,
        f"<p>Made from: {read}. Code: <code>ehr_pipeline.{room_of(asset.name)}</code>.</p>",
        *_table(f"Settings: [{asset.section}]", ("Setting", "Value", "What it sets"), _settings(asset, study)),
        *_table("Checks", ("Check", "What must hold", "If it fails"), checks),
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
