"""Build the Dagster metadata of an artifact: numbers that Dagster plots over time, and pictures. Small counts are suppressed."""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.defs.column_metadata import lineage_metadata
from ehr_pipeline.defs.links import link
from ehr_pipeline.disclosure.kinds import Events, People, Plain, figures, size
from ehr_pipeline.drawing import plots
from ehr_pipeline.reports import PAGE
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import build_lock
from ehr_pipeline.store.artifacts import Artifact, hash_of
from ehr_pipeline.store.count_kinds import declared, shown_counts
from ehr_pipeline.tables.asset_names import CLUSTER_REPORTS, ENCODER_CHECKPOINT

LARGEST_PICTURE = 100_000  # bytes: pictures are stored in Dagster's event log
UNITS: dict[type, str] = {People: " patients", Events: " events"}
"""Units of numbers. Events are anything that patients have: rows, visits, windows."""


def published(pipeline: Pipeline, artifact: Artifact) -> dg.MaterializeResult[Any]:
    """Return the result of making an asset: data version, row counts, dropped rows by reason, size, seconds, and any pictures."""
    asset = artifact.manifest["asset"]
    counts = shown_counts(asset, artifact.counts, pipeline.study.guard)
    metadata: dict[str, Any] = {"summary": _summary(artifact, counts)}
    metadata |= {
        f"open {Path(path).name}": dg.MetadataValue.url(link(artifact, path))
        for path in ASSETS[asset].released
        if artifact.file(path).is_file()
    }
    metadata |= dict(_flat(counts))
    if counts.get("kept") is not None and ASSETS[asset].counts_rows:  # None where the count may not be shown
        metadata["dagster/row_count"] = counts["kept"]
    metadata |= {
        "skipped": artifact.skipped,
        "path": dg.MetadataValue.path(str(artifact.path)),
        "bytes": _bytes(artifact),
        "seconds": artifact.manifest["seconds"],
    }
    if asset == ENCODER_CHECKPOINT:
        # If new extracts are only embedded, Dagster shows the unchanged encoder as fresh, so this shows that its training data are
        # older.
        metadata["trained_on_current_data"] = pipeline.trained_on_current_data()
    if asset == CLUSTER_REPORTS:
        metadata["report"] = dg.MetadataValue.path(str(artifact.file(PAGE)))
    metadata |= dict(_pictures(artifact, pipeline))
    return _result(pipeline, asset, artifact.data_version, metadata)


def _summary(artifact: Artifact, counts: Mapping[str, Any]) -> str:
    """Return a line of the `counts` that may be shown, with units. Dagster plots the same counts from separate entries."""
    counted = figures(artifact.counts, declared(artifact.manifest["asset"]))
    words = [
        f"{name.replace('_', ' ')} {counts[name]:,}{UNITS.get(type(figure), '')}"
        for name, figure in counted.items()
        if isinstance(figure, People | Events | Plain) and counts.get(name) is not None
    ]
    size = _bytes(artifact)
    large = f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"
    return ", ".join([*words, large, f"{artifact.manifest['seconds']:,.1f} s"])


def published_together(pipeline: Pipeline, artifacts: list[Artifact]) -> dg.MaterializeResult[Any]:
    """Return the result of several partitions made in one run: each partition gets the same metadata, with counts summed.

    Dagster has one data version for all partitions of a run: here a hash of all their data versions.
    """
    if len(artifacts) == 1:
        return published(pipeline, artifacts[0])
    asset = artifacts[0].manifest["asset"]
    metadata: dict[str, Any] = {
        "extracts_in_this_run": len(artifacts),
        "skipped": all(artifact.skipped for artifact in artifacts),
        "bytes": _bytes(*artifacts),
        "seconds": sum(artifact.manifest["seconds"] for artifact in artifacts),
    }
    summed = _summed([artifact.counts for artifact in artifacts])
    metadata |= dict(_flat(shown_counts(asset, summed, pipeline.study.guard)))
    version = hash_of([artifact.data_version for artifact in artifacts])
    return _result(pipeline, asset, version, metadata)


def _bytes(*artifacts: Artifact) -> float:
    """Return the total size of the artifacts' files, as precisely as it may be shown."""
    return size(sum(file["bytes"] for artifact in artifacts for file in artifact.manifest["files"].values())).number


def _result(pipeline: Pipeline, asset: str, version: str, metadata: dict[str, Any]) -> dg.MaterializeResult[Any]:
    tags = {}
    metadata |= lineage_metadata(asset, pipeline.study)
    if pipeline.overrides:
        # Dagster compares this tag, so an artifact made with overrides stays stale until it is remade with the file's settings.
        metadata["overrides"] = dg.MetadataValue.json(pipeline.overrides)
        tags["dagster/code_version"] = pipeline.code_version(asset)
    return dg.MaterializeResult(data_version=dg.DataVersion(version), metadata=metadata, tags=tags)


def _summed(counts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return whole-number counts summed by name, nested ones included; other values and `buckets` are left out."""
    summed: dict[str, Any] = {}
    for name in dict.fromkeys(name for count in counts for name in count):
        values = [count[name] for count in counts if name in count]
        if all(isinstance(value, dict) for value in values):
            summed[name] = _summed(values)
        elif all(isinstance(value, int) and not isinstance(value, bool) for value in values) and name != "buckets":
            summed[name] = sum(values)
    return summed


def _flat(counts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in counts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float | str):
            yield f"{prefix}{name}", value


def _pictures(artifact: Artifact, pipeline: Pipeline) -> Iterator[tuple[str, dg.MetadataValue[Any]]]:
    """Yield the pictures of an artifact by name: the stored ones, and one that is drawn here."""
    asset = ASSETS[artifact.manifest["asset"]]
    with build_lock.scratch(pipeline.store.root) as folder:
        path = folder / "picture.png"
        lying = [(name, min(artifact.path.glob(place), default=None)) for name, place in asset.pictures.items()]
        pictures = [(name, place) for name, place in lying if place]
        if asset.draw and (name := asset.draw(artifact, pipeline.naming, path)):
            pictures.append((name, path))
        for name, picture in pictures:
            content = base64.b64encode(plots.within(picture, LARGEST_PICTURE)).decode("ascii")
            yield name, dg.MetadataValue.md(f"![](data:image/png;base64,{content})")
