"""Results as tables: every patient once, in one order, with true neighbours."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest

from ehr_pipeline.errors import UserError
from ehr_pipeline.export import explorer, results
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import build_lock
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.processes import alive, until


@pytest.fixture(scope="module")
def exported(tiny: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "out"
    counts = results.export(results.Inputs.of(tiny.store.current), out, seed=0)
    assert counts["kept"] == tiny.store.current("clusters").counts["kept"]
    return out


def test_patients_and_vectors_stand_in_the_same_order(exported: Path, tiny: Pipeline) -> None:
    patients, vectors = (pq.read_table(exported / f"{name}.parquet") for name in ("patients", "embeddings"))
    clustered = schemas.read(tiny.store.current("clusters").file("clusters.arrow"))
    assert patients.column("patient_id") == vectors.column("patient_id")
    assert patients.column("patient_id").to_pylist() == clustered.column("patient_id").to_pylist()
    assert patients.column("cluster").to_pylist() == clustered.column("cluster").to_pylist()


def test_neighbours_are_the_nearest_rows_by_cosine(exported: Path) -> None:
    patients, vectors = (pq.read_table(exported / f"{name}.parquet") for name in ("patients", "embeddings"))
    matrix = np.array(vectors.column("vector").to_pylist(), np.float64)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    for row, found in enumerate(patients.column("neighbours").to_pylist()[:50]):
        best = np.sort(cosine[row])[::-1][: len(found["ids"])]
        assert len(found["ids"]) == results.NEIGHBOURS
        assert row not in found["ids"]
        assert np.allclose(cosine[row][found["ids"]], best, atol=1e-5)
        assert np.allclose(1 - np.array(found["distances"]), best, atol=1e-5)


def test_every_column_is_listed(exported: Path) -> None:
    with (exported / "columns.csv").open(encoding="utf-8", newline="") as stream:
        listed = {(row["file"], row["column"]) for row in csv.DictReader(stream)}
    for name in ("patients.parquet", "embeddings.parquet"):
        assert {(name, column) for column in pq.read_schema(exported / name).names} <= listed
    assert (exported / "enrichment.csv").is_file()


def test_figures_and_table_1_are_the_page_s(exported: Path, tiny: Pipeline) -> None:
    """Drawings are whole SVG files without a script, and no small count is in Table 1."""
    drawings = {path.name: path.read_text(encoding="utf-8") for path in (exported / "figures").iterdir()}
    assert {"map_by_cluster.svg", "map_by_age.svg", "lifts_01.svg", "onset_age_follow_up.svg"} <= set(drawings)
    for name, text in drawings.items():
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg", name  # noqa: S314  # of our own
        assert "<script" not in text
    with (exported / "table_1.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row[0]: row[1:] for row in csv.reader(stream)}
    page = tiny.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8")
    sizes = [int(text.replace(",", "")) for text in rows["Patients"]]
    assert min(sizes) >= 10
    assert len(rows["characteristic"]) == len(sizes)
    for size in rows["Patients"]:
        assert f">{size} patients" in page


def test_nothing_is_overwritten_and_nothing_half_stays(exported: Path, tiny: Pipeline, tmp_path: Path) -> None:
    found = results.Inputs.of(tiny.store.current)
    with pytest.raises(UserError, match="already exists"):
        results.export(found, exported, seed=0)
    broken = replace(found, reports=tiny.store.current("vocabulary"))  # has no enrichment.csv
    with pytest.raises(FileNotFoundError):
        results.export(broken, tmp_path / "out", seed=0)
    assert list(tmp_path.iterdir()) == []


def test_the_explorer_is_started_for_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / explorer.PROGRAM
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    started = explorer.command(Path("patients.parquet"), 5055)
    assert started[started.index("--host") + 1] == "127.0.0.1"


def test_what_the_explorer_prints_of_patients_is_not_passed_on_and_nothing_stays(
    tiny: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / explorer.PROGRAM
    program.write_text("#!/bin/sh\necho 'patient_id 100207'\nls \"$1\" >&2\nexit 3\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    store = tmp_path / "store"
    store.mkdir()
    with pytest.raises(UserError, match="ended with status 3"):
        explorer.explore(results.Inputs.of(tiny.store.current), store, 0, 5055)
    told = capfd.readouterr()
    assert "100207" not in told.out + told.err
    assert list(store.iterdir()) == []


EXPLORES = """
import sys
from pathlib import Path
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.export import explorer, results
explorer.explore(results.Inputs.of(Store(sys.argv[1]).current), Path(sys.argv[2]), 0, 5055)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a child that ends with its parent is known to Linux alone")
def test_a_kill_takes_the_explorer_along_and_the_next_run_its_tables(tiny: Pipeline, tmp_path: Path) -> None:
    program, note, store = tmp_path / explorer.PROGRAM, tmp_path / "pid", tmp_path / "store"
    program.write_text(f"#!/bin/sh\necho $$ > {note}\nexec sleep 60\n", encoding="utf-8")
    program.chmod(0o755)
    exploring = subprocess.Popen(
        [sys.executable, "-c", EXPLORES, str(tiny.store.root), str(store)],
        env=os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
    )
    assert until(lambda: note.is_file() and note.read_text() != "")
    exploring.kill()
    exploring.wait()
    assert until(lambda: not alive(int(note.read_text())))
    assert list(store.rglob("patients.parquet"))
    build_lock.sweep(store)
    assert list(store.iterdir()) == []


def test_without_the_explorer_the_user_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="pip install embedding-atlas"):
        explorer.command(Path("patients.parquet"), 5055)
