"""What the workers' image holds, for tests: pods of the stand-in for a cluster can import nothing else."""

import importlib.metadata
import re
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
ONLY = """
import sys
ABSENT = set({absent!r})
class Image:
    def __init__(self, found):
        self.found = found
    def __getattr__(self, name):
        return getattr(self.found, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in ABSENT else self.found.find_spec(name, path, target)
sys.meta_path[:] = [Image(found) for found in sys.meta_path]
"""


def of_image() -> list[str]:
    """The distributions that the recipe of the workers' image installs by name."""
    lines = (ROOT / "deploy/worker.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@cache
def absent() -> list[str]:
    """The modules that are here, but not in the workers' image."""
    held: set[str] = set()
    waiting = of_image()
    while waiting:
        name = re.sub("[-_.]+", "-", waiting.pop()).lower()
        if name not in held:
            held.add(name)
            try:
                needed = [Requirement(text) for text in importlib.metadata.requires(name) or []]
            except importlib.metadata.PackageNotFoundError:
                continue  # for another system
            waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    here = importlib.metadata.packages_distributions()
    hidden = {
        module for module, names in here.items() if not held & {re.sub("[-_.]+", "-", name).lower() for name in names}
    }
    return sorted(hidden - {"ehr_pipeline"})


def slim(folder: Path) -> Path:
    """A folder for PYTHONPATH that hides all that the workers' image does not hold."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(ONLY.format(absent=absent()))
    return folder
