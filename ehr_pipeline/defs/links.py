"""Build addresses of the pages that our web server adds to Dagster's (`routes`). This needs no running server.

Runs store these addresses. A run does not know under which path people will see them: a proxy may give a server a path of its own.
So an address is only a query, which keeps the path of whatever page of the UI shows it; `webserver` redirects it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ehr_pipeline.store.artifacts import Artifact

PLACE = "/study"
QUERY = "study"


def link(artifact: "Artifact", path: str) -> str:
    """Return the address of a file of an artifact."""
    return f"?{QUERY}={artifact.manifest['asset']}/{artifact.path.name}/{path}"


def link_about(asset: str) -> str:
    """Return the address of the page that describes an asset."""
    return f"?{QUERY}={asset}"
