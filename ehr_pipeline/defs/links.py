"""Addresses of the pages that our web server adds to Dagster's (`routes`). They can be formed without a server.

Runs store these addresses. A run does not know under which path people will see them: a proxy may give a server a path of
its own. So an address is only a query. It keeps the path of whatever page of the UI shows it, and `webserver` leads on from there.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ehr_pipeline.store.artifacts import Artifact

PLACE = "/study"
QUERY = "study"


def link(artifact: "Artifact", path: str) -> str:
    """The address of a file of an artifact."""
    return f"?{QUERY}={artifact.manifest['asset']}/{artifact.path.name}/{path}"


def link_about(asset: str) -> str:
    """The address of the page that says what an asset is."""
    return f"?{QUERY}={asset}"
