"""Figures of embedding quality against scipy and small cases."""

import math

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import spearmanr

from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings import measures, quality
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.align import one_chunk
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary
from ehr_pipeline_tests.patients.test_histories import records_of


def test_spearman_is_scipys_ties_included() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 9, 200), rng.normal(size=200)
    assert quality.spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert quality.spearman(np.ones(5), np.arange(5)) == 0.0


def test_collapse_sees_who_lies_at_the_centre() -> None:
    rng = np.random.default_rng(1)
    age = rng.uniform(0, 90, 500)
    spread = rng.normal(size=(500, 8)) * (100 - age)[:, None] + 60
    found = quality.collapse(spread.astype(np.float32), {"age": age, "shoe size": rng.normal(size=500)})
    assert found["age"] < -0.5
    assert abs(found["shoe size"]) < 0.15
    assert found["spread"] > 0.1
    on_a_circle = (
        np.stack([np.cos(np.arange(360.0)), np.sin(np.arange(360.0))], axis=1) * np.linspace(1, 9, 360)[:, None]
    )
    found = quality.collapse(on_a_circle.astype(np.float32), {"length": np.linspace(1, 9, 360)})
    assert found == {"length": pytest.approx(0, abs=0.1), "spread": pytest.approx(0, abs=5e-3)}


def test_uniformity_and_alignment_by_hand() -> None:
    points = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    assert measures.uniformity(points) == pytest.approx(np.log((2 * np.exp(-4) + np.exp(-8)) / 3), rel=1e-4)
    assert measures.uniformity(np.ones((4, 2), np.float32)) == pytest.approx(0, abs=1e-5)
    here, there = {"a": points[0], "b": points[1]}, {"a": points[0], "b": points[2], "c": points[1]}
    assert quality.alignment(here, there) == pytest.approx(1.0)


def test_components_are_scipys() -> None:
    rng = np.random.default_rng(2)
    for patients, count in ((60, 1), (60, 2), (3, 2)):
        neighbours = quality.nearest(rng.normal(size=(patients, 3)).astype(np.float32), count)
        ones = (np.ones(neighbours.size), (np.repeat(np.arange(patients), count), neighbours.ravel()))
        assert quality.components(neighbours) == connected_components(csr_array(ones, shape=(patients, patients)))[0]
    assert quality.components(np.zeros((4, 0), np.int64)) == 4


def test_neighbours_leave_the_patient_out() -> None:
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    assert quality.nearest(vectors, 1)[:, 0].tolist() == [1, 0, 3, 2]


def test_age_amount_and_rarity_are_those_of_the_records(tiny: Pipeline) -> None:
    vocabulary = Vocabulary.read(tiny.store.current("vocabulary").path)
    cohort = Cohort.read(tiny.store.current("cohort").path)
    path = tiny.store.current("patient_dataset").files("patients")[0]
    ids = schemas.read(path, ["patient_id"]).column("patient_id").take(pa.array(cohort.rows(path.name)))
    chosen = np.arange(vocabulary.size) % 2 == 0
    found = pl.DataFrame(quality._describe(path, cohort, one_chunk(ids), chosen, vocabulary))
    shard, rows = Shard.read(path), cohort.of(ids).table.column("row").to_pylist()
    whole = sum(concept.appearances for concept in vocabulary.concepts)
    for row, (age, concepts, rarity, _) in zip(rows, found.rows(), strict=True):
        record = records_of(shard)[row]
        born = shard.birth_day[row]
        ages = [(day - born) / DAYS_IN_YEAR for day, tokens in record for _ in tokens]
        rare = [
            math.log(whole / vocabulary.concepts[token - FIRST_CONCEPT].appearances)
            for _, tokens in record
            for token in tokens
            if chosen[token]
        ]
        assert (age, concepts) == (pytest.approx(np.mean(ages)), len(ages))
        assert rarity == pytest.approx(np.mean(rare) if rare else 0)
