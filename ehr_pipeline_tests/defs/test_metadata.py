"""What Dagster is told of each artifact: numbers that it plots, pictures that it can hold, and where columns come from."""

import base64
import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.defs.metadata import LARGEST_PICTURE, published, published_together
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.store.count_kinds import shown_counts
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import STAGES


def artifact_of(pipeline: Pipeline, asset: str) -> Artifact:
    return pipeline.store.current(asset, EXTRACT if asset == "raw_records" else None)


def told(pipeline: Pipeline, artifact: Artifact) -> dict[str, Any]:
    """The metadata as Dagster stores it."""
    result = published(pipeline, artifact)
    assert result.data_version == dg.DataVersion(artifact.data_version)
    event = dg.AssetMaterialization("any", metadata=dict(result.metadata or {}))
    return {name: value.value for name, value in event.metadata.items()}


@pytest.mark.parametrize("asset", STAGES)
def test_every_asset_tells_its_numbers(tiny: Pipeline, asset: str) -> None:
    artifact = artifact_of(tiny, asset)
    metadata = told(tiny, artifact)
    files = [path for path in artifact.path.rglob("*") if path.is_file() and path.name != "manifest.json"]
    hashed = [path for path in files if path.relative_to(artifact.path).parts[0] not in ("notes", "quarantine")]
    whole = sum(path.stat().st_size for path in hashed)
    assert metadata["bytes"] == pytest.approx(whole, rel=0.05), "the size of a table tells its rows"
    assert (
        int(f"{metadata['bytes']:.1e}".partition("e")[0].replace(".", "")) * 10 ** (len(str(metadata["bytes"])) - 2)
        == (metadata["bytes"])
    )
    assert metadata["seconds"] == artifact.manifest["seconds"]
    assert metadata["skipped"] is False
    guarded = shown_counts(asset, artifact.counts, tiny.study.guard)
    assert metadata.get("rows_in") == guarded.get("rows_in")
    assert ("dagster/row_count" in metadata) == (ASSETS[asset].counts_rows and "kept" in guarded)
    assert metadata.get("dagster/row_count", guarded.get("kept")) == guarded.get("kept")
    for reason, number in guarded.get("dropped", {}).items():
        assert (f"dropped/{reason}" in metadata) == (number is not None), reason
        assert metadata.get(f"dropped/{reason}") == number


def test_every_reason_for_which_rows_are_dropped_is_told(tiny: Pipeline) -> None:
    reasons = {
        asset: {name.split("/", 1)[1] for name in told(tiny, artifact_of(tiny, asset)) if name.startswith("dropped/")}
        for asset in STAGES
    }
    assert "unmapped_uk_extension" in reasons["mapped_events"]
    assert {"administrative", "rare"} <= reasons["vocabulary"]
    assert "not_in_vocabulary" in reasons["patient_dataset"]


def pictures(metadata: dict[str, Any]) -> dict[str, Image.Image]:
    mark = "![](data:image/png;base64,"
    encoded = {
        name: base64.b64decode(value.removeprefix(mark)[:-1])
        for name, value in metadata.items()
        if isinstance(value, str) and value.startswith(mark)
    }
    assert all(len(content) <= LARGEST_PICTURE for content in encoded.values())
    return {name: Image.open(io.BytesIO(content)) for name, content in encoded.items()}


@pytest.mark.parametrize(
    ("asset", "names"),
    {
        "mapped_events": {"code coverage"},
        "vocabulary": {"vocabulary curve"},
        "patient_dataset": {"follow-up"},
        "encoder_checkpoint": {"learning curves"},
        "concept_embeddings": {"concepts of interest"},
        "cluster_reports": {"map of clusters"},  # word clouds are drawn with the published ranking alone
    }.items(),
)
def test_pictures_stand_where_they_help(tiny: Pipeline, asset: str, names: set[str]) -> None:
    assert set(pictures(told(tiny, artifact_of(tiny, asset)))) == names


