"""A checkpoint applied to an extract gives the vectors that the study itself gave its cohort."""

from pathlib import Path

import numpy as np
import pytest

from ehr_pipeline import cli
from ehr_pipeline.chain.pipeline import Pipeline
from ehr_pipeline.errors import InputError
from ehr_pipeline.export.apply import embed
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas


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


def test_a_folder_that_is_no_checkpoint_is_told(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no vocabulary.csv. --model names the folder"):
        embed(tiny.study, tmp_path, tmp_path, extract, tmp_path / "out.arrow")
    model = tiny.store.current("encoder_checkpoint").file("checkpoint")
    vectors = tiny.store.current("patient_embeddings").path
    with pytest.raises(InputError, match="--extract names the folder"):
        embed(tiny.study, model, vectors, tmp_path / "nowhere", tmp_path / "out.arrow")
    with pytest.raises(InputError, match="The folder of a patient_embeddings artifact holds both"):
        embed(tiny.study, model, tmp_path, extract, tmp_path / "out.arrow")


def test_the_command_needs_to_know_where_things_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["embed"])
    assert "--model, --vectors, --extract, --out" in capsys.readouterr().err
