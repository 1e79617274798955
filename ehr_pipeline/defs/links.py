"""Addresses of the pages that our web server adds to Dagster's (`pages`). They can be formed without a server."""

from ehr_pipeline.store.artifacts import Artifact

PLACE = "/study"


def link(artifact: Artifact, path: str) -> str:
    """The address of a file of an artifact."""
    return f"{PLACE}/{artifact.manifest['asset']}/{artifact.path.name}/{path}"


def link_about(asset: str) -> str:
    """The address of the page that says what an asset is."""
    return f"{PLACE}/{asset}"
