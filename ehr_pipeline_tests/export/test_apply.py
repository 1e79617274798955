"""A checkpoint applied to an extract gives the vectors that the study itself gave its cohort."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ehr_pipeline import cli
from ehr_pipeline.errors import InputError
from ehr_pipeline.export import apply
from ehr_pipeline.export.apply import embed
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Recipe, Store
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.conftest import write_settings


def test_the_same_patients_get_the_same_vectors(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    model = tiny.store.current("encoder_checkpoint").file("checkpoint")
    vectors = tiny.store.current("patient_embeddings").path
    counts = embed(tiny.study, model, vectors, extract / "landing" / EXTRACT, tmp_path / "out.arrow")
    table = schemas.read(tmp_path / "out.arrow")
    found = dict(zip(table["patient_id"].to_pylist(), table["vector"].to_pylist(), strict=True))
    assert (
        counts["kept"]
        == len(found)
        == tiny.store.current("patient_dataset").counts["patients"]["kept"] - counts["dropped"]["no_chosen_concept"]
    )
    assert counts["rows_in"] == counts["kept"] + counts["dropped"]["no_chosen_concept"]
    compared = 0
    for path in tiny.store.current("patient_embeddings").files("embeddings"):
        rows = schemas.read(path)
        for patient, vector in zip(rows["patient_id"].to_pylist(), rows["vector"].to_pylist(), strict=True):
            assert np.allclose(found[patient], vector, atol=1e-4)
            compared += 1
    assert compared == tiny.store.current("patient_embeddings").counts["kept"]


# `ehr-pipeline embed`, killed when it is about to make vectors: the extract has been read, mapped and laid out.
KILLED = """
import os, signal, sys
from ehr_pipeline.export import apply; from ehr_pipeline import cli
apply.pool_chunks = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
cli.main(["embed", *sys.argv[1:]])
"""


@pytest.mark.slow
def test_a_kill_leaves_nothing_outside_the_store_and_nothing_after_the_next_run(
    tiny: Pipeline, extract: Path, tmp_path: Path
) -> None:
    store, temporary, out = (tmp_path / name for name in ("store", "temporary", "out"))
    for folder in (temporary, out):
        folder.mkdir()
    arguments = {
        "--settings": write_settings(tmp_path / "settings.toml", extract, store),
        "--model": tiny.store.current("encoder_checkpoint").file("checkpoint"),
        "--vectors": tiny.store.current("patient_embeddings").path,
        "--extract": extract / "landing" / EXTRACT,
        "--out": out / "vectors.arrow",
    }
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *(str(part) for pair in arguments.items() for part in pair)],
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert killed.returncode == -9, killed.stderr
    assert list(store.glob(".making-*/store/records/raw_records/*/*/events/*")), "it was in the middle"
    assert [*temporary.iterdir(), *out.iterdir()] == []
    assert {path.name for path in tmp_path.iterdir()} == {"store", "temporary", "out", "settings.toml"}

    Store(store).make(Recipe("vocabulary", "1", {}, {}), lambda _: {"rows_in": 0, "kept": 0})
    assert [path.name for path in store.iterdir()] == ["vocabulary"]


def test_an_extract_is_read_where_links_are_forbidden_unless_it_has_some(
    tiny: Pipeline, extract: Path, tmp_path: Path
) -> None:
    study = replace(tiny.study, records=replace(tiny.study.records, follow_links=False))
    model = tiny.store.current("encoder_checkpoint").file("checkpoint")
    linked = tmp_path / EXTRACT
    linked.mkdir()
    for path in (extract / "landing" / EXTRACT).iterdir():
        (linked / path.name).symlink_to(path)
    with pytest.raises(InputError, match=r"records.follow_links is false"):
        apply.patients(study, model, linked, tmp_path)
    assert apply.patients(study, model, extract / "landing" / EXTRACT, tmp_path)[1]["patients"]["kept"]


def test_an_extract_has_the_date_of_the_link_that_init_makes(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    """And of the folder itself where only that has a date."""
    model = tiny.store.current("encoder_checkpoint").file("checkpoint")
    delivered = shutil.copytree(extract / "landing" / EXTRACT, tmp_path / "delivered")
    (tmp_path / EXTRACT).symlink_to(delivered)
    (tmp_path / "newest").symlink_to(extract / "landing" / EXTRACT)
    for number, place in enumerate((tmp_path / EXTRACT, tmp_path / "newest")):
        (work := tmp_path / str(number)).mkdir()
        assert apply.patients(tiny.study, model, place, work)[1]["patients"]["kept"]


def test_a_folder_that_is_no_checkpoint_is_told(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no vocabulary.csv. Set --model to the folder"):
        embed(tiny.study, tmp_path, tmp_path, extract, tmp_path / "out.arrow")
    model = tiny.store.current("encoder_checkpoint").file("checkpoint")
    vectors = tiny.store.current("patient_embeddings").path
    with pytest.raises(InputError, match="Set --extract to the folder"):
        embed(tiny.study, model, vectors, tmp_path / "nowhere", tmp_path / "out.arrow")
    with pytest.raises(InputError, match="Give the folder of a patient_embeddings artifact"):
        embed(tiny.study, model, tmp_path, extract, tmp_path / "out.arrow")


def test_the_command_needs_to_know_where_things_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["embed"])
    assert "--model, --vectors, --extract, --out" in capsys.readouterr().err
