from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ehr_pipeline import cli
from ehr_pipeline.clusters import assign
from ehr_pipeline.clusters.methods import cluster
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.clusters.test_spectral import rings


def written(path: Path, vectors: np.ndarray) -> Path:
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), vectors.shape[1])
    schemas.write(path, pa.table({"patient_id": [f"p{n}" for n in range(len(vectors))], "vector": column}))
    return path


def write_model(folder: Path, unit: np.ndarray, numbers: np.ndarray) -> None:
    ids, points = pa.array(f"p{number}" for number in range(len(unit))), np.zeros((len(unit), 2), np.float32)
    assign.Model.of(unit, numbers, points, ids, seed=0).write(folder)


def test_new_patients_get_the_cluster_that_they_would_have_had() -> None:
    unit, truth = rings(2000)
    labels = cluster(unit[:1500], "spectral", 4, 10, 0)
    given, support = assign.assign(unit[1500:] * 3, unit[:1500], labels + 11, 10)
    group_of = {label: np.bincount(truth[:1500][labels == label]).argmax() for label in range(4)}
    assert np.mean([group_of[number - 11] == group for number, group in zip(given, truth[1500:], strict=True)]) > 0.98
    assert support.mean() > 0.9
    assert set(given) == {11, 12, 13, 14}


def test_equal_votes_go_to_the_lower_number() -> None:
    label, share = assign.vote(np.array([[0, 1, 2, 3], [0, 1, 2, -1]]), np.array([1, 1, 0, 0]), 2)
    assert label.tolist() == [0, 1]
    assert share.tolist() == pytest.approx([0.5, 2 / 3])


def test_who_is_asked_for_does_not_vote() -> None:
    unit, _ = rings(200)
    own = np.array([3, -1, 70])
    found = assign.nearest_clustered(unit[[3, 5, 70]], unit, own, 4)
    assert (np.sort((found >= 0).sum(1)) == 4).all()
    assert 3 not in found[0]
    assert found[1, 0] == 5  # it is not known to be its own
    assert 70 not in found[2]
    whole = assign.nearest_clustered(unit[:3], unit[:3], np.arange(3), 15)
    assert [sorted(row[row >= 0].tolist()) for row in whole] == [[1, 2], [0, 2], [0, 1]]


def test_what_is_kept_is_bounded_and_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assign, "MOST", 100)
    unit, _ = rings(300)
    write_model(tmp_path, unit, np.arange(300) % 7 + 1)
    table = schemas.read(tmp_path / assign.MODEL)
    assert table.column_names == ["cluster", "x", "y", "vector"]
    assert table.num_rows == 100
    model = assign.Model.read(tmp_path)
    rows = [int(name.removeprefix("p")) for name in model.ids.to_pylist()]
    assert np.array_equal(model.unit, unit[rows])
    assert model.numbers.tolist() == [row % 7 + 1 for row in rows]
    some = model.only(model.ids.slice(10, 5))
    assert np.array_equal(some.unit, model.unit[10:15])
    with pytest.raises(UserError, match="No clustered patient is in the data any more"):
        model.only(pa.array(["a stranger"]))


def test_the_command(tiny: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The patients of the study themselves get their own clusters, nearly all."""
    clusters, embeddings = tiny.store.current("clusters"), tiny.store.current("patient_embeddings")
    table = pa.concat_tables([schemas.read(path) for path in embeddings.files("embeddings")])
    schemas.write(tmp_path / "vectors.arrow", table)
    out = tmp_path / "assigned.arrow"
    counts = assign.run(clusters, tmp_path / "vectors.arrow", 15, out)
    found, known = schemas.read(out), schemas.read(clusters.file("clusters.arrow"))
    assert counts["kept"] == found.num_rows == known.num_rows
    assert found.column("patient_id").to_pylist() == known.column("patient_id").to_pylist()
    same = found.column("cluster").to_numpy() == known.column("cluster").to_numpy()
    assert same.mean() > 0.8
    arguments = ["assign", "--vectors", str(tmp_path / "none.arrow"), "--out", str(out)]
    settings = tmp_path / "settings.toml"
    settings.write_text("")
    assert cli.main([*arguments, "--settings", str(settings)]) == 2
    assert "error" in capsys.readouterr().err


@pytest.mark.parametrize(("width", "words"), [(5, "vectors of 5 numbers"), (0, "does not exist")])
def test_vectors_of_another_model_are_refused(width: int, words: str, tmp_path: Path) -> None:
    unit, _ = rings(50)
    write_model(tmp_path, unit, np.ones(50, int))
    path = written(tmp_path / "new.arrow", np.ones((3, width))) if width else tmp_path / "absent.arrow"
    with pytest.raises(InputError, match=words):
        assign.run(Artifact(tmp_path, {}), path, 15, tmp_path / "out.arrow")


def test_vectors_that_are_not_finite_are_left_out_and_counted(tmp_path: Path) -> None:
    unit, _ = rings(50)
    write_model(tmp_path, unit_length(unit), np.arange(50) // 25 + 1)
    new = unit[:4].copy()
    new[1, 0] = np.nan
    counts = assign.run(Artifact(tmp_path, {}), written(tmp_path / "new.arrow", new), 3, tmp_path / "out.arrow")
    assert counts == {"rows_in": 4, "kept": 3, "dropped": {"not_finite": 1}}
    assert schemas.read(tmp_path / "out.arrow").column("patient_id").to_pylist() == ["p0", "p2", "p3"]


@pytest.mark.parametrize("damage", ["cut off", "no Arrow", "no vectors"])
def test_a_file_of_vectors_that_is_damaged_is_told(tmp_path: Path, damage: str) -> None:
    unit, _ = rings(50)
    write_model(tmp_path, unit, np.ones(50, int))
    path = written(tmp_path / "new.arrow", unit[:4])
    if damage == "no vectors":
        schemas.write(path, pa.table({"patient_id": ["p0"], "vector": [1.0]}))
    else:
        path.write_bytes(path.read_bytes()[:-100] if damage == "cut off" else b"patient_id\tvector\n" * 9)
    with pytest.raises(InputError, match=r"new.arrow: .*Set --vectors to a file written by `ehr-pipeline embed`"):
        assign.run(Artifact(tmp_path, {}), path, 15, tmp_path / "out.arrow")
