"""Draw the picture of mapped events."""

from pathlib import Path

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.drawing import data_stages
from ehr_pipeline.events import coverage
from ehr_pipeline.store.artifacts import Artifact


def draw(artifact: Artifact, naming: Naming, path: Path) -> str:
    """Draw code coverage to a file. Return a description of the picture."""
    data_stages.coverage(path, coverage.read(artifact.path)["by_namespace"], naming.below)
    return "code coverage"
