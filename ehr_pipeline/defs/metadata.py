"""What Dagster is told of an artifact: numbers that it plots over time, and pictures. Small counts are left out."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from ehr_pipeline.artifacts import Artifact
from ehr_pipeline.pipeline import Pipeline

LARGEST_PICTURE = 100_000  # bytes: pictures are stored in Dagster's event log
PICTURES = {
    "encoder_checkpoint": "notes/curves.png",
    "concept_embeddings": "notes/concepts_3d.png",
    "cluster_reports": "notes/map_cluster.png",
}


def published(pipeline: Pipeline, artifact: Artifact) -> dg.MaterializeResult[Any]:
    """The result of an asset: data version, row counts, dropped rows by reason, size, seconds, and a picture where one helps."""
    asset = artifact.manifest["asset"]
    smallest = pipeline.study.reports.suppress_below
    metadata: dict[str, Any] = dict(_numbers(artifact.counts, smallest))
    if "kept" in artifact.counts and not _small(artifact.counts["kept"], smallest):
        metadata["dagster/row_count"] = artifact.counts["kept"]
    metadata |= {
        "skipped": artifact.skipped,
        "path": dg.MetadataValue.path(str(artifact.path)),
        "bytes": sum(file["bytes"] for file in artifact.manifest["files"].values()),
        "seconds": artifact.manifest["seconds"],
    }
    if asset == "cluster_reports":
        metadata["report"] = dg.MetadataValue.path(str(artifact.file("report.html")))
    picture = artifact.file(PICTURES[asset]) if asset in PICTURES else None
    if picture is not None and picture.is_file() and picture.stat().st_size <= LARGEST_PICTURE:
        metadata["picture"] = dg.MetadataValue.md(_image(picture))
    return dg.MaterializeResult(data_version=dg.DataVersion(artifact.data_version), metadata=metadata)


def _numbers(counts: dict[str, Any], smallest: int, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in counts.items():
        if isinstance(value, dict):
            yield from _numbers(value, smallest, f"{prefix}{name}/")
        elif isinstance(value, int | float | str) and not _small(value, smallest):
            yield f"{prefix}{name}", value


def _small(value: Any, smallest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < smallest


def _image(path: Path) -> str:
    return f"![](data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')})"
