import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehr_pipeline.concepts import build
from ehr_pipeline.concepts.neighbours import nearest
from ehr_pipeline.concepts.settings import ConceptsSettings
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.drawing import data_stages
from ehr_pipeline.errors import InputError
from ehr_pipeline.events import resolve_lists
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.vocabulary.table import Vocabulary

VECTORS = np.array([[1, 0], [2, 0.1], [0, 1], [-1, 0], [0.1, 3], [5, 5]], np.float32)


def test_nearest_by_direction_not_by_length() -> None:
    found, cosines = nearest(np.array([0, 2]), np.arange(6), VECTORS, 2)
    assert found.tolist() == [[1, 5], [4, 5]]
    assert cosines[0, 0] == pytest.approx(2 / np.hypot(2, 0.1), abs=1e-6)


def test_a_query_is_not_its_own_neighbour_and_candidates_are_kept_to() -> None:
    found, _ = nearest(np.array([0]), np.array([0, 3, 5]), VECTORS, 10)
    assert found.tolist() == [[5, 3]]


def test_equal_to_a_plain_computation_over_several_blocks() -> None:
    vectors = np.random.default_rng(0).normal(size=(2500, 8)).astype(np.float32)
    found, _ = nearest(np.arange(2500), np.arange(2500), vectors, 3)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -2)
    assert np.array_equal(found, np.argsort(-similar, axis=1, kind="stable")[:, :3])


def test_the_artifact(tiny: Pipeline) -> None:
    artifact = tiny.store.current("concept_embeddings")
    vocabulary = Vocabulary.read(tiny.store.current("vocabulary").path)
    assert np.load(artifact.file("vectors.npy")).shape == (vocabulary.size, 32)
    with artifact.file("neighbours.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    psoriasis = [row for row in rows if row["name"] == "Psoriasis" and row["scope"] == "whole vocabulary"]
    assert [int(row["rank"]) for row in psoriasis] == list(range(1, 11))
    cosines = [float(row["cosine"]) for row in psoriasis]
    assert cosines == sorted(cosines, reverse=True)
    of_interest = {row["concept"] for row in rows}
    assert {row["neighbour"] for row in rows if row["scope"] == "concepts of interest"} <= of_interest


def test_projector_files_fit_each_other(tiny: Pipeline) -> None:
    folder = tiny.store.current("concept_embeddings").file("projector")
    for name in ("concepts_of_interest", "vocabulary"):
        vectors = (folder / f"{name}.tsv").read_text().splitlines()
        labels = (folder / f"{name}_labels.tsv").read_text().splitlines()
        assert len(labels) == len(vectors) + 1
        assert {len(line.split("\t")) for line in labels} == {3}
    assert 'tensor_path: "vocabulary.tsv"' in (folder / "projector_config.pbtxt").read_text()


def test_the_picture_shows_what_enough_patients_have(tiny: Pipeline, tmp_path: Path, drawn: list[Any]) -> None:
    artifact = tiny.store.current("concept_embeddings")
    rows = json.loads(artifact.file(data_stages.CONCEPTS).read_text(encoding="utf-8"))
    patients = {row["name"]: row["patients"] for row in rows}
    naming = Naming(sorted(patients.values())[len(patients) // 2] // 2, "key")
    shown = {row["name"] for row in rows if naming.shows(row["concept"], row["patients"])}
    assert data_stages.draw_concepts(artifact, naming, tmp_path / "picture.png")
    (axes,) = drawn
    names = {text.get_text() for text in axes.texts if text.get_text()}
    assert names
    assert names <= {name[: data_stages.LETTERS] for name in shown}
    assert sum(len(marks.get_offsets()) for marks in axes.collections) == len(shown) < len(rows)
    assert not data_stages.draw_concepts(artifact, Naming(max(patients.values()), "key"), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_too_few_known_concepts_are_told(tiny: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("code,cui,name,source\n,C0033860,Psoriasis,x\n,C0000000,nothing,x\n")
    vocabulary = Vocabulary.read(tiny.store.current("vocabulary").path)
    folder = tiny.store.current("encoder_checkpoint").file("checkpoint")
    rows = resolve_lists.resolve({"concepts.concepts_of_interest": path}, tiny.study.events)[
        "concepts.concepts_of_interest"
    ]
    with pytest.raises(InputError, match="1 of the 2 concepts of interest are in the vocabulary"):
        build.build(
            folder,
            vocabulary,
            ConceptsSettings(concepts_of_interest=str(path)),
            0,
            tmp_path,
            interest=rows,
            concept_of_code={},
        )