def test_a_large_picture_is_made_small_and_stays_one(tiny: Pipeline, tmp_path: Path) -> None:
    artifact = replace(artifact_of(tiny, "cluster_reports"), path=tmp_path / "artifact")
    shutil.copytree(artifact_of(tiny, "cluster_reports").path, artifact.path)
    noise = np.random.default_rng(0).integers(0, 4, (700, 900, 3), np.uint8) * 60
    Image.fromarray(noise).save(artifact.file("notes/map_cluster.png"))
    assert artifact.file("notes/map_cluster.png").stat().st_size > 3 * LARGEST_PICTURE
    drawn = pictures(told(tiny, artifact))["map of clusters"]
    assert drawn.width / drawn.height == pytest.approx(900 / 700, rel=0.02)
    assert drawn.width > 200


def test_the_first_cluster_is_the_first_that_there_is(tiny: Pipeline, tmp_path: Path) -> None:
    """Clusters that are found again keep their numbers: there may be none that is number 1."""
    artifact = replace(artifact_of(tiny, "cluster_reports"), path=tmp_path / "artifact")
    shutil.copytree(artifact_of(tiny, "cluster_reports").path, artifact.path)
    assert "first cluster" not in pictures(told(tiny, artifact))
    shutil.copyfile(artifact.file("notes/map_cluster.png"), artifact.file("notes/cloud_21.png"))
    assert "first cluster" in pictures(told(tiny, artifact))


def test_the_summary_has_separators_and_units_and_no_small_count(tiny: Pipeline) -> None:
    artifact = artifact_of(tiny, "mapped_events")
    counts = artifact.counts | {"rows_in": 1234567, "kept": 3}
    manifest = artifact.manifest | {"counts": counts, "seconds": 1234.56}
    summary = told(tiny, replace(artifact, manifest=manifest))["summary"]
    assert "rows in 1,234,570 events, " in summary
    assert summary.endswith(" MB, 1,234.6 s")
    assert "kept" not in summary


@pytest.mark.parametrize("asset", STAGES)
def test_the_summary_says_no_more_than_the_numbers_beside_it(tiny: Pipeline, asset: str) -> None:
    """Some counts are hidden because others would reveal them: also where they are not small."""
    artifact = artifact_of(tiny, asset)
    guarded = shown_counts(asset, artifact.counts, tiny.study.guard)
    for part in told(tiny, artifact)["summary"].split(", ")[:-2]:
        words, number = part.rpartition(" ")[0::2]
        if number in ("patients", "events"):
            words, number = words.rpartition(" ")[0::2]
        assert guarded[words.replace(" ", "_")] == pytest.approx(float(number.replace(",", ""))), part


def test_a_report_is_linked(tiny: Pipeline) -> None:
    artifact = artifact_of(tiny, "cluster_reports")
    metadata = told(tiny, artifact)
    assert metadata["report"] == str(artifact.file("report.html"))
    assert metadata["open report.html"] == f"?study=cluster_reports/{artifact.path.name}/report.html"
    assert artifact.file("report.html").is_file()


@pytest.mark.parametrize(
    "asset", sorted(set(STAGES) - {"raw_records", "encoder_checkpoint", "cluster_reports", "prediction_report"})
)
def test_lineage_comes_with_each_materialisation(tiny: Pipeline, asset: str) -> None:
    assert told(tiny, artifact_of(tiny, asset))["dagster/column_lineage"].deps_by_column


def test_what_one_run_made_of_several_extracts_is_added_up(tiny: Pipeline) -> None:
    artifact = artifact_of(tiny, "raw_records")
    alone = dict(published_together(tiny, [artifact]).metadata or {})
    both = dict(published_together(tiny, [artifact, replace(artifact, skipped=True)]).metadata or {})
    assert both["extracts_in_this_run"] == 2
    assert both["bytes"] == pytest.approx(2 * alone["bytes"], rel=0.1)
    assert both["seconds"] == pytest.approx(2 * alone["seconds"])
    assert both["kept"] == tiny.study.guard.count(2 * artifact.counts["kept"])
    assert both["skipped"] is False, "one of them was made"
    assert "buckets" not in both, "a number of things that is not added"
