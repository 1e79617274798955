"""The preset 'published' gives the published vectors and nothing else; 'recommended' is the default; both are named."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ehr_pipeline.assets.identity import ENCODER_SHAPE
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings import aggregator, build
from ehr_pipeline.embeddings.embed import part_of
from ehr_pipeline.embeddings.embedding_job import EmbeddingJob, Inference
from ehr_pipeline.embeddings.pooling import attend, over_chunks, pool_chunks
from ehr_pipeline.embeddings.settings import EmbeddingsSettings, VectorSettings
from ehr_pipeline.embeddings.transform import Transform
from ehr_pipeline.embeddings.vectors import Vectors, pooled_tokens
from ehr_pipeline.encoder import checkpoint, hardware_choices
from ehr_pipeline.errors import UserError
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline_tests.conftest import tiny_settings

NEEDED = ("patient_dataset", "cohort", "encoder_checkpoint", "concept_embeddings", "vocabulary")


def embedded(tiny: Pipeline, settings: EmbeddingsSettings, folder: Path, launch: Any = None) -> dict[str, Any]:
    """The cohort of the tiny study, embedded with other settings into `folder/out`."""
    (folder / "out").mkdir(parents=True, exist_ok=True)
    artifacts = {name: tiny.store.current(name) for name in NEEDED}
    job, launch = tiny.embedding_job(artifacts, folder / "work"), launch or tiny.engine.launch
    return build.build(artifacts, settings, job, folder / "out", listed=tiny.pooled_concepts, launch=launch)


def with_vectors(tiny: Pipeline, preset: str = "recommended", **changes: Any) -> EmbeddingsSettings:
    values = EmbeddingsSettings.PRESETS[preset].get("vectors", {}) | changes
    return replace(tiny.study.embeddings, preset=preset, vectors=VectorSettings(**values))  # type: ignore[arg-type]


def test_recommended_is_the_default_and_a_preset_gives_way_to_the_file(extract: Path) -> None:
    assert tiny_settings(extract).embeddings.preset == "recommended"
    published = tiny_settings(extract, embeddings={"preset": "published"}).embeddings
    assert published.vectors == VectorSettings(
        attention="plain", common_components=0, profile=0, habits="", encoder_share=1.0
    )
    own = tiny_settings(extract, embeddings={"preset": "published", "vectors": {"weighting": "sif"}}).embeddings
    assert own.vectors == replace(published.vectors, weighting="sif")


def test_published_vectors_are_the_formula_and_nothing_else(tiny: Pipeline, tmp_path: Path) -> None:
    counts = embedded(tiny, with_vectors(tiny, "published"), tmp_path)
    assert counts["preset"] == "published"
    vocabulary = Vocabulary.read(tiny.store.current("vocabulary").path)
    model = checkpoint.load(
        tiny.store.current("encoder_checkpoint").file("checkpoint"), vocabulary, torch.device("cpu")
    )
    chosen = np.zeros(vocabulary.size, bool)
    chosen[pooled_tokens(tmp_path / "out")] = True
    cohort = Cohort.read(tiny.store.current("cohort").path)
    shape = {name: getattr(tiny.study.encoder, name) for name in ENCODER_SHAPE}
    precision = hardware_choices.precision_of(shape["precision"], model.stock.config)
    how = Inference(**shape | {"precision": precision}, batch_tokens=4096)
    for path in tiny.store.current("patient_dataset").files("patients"):
        for name, folder in build.FOLDERS.items():
            rows = cohort.rows(path.name)
            shard = part_of(path, Shard.read(path), rows, name, 0)
            chunks = pool_chunks(model, shard, rows, chosen, how)
            expected = over_chunks(chunks, len(rows), attend)
            found = schemas.read(tmp_path / "out" / folder / path.name).column("vector").combine_chunks().flatten()
            assert np.array_equal(found.to_numpy(), expected.vectors_PD[expected.tokens > 0].ravel())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weighting": "sif"},
        {"weighting": "log", "attention": "trained", "common_components": 3},
        {"weighting": "root", "course": False},
        {"reliable": 0},
        {"profile": 0},
    ],
)
def test_every_choice_gives_sound_vectors(
    tiny: Pipeline, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregator, "LOOKS", 4)
    counts = embedded(tiny, with_vectors(tiny, **changes), tmp_path)
    vectors = Vectors.read(Artifact(tmp_path / "out", {})).all()
    assert len(vectors) == counts["kept"] == counts["rows_in"] - counts["dropped"]["no_chosen_concept"]
    assert vectors.shape[1] == counts["dimensions"]
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1).min() > 0
    again = Transform.read(tmp_path / "out")
    chosen = counts["encoder_share"]["share"] if again.settings.profile else 1.0
    assert again.settings == replace(VectorSettings(**changes), encoder_share=chosen)
    if "attention" in changes:
        facts = counts["aggregator"]
        assert (facts["kept"] == "trained") == (facts["validation_loss"] < facts["plain_validation_loss"])
        assert {"aggregator.query", "aggregator.key"} <= again.arrays.keys()


def test_a_killed_job_goes_on_with_the_missing_shards(tiny: Pipeline, tmp_path: Path) -> None:
    settings = with_vectors(tiny)
    embedded(tiny, settings, tmp_path / "whole")

    def killed(job: EmbeddingJob) -> None:
        tiny.engine.launch(job)
        for path in sorted(job.work.glob("*/00002.arrow")):
            path.unlink()
        raise UserError("killed")

    with pytest.raises(UserError, match="killed"):
        embedded(tiny, settings, tmp_path / "again", killed)
    left = {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "again/work").glob("*/*.arrow"))}
    torn = tmp_path / "again/work/whole/00001.arrow"  # as a crash of the machine leaves it
    os.truncate(torn, torn.stat().st_size // 2)
    del left[torn]
    embedded(tiny, settings, tmp_path / "again")
    assert left
    assert left == {path: path.stat().st_mtime_ns for path in left}
    for path in sorted((tmp_path / "whole/out").rglob("*.arrow")):
        assert path.read_bytes() == (tmp_path / "again/out" / path.relative_to(tmp_path / "whole/out")).read_bytes()


def test_the_work_folder_is_removed_when_the_artifact_stands(tiny: Pipeline) -> None:
    assert not list(tiny.store.folder("patient_embeddings").glob(".embedding-*"))
