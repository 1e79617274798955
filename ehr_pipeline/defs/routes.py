"""Serve the pages that our web server adds to Dagster's: an entrance, and those of `pages`.

The data libraries that `pages` needs take a second to import, so it is imported only when a page is requested.
"""

import json

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ehr_pipeline.defs.links import PLACE, QUERY
from ehr_pipeline.tables.asset_names import GROUPS

SANDBOX = (
    "sandbox allow-scripts allow-popups allow-downloads; default-src 'none'; style-src 'unsafe-inline';"
    " script-src 'unsafe-inline'; img-src data:; font-src data:"
)
OPEN_GROUPS = "asset-graph-open-graph-nodes-global-__GLOBAL__"
"""Key under which Dagster's UI stores, in the browser, which groups of the graph are open."""

NOT_SHOWN = PlainTextResponse("This file does not exist, or may not be shown.", 404)


def routes(prefix: str = "") -> list[Route]:
    """Return the routes of these pages, which must precede Dagster's. `prefix` is the path of the server, such as /look."""

    async def entrance(request: Request) -> Response:
        return HTMLResponse(entered(prefix))

    return [
        Route(f"{prefix}/", entrance),
        Route(f"{prefix}{PLACE}/{{asset}}", about),
        Route(f"{prefix}{PLACE}/{{asset}}/{{version}}/{{path:path}}", file),
    ]


class Leading:
    """Redirects requests with the query of our links (`links`) to these pages, whichever page of the UI the link was on."""

    def __init__(self, app: ASGIApp, prefix: str = ""):
        self._app, self._place = app, f"{prefix}{PLACE}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect such a request; pass on all others."""
        asked = QueryParams(scope["query_string"]).get(QUERY) if scope["type"] == "http" else None
        app = self._app
        if asked is not None:
            app = NOT_SHOWN if ".." in asked.split("/") else RedirectResponse(f"{self._place}/{asked}")
        await app(scope, receive, send)


def entered(prefix: str) -> str:
    """Return a page that leads to the graph. On the first visit, it opens the graph's groups, which Dagster shows closed."""
    groups = [f"global@global:{group}" for group in GROUPS]
    seen, opened = json.dumps(OPEN_GROUPS), json.dumps(json.dumps({"expanded": ",".join(groups)}))
    script = (
        f"if (!localStorage.getItem({seen})) localStorage.setItem({seen}, {opened});"
        f" location.replace({json.dumps(f'{prefix}/asset-groups')});"
    )
    return f"<!doctype html><title>Asset graph</title><script>{script}</script>"


async def about(request: Request) -> Response:
    """Return the page about an asset, made from its declaration and the settings of the study."""
    from ehr_pipeline.defs import pages

    text = pages.about(request.path_params["asset"])
    return PlainTextResponse("This asset does not exist.", 404) if text is None else HTMLResponse(text)


async def file(request: Request) -> Response:
    """Send a file of an artifact, if it may be shown."""
    from ehr_pipeline.defs import pages

    asked = request.path_params
    path = pages.shown_file(asked["asset"], asked["version"], asked["path"])
    if path is None:
        return NOT_SHOWN
    return FileResponse(path, headers={"Content-Security-Policy": SANDBOX, "X-Content-Type-Options": "nosniff"})
