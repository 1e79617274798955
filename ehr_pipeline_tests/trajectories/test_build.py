"""Trajectories through the real chain: windows lie in the space of the whole records, and planted changes of state are found."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.disclosure.kinds import People, Share
from ehr_pipeline.embeddings.vectors import Vectors
from ehr_pipeline.patients.shard import DAYS_IN_YEAR
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline.trajectories import build, transitions
from ehr_pipeline_tests.conftest import tiny_settings
from ehr_pipeline_tests.trajectories.changing_patients import generate_changing


def table_of(pipeline: Pipeline) -> pa.Table:
    artifact = pipeline.store.current("patient_trajectories")
    return pa.concat_tables([schemas.read(path) for path in artifact.files("trajectories")])


def beside(tiny: Pipeline, extract: Path, tmp_path: Path, **trajectories: object) -> Pipeline:
    """The tiny study with other trajectories, in a copy of its store."""
    shutil.copytree(tiny.store.root, tmp_path / "store")
    study = tiny_settings(extract, study={"store": str(tmp_path / "store")}, trajectories=trajectories)
    pipeline = Pipeline(study)
    pipeline.patient_trajectories()
    return pipeline


def test_every_window_is_there_or_counted(tiny: Pipeline) -> None:
    artifact = tiny.store.current("patient_trajectories")
    frame = pl.DataFrame(table_of(tiny).drop_columns(["vector"]))
    assert frame.height == artifact.counts["kept"] > 200
    assert artifact.counts["rows_in"] == artifact.counts["kept"] + artifact.counts["dropped"]["few_concepts"]
    assert artifact.counts["dropped"]["few_concepts"] > 0, "otherwise nothing is tested"
    assert frame["tokens"].min() >= tiny.study.trajectories.min_concepts
    clustered = pl.DataFrame(schemas.read(tiny.store.current("clusters").file("clusters.arrow")))
    assert set(frame["cluster"]) <= set(clustered["cluster"])
    assert set(frame["patient_id"]) <= set(clustered["patient_id"])
    assert frame.select(pl.struct("patient_id", "window").is_duplicated().any()).item() is False
    days = frame.select((pl.col("last_date") - pl.col("first_date")).dt.total_days())["last_date"]
    assert days.min() >= 0
    assert days.max() <= 5 * 366
    several = frame.group_by("patient_id").len().filter(pl.col("len") > 1).height
    assert artifact.counts["patients"]["kept"] == several
    assert all(outcome.passed for outcome in tiny.check("patient_trajectories"))


def test_a_window_that_holds_everything_is_the_whole_record(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    """The transform is not learned anew, the window is embedded as a record is, and it lies where the record lies on the map."""
    made = beside(tiny, extract, tmp_path, years=200.0, min_concepts=1)
    table = table_of(made)
    vectors = Vectors.read(tiny.store.current("patient_embeddings"))
    assert table.column("patient_id").to_pylist() == vectors.ids.to_pylist()
    np.testing.assert_allclose(schemas.matrix(table), vectors.all(), atol=2e-3)
    clustered = schemas.read(tiny.store.current("clusters").file("clusters.arrow"))
    assert np.mean(table.column("cluster").to_numpy() == clustered.column("cluster").to_numpy()) > 0.75
    for axis in "xy":
        assert np.corrcoef(table.column(axis).to_numpy(), clustered.column(axis).to_numpy())[0, 1] > 0.9
    assert made.store.current("patient_trajectories").counts["patients"]["kept"] == 0


def test_some_patients_drawn_at_random(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    made = beside(tiny, extract, tmp_path, patients=40, windows="age", years=10.0)
    counts = made.store.current("patient_trajectories").counts
    everybody = tiny.store.current("clusters").counts["kept"]
    assert counts["patients"]["dropped"]["not_drawn"] == everybody - 40
    assert len(set(table_of(made).column("patient_id").to_pylist())) <= 40
    assert all(outcome.passed for outcome in made.check("patient_trajectories"))


def test_without_trajectories_the_page_has_none(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    page = tiny.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8")
    assert '<h2 id="evolution">' in page
    made = beside(tiny, extract, tmp_path, windows="off")
    assert all(outcome.passed for outcome in made.check("patient_trajectories"))
    page = made.cluster_reports().file("report.html").read_text(encoding="utf-8")
    assert "evolution" not in page.partition("<details><summary>All settings")[0]


def test_first_and_last_windows_have_their_ages_and_year() -> None:
    """Windows of different length; the second patient has one window only."""
    days = {"first_date": [0, 2_000, 9_000, 100, 5_000], "last_date": [1_000, 3_000, 9_500, 200, 5_000]}
    columns = {
        "patient_id": ["a", "a", "a", "b", "c"],
        "window": [0, 1, 2, 0, 0],
        **{name: pa.array(values, pa.int32()).cast(pa.date32()) for name, values in days.items()},
        "tokens": [7, 8, 9, 5, 6],
        "cluster": [2, 1, 3, 1, 1],
        **{name: [0.0] * 5 for name in ("support", "x", "y")},
        "vector": [[float(row)] for row in range(5)],
    }
    table = pa.table(columns, schema=schemas.trajectories(1))
    ends = build._Ends.of(table, np.array([-10_000] * 3 + [0] * 2, np.int32))
    assert ends.ids.to_pylist() == ["a"]
    np.testing.assert_allclose(ends.ages, [[10_500 / DAYS_IN_YEAR, 19_250 / DAYS_IN_YEAR]])
    np.testing.assert_allclose(ends.year, [1970 + 500 / DAYS_IN_YEAR])
    assert (ends.tokens.tolist(), ends.cluster.tolist()) == ([[7, 9]], [2])
    assert [side.tolist() for side in ends.vectors] == [[[0.0]], [[2.0]]]


def test_a_window_lies_among_the_neighbours_of_its_cluster() -> None:
    """Not between the islands of the map; and a patient's own record neither votes nor draws it near."""
    angle = np.array([0.0, 0.1, 0.2, 0.9, 1.0, 0.45])
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    points = np.array([[0, 0], [1, 0], [2, 0], [50, 0], [51, 0], [99, 99]], np.float32)
    known = build._WholeRecords(pa.array(list("abcdef")), unit, np.array([7, 7, 7, 9, 9, 9]), points, 5)
    cluster, support, place = known.place(pa.chunked_array([["f"]]), unit[5:])
    assert cluster.tolist() == [7]
    assert support[0] == pytest.approx(3 / 5)
    assert place.tolist() == [[1, 0]]


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """600 patients of the cohort, of whom a sixth change from one group to another in the middle of their record."""
    folder = tmp_path_factory.mktemp("changing")
    generate_changing(folder, 600, seed=7)
    clusters = {"n": 10, "resamples": 2, "compare": [], "permutations": 20}
    pooled = {"pooling": {"neighbours": 10}}  # the list alone lacks most of what marks the groups of this generator
    pipeline = Pipeline(tiny_settings(folder, clusters=clusters, embeddings=pooled))
    pipeline.raw_records(EXTRACT)
    for asset in list(ASSETS)[1:-1]:
        pipeline.asset(asset)
    return pipeline


