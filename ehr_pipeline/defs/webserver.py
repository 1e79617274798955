"""Run Dagster's web server with our pages (`routes`). It answers only requests for allowed host names.

    python -m ehr_pipeline.defs.webserver --allow-host NAME … OPTIONS OF dagster-webserver

A hostile site can make its own host name resolve to this machine (DNS rebinding). A browser then takes the UI for a part of that
site, whose pages may read everything in the UI. But the browser sends the site's name in the `Host` header, and this server refuses
such requests.
"""

import argparse
import importlib
import os
import re
import socket
import sys
from collections.abc import Sequence
from typing import Any

from ehr_pipeline.defs import routes
from ehr_pipeline.defs.startup_message import EVERYWHERE
from ehr_pipeline.errors import UserError

VARIABLE = "EHR_PIPELINE_ALLOWED_HOSTS"
"""Environment variable in which `ehr-pipeline ui` passes further allowed host names, separated by commas, to this process."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[?[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]?")
"""A host name or an address; an IPv6 address has at least two colons."""


def allowed(host: str, named: Sequence[str] = ()) -> list[str]:
    """Return the host names that a server listening on `host` answers to: loopback, `host` itself, and those in `named`.

    A server that listens on all addresses also answers to the names of the machine. Raises UserError for an invalid name.
    """
    names_here = [socket.gethostname(), socket.getfqdn()] if host in EVERYWHERE else [host]
    for name in named:
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{name!r} is not a host name. Give the host as in the address of the browser, without a port, such as"
                " pipeline.example.org, or *.example.org for all hosts below it."
            )
    names = [f"[{name}]" if ":" in name and not name.startswith("[") else name for name in (*names_here, *named)]
    return list(dict.fromkeys([*LOOPBACK, *(name.lower() for name in names)]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the process ends. Raises UserError as `allowed` does."""
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    cli: Any = importlib.import_module("dagster_webserver.cli")
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--allow-host", action="append", default=[])
    parser.add_argument("--host", "-h", default=cli.DEFAULT_WEBSERVER_HOST)
    own, others = parser.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    named = [*own.allow_host, *filter(None, os.environ.get(VARIABLE, "").split(","))]
    hosts = allowed(own.host, named)
    create = cli.create_app_from_workspace_process_context

    def guarded(context: Any, path_prefix: str = "", *about: Any, **options: Any) -> Any:
        app = create(context, path_prefix, *about, **options)
        app.router.routes[:0] = routes.routes(path_prefix)
        app.add_middleware(routes.Leading, prefix=path_prefix)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
        return app

    cli.create_app_from_workspace_process_context = guarded
    sys.argv[1:] = ["--host", own.host, *others]
    cli.main()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
