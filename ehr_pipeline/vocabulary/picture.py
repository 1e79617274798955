"""Picture of a vocabulary."""

from pathlib import Path

import pyarrow as pa

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.drawing import data_stages
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import DROPPED, FILE


def draw(artifact: Artifact, naming: Naming, path: Path) -> str:
    """Draw how often kept and rare concepts appear. Returns the picture's name; "" and no file if no kept concept may be shown."""
    counts = schemas.VOCABULARY.field("appearances"), schemas.VOCABULARY.field("patients")
    kept = list(spreadsheet.read(artifact.file(FILE), pa.schema(counts)))
    dropped = spreadsheet.read(artifact.file(DROPPED), pa.schema([*counts, ("reason", pa.string())]))
    rare = [row for row in dropped if row["reason"] == "rare"]
    shown, lost = ([row["appearances"] for row in rows if row["patients"] >= naming.below] for rows in (kept, rare))
    if not shown:
        return ""
    data_stages.vocabulary(path, shown, lost, artifact.manifest["settings"]["min_appearances"])
    return "vocabulary curve"