@pytest.mark.slow
def test_planted_changes_are_found(changing: Pipeline) -> None:
    """Of the planted changes most are found with both groups right, at several times the rate of chance; few others change."""
    found = changing.store.current("patient_trajectories").counts["agreement"]
    assert found["changed"] > 30
    assert found["changed_found"] > 0.65
    assert found["changed_found_by_chance"] < 0.35
    assert found["unchanged_found"] > 0.85
    assert found["windows_right"] > 0.9
    outcome = {outcome.name: outcome for outcome in changing.check("patient_trajectories")}["planted_changes"]
    assert outcome.passed
    assert outcome.figures["changed_found"] == Share.of(found["changed_found"], People(found["changed"]))


@pytest.mark.slow
def test_the_changes_are_one_way(changing: Pipeline) -> None:
    """Transitions show the direction, and what is expected: of two groups of a disease, what others like them went through."""
    artifact = changing.store.current("patient_trajectories")
    steps = pl.read_csv(artifact.file("transitions.csv")).filter(pl.col("step") == "first to last")
    assert steps["expected"].null_count() == steps["expected_back"].null_count() == 0
    numbers = np.unique(steps.select("from_cluster", "to_cluster").to_numpy())
    assert transitions.Tested.read(artifact.path, numbers).expected.shape == (len(numbers), len(numbers))
    moves = steps.filter((pl.col("from_cluster") != pl.col("to_cluster")) & (pl.col("patients") >= 6))
    assert moves.height >= 3
    assert (moves["patients"] >= 4 * moves["patients_back"]).all()
    assert moves.filter(pl.col("patients") >= transitions.FEWEST_MOVES)["ln_p"].null_count() == 0
    assert steps["patients"].sum() == artifact.counts["patients"]["kept"]
