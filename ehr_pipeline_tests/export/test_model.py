"""A model is handed on whole, and not while its vocabulary names what few patients have."""

import filecmp
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline import cli
from ehr_pipeline.assets import ASSETS
from ehr_pipeline.embeddings.encoder_share import ChosenShare
from ehr_pipeline.encoder import card
from ehr_pipeline.errors import UserError
from ehr_pipeline.export import model
from ehr_pipeline.reports.statements import contributions
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact, hash_of
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline_tests.conftest import tiny_settings, write_settings


def counted(tiny: Pipeline, folder: Path, patients: int) -> Artifact:
    """The vocabulary, in which one concept has so many patients and every other one has enough."""
    artifact = tiny.store.current("vocabulary")
    shutil.copytree(artifact.path, folder)
    table = pl.read_csv(folder / "vocabulary.csv")
    first = pl.int_range(pl.len()) == 0
    table.with_columns(patients=pl.when(first).then(patients).otherwise(50)).write_csv(folder / "vocabulary.csv")
    return replace(artifact, path=folder)


def test_a_model_of_concepts_that_many_have_is_copied_whole(tiny: Pipeline, tmp_path: Path) -> None:
    checkpoint, vocabulary = tiny.store.current("encoder_checkpoint"), counted(tiny, tmp_path / "vocabulary", 10)
    concepts = model.export(checkpoint, vocabulary, 10, tmp_path / "model")
    assert concepts == len(Vocabulary.read(tmp_path / "model").concepts)
    compared = filecmp.dircmp(checkpoint.file("checkpoint"), tmp_path / "model")
    assert compared.left_only == compared.right_only == compared.diff_files == []
    with pytest.raises(UserError, match="already exists"):
        model.export(checkpoint, vocabulary, 10, tmp_path / "model")


def test_the_card_says_what_the_model_predicts(tiny: Pipeline, tmp_path: Path) -> None:
    checkpoint, vocabulary = tiny.store.current("encoder_checkpoint"), counted(tiny, tmp_path / "vocabulary", 10)
    told = ["With 100 labels, it is as good as counting with 740.", "With all labels, of 1 task: in 1 level with it."]
    model.export(checkpoint, vocabulary, 10, tmp_path / "model", {model.ADDS: [], model.PREDICTS: told})
    before, after = (path / "README.md" for path in (checkpoint.file("checkpoint"), tmp_path / "model"))
    assert after.read_text() == f"{before.read_text().rstrip()}\n\n## What it predicts\n\n{' '.join(told)}\n"


def test_the_card_says_what_the_network_adds_to_vectors_of_this_checkpoint(tiny: Pipeline) -> None:
    checkpoint = tiny.store.current("encoder_checkpoint")
    chosen = ChosenShare.of(tiny.store.current("patient_embeddings"))
    said = model.contribution_of(tiny.store, checkpoint)
    assert said[0] == str(contributions.share(chosen))
    assert "effective rank" in said[1]
    other = replace(checkpoint, manifest=checkpoint.manifest | {"data_version": "another"})
    assert model.contribution_of(tiny.store, other) == []


@pytest.mark.parametrize("patients", [0, 1, 9])
def test_a_model_that_names_what_few_have_is_refused(tiny: Pipeline, tmp_path: Path, patients: int) -> None:
    checkpoint, vocabulary = tiny.store.current("encoder_checkpoint"), counted(tiny, tmp_path / "vocabulary", patients)
    with pytest.raises(
        UserError, match=r"contains 1 concepts of fewer than 10 patients.*Set vocabulary\.min_patients to 10"
    ):
        model.export(checkpoint, vocabulary, 10, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["vocabulary"]


def test_a_concept_that_the_vocabulary_has_lost_counts_as_of_nobody(tiny: Pipeline, tmp_path: Path) -> None:
    vocabulary = counted(tiny, tmp_path / "vocabulary", 50)
    lines = vocabulary.file("vocabulary.csv").read_text().splitlines(keepends=True)
    vocabulary.file("vocabulary.csv").write_text("".join(lines[:-1]))
    left = pl.read_csv(vocabulary.file("vocabulary.csv"))["concept"].to_list()
    vocabulary.file("hash.txt").write_text(hash_of(left))
    with pytest.raises(UserError, match="contains 1 concepts"):
        model.export(tiny.store.current("encoder_checkpoint"), vocabulary, 10, tmp_path / "model")


@pytest.mark.parametrize(("below", "code", "told"), [(1, 0, "wrote a model of"), (10**6, 2, "cannot be exported")])
def test_the_command(
    tiny: Pipeline, extract: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], below: int, code: int, told: str
) -> None:
    settings = write_settings(tmp_path / "study.toml", extract, tiny.store.root, reports={"suppress_below": below})
    assert cli.main(["export", "model", "--settings", str(settings), "--out", str(tmp_path / "model")]) == code
    captured = capsys.readouterr()
    assert told in captured.out + captured.err
    assert (tmp_path / "model").exists() == (code == 0)


def test_the_card_and_the_check_say_it(tiny: Pipeline, tmp_path: Path) -> None:
    for patients, told in ((50, "Each was recorded of at least 10"), (9, "**1 of them were recorded of fewer than 10")):
        artifact = counted(tiny, tmp_path / str(patients), patients)
        assert told in card._names(Vocabulary.read(artifact.path))
        study = tiny_settings(tmp_path, vocabulary={"min_patients": 10})
        (outcome,) = (
            one
            for one in ASSETS["vocabulary"].evaluate(artifact, tiny.store, study)
            if one.name == "concepts_of_many_patients"
        )
        assert (outcome.passed, outcome.blocking) == (patients == 50, False)
        assert ("set vocabulary.min_patients = 11" in outcome.message) == (patients == 9)
