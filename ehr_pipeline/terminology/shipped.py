"""Files that come with the package: the demo's settings and codes, and the concept lists."""

from pathlib import Path


def shipped(name: str) -> Path:
    """Return the path of a file such as 'lists/psoriasis.csv', in the installed package or in a checkout's data folder."""
    package = Path(__file__).parents[1]
    installed = package / "data" / name
    return installed if installed.exists() else package.parent / "data" / name
