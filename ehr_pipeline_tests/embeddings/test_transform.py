"""What was learned is read back as it was written, and only some patients of a part are those patients."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ehr_pipeline.concepts.substitutes import Substitutes
from ehr_pipeline.embeddings import transform
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.pooling import ChunkVectors
from ehr_pipeline.embeddings.settings import VectorSettings
from ehr_pipeline.errors import InputError
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline_tests.encoder.data import write_shard

PATIENTS = [
    ("1950-07-01", "year", [("2000-01-01", [5, 6]), ("2001-01-01", [5])]),
    ("1960-07-01", "year", [("2000-01-01", [7])]),
    ("1970-07-01", "year", [("2000-01-01", [6]), ("2003-01-01", [8])]),
]


def part(tmp_path: Path) -> transform.Part:
    shard = Shard.read(write_shard(tmp_path / "x.arrow", PATIENTS))  # type: ignore[arg-type]
    owner = np.array([0, 0, 1, 2])
    vectors = np.arange(8, dtype=np.float32).reshape(4, 2) + 1
    return transform.Part(
        shard, np.arange(3), ChunkVectors(vectors, owner, np.ones(4, np.float32), np.ones(4, np.int64))
    )


def test_arrays_come_back_in_their_order(tmp_path: Path) -> None:
    wide = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    made = transform.Transform(VectorSettings(profile=0), np.ones(4, np.float32), {"common": wide})
    made.write(tmp_path)
    again = transform.Transform.read(tmp_path)
    assert again.settings == made.settings
    assert np.array_equal(again.arrays["common"], wide)
    facts = json.loads((tmp_path / transform.FACTS).read_text())
    del facts["ages"]  # as a version wrote it that did not know of ages
    for text in ('{"weight": 1}', json.dumps(facts)):
        (tmp_path / transform.FACTS).write_text(text)
        with pytest.raises(InputError, match="cannot be read"):
            transform.Transform.read(tmp_path)


def test_some_patients_keep_their_visits_and_chunks(tmp_path: Path) -> None:
    whole = part(tmp_path)
    some = transform.some_of(whole, np.array([0, 2]))
    assert some.patients.tolist() == [0, 2]
    assert some.shard.tokens.tolist() == [5, 6, 5, 6, 8]
    assert some.chunks.patient.tolist() == [0, 0, 1]
    assert np.array_equal(some.chunks.vectors_CD, whole.chunks.vectors_CD[[0, 1, 3]])


def test_the_cosine_of_two_patients_is_the_weighted_mean_of_two_cosines(tmp_path: Path) -> None:
    whole = part(tmp_path)
    sample = transform.Sample(whole, (whole, whole), (whole.shard, whole.shard))
    settings = VectorSettings(profile=2, course=False, kinship=0.0, encoder_share=0.25)
    concepts = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    weights, occurrences = (
        np.where(np.arange(9) >= 5, 1, 0).astype(np.float32),
        np.bincount([5, 6, 5, 7, 6, 8], minlength=9),
    )
    learned, told = transform.fit(
        settings, weights, concepts, substitutes=Substitutes.none(), occurrences=occurrences, samples=[sample], seed=0
    )
    assert told["reliable"] == {"directions": 0}  # three patients are too few
    vectors = learned.apply(whole).vectors_PD
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(np.linalg.norm(vectors[:, :2], axis=1) ** 2, 0.25, atol=1e-5)
    assert np.allclose(vectors[:, :2], 0.5 * unit_length(learned.without_common(_means(whole))), atol=1e-5)
    alone = replace(learned, settings=replace(settings, encoder_share=0.0))
    assert np.array_equal(alone.apply(whole).vectors_PD, learned.centred_profile(whole.shard, whole.patients))
    assert alone.width(2) == learned.width(2) - 2, "a part that decides nothing is left out"
    with pytest.raises(ValueError, match="chosen"):
        replace(learned, settings=replace(settings, encoder_share="auto")).apply(whole)


def _means(whole: transform.Part) -> np.ndarray:
    return np.stack([whole.chunks.vectors_CD[whole.chunks.patient == number].mean(0) for number in range(3)])
