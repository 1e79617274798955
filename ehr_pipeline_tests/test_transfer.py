"""A study whose encoder begins from another study's: what is made, what makes it stale, and whom it may have learned from."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.cli import main
from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.errors import SettingsError
from ehr_pipeline.patients import training_patients
from ehr_pipeline.planning.preflight import inspect
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study.settings import Study
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT
from ehr_pipeline_tests.conftest import ROOT, tiny_settings, write_settings


def study_of(extract: Path, store: Path, other: Path, test_share: float = 0.0, **transfer: Any) -> Study:
    """The tiny study with fewer concepts, whose encoder begins from the checkpoint in `other`."""
    return tiny_settings(
        extract,
        study={"store": str(store)},
        vocabulary={"min_appearances": 40},
        patients={"split": {"validation_share": 0.1, "test_share": test_share}},
        encoder={"transfer": {"checkpoint": str(other), **transfer}},
    )


@pytest.fixture(scope="module")
def theirs(tiny: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny study's checkpoint, without what lies beside it."""
    folder = tmp_path_factory.mktemp("theirs") / "checkpoint"
    shutil.copytree(tiny.store.current(ENCODER_CHECKPOINT).file("checkpoint"), folder)
    return folder


def encoder(pipeline: Pipeline) -> Artifact:
    return pipeline.make(EXTRACT, until=ENCODER_CHECKPOINT)[ENCODER_CHECKPOINT]


def test_another_study_s_encoder_is_used_and_stands_in_manifest_page_and_checks(
    extract: Path, theirs: Path, tmp_path: Path
) -> None:
    pipeline = Pipeline(study_of(extract, tmp_path / "store", theirs, use="direct"))
    made = pipeline.make(EXTRACT)
    facts = made[ENCODER_CHECKPOINT].counts["transfer"]
    assert facts["not_matched"] == 0, "the same codes, fewer of them"
    assert facts["share_of_events"] == 0
    assert made[ENCODER_CHECKPOINT].counts["epochs"] == 0
    assert str(theirs) not in json.dumps(made[ENCODER_CHECKPOINT].manifest)
    page = made["cluster_reports"].file("report.html").read_text(encoding="utf-8")
    assert "not trained in this study" in page
    assert "The encoder comes from another study, which knew" in page
    (told,) = (each for each in pipeline.check(ENCODER_CHECKPOINT) if each.name == "better_than_frequency")
    assert told.passed
    assert "0.0% of events have concepts that are not in the vocabulary of the other study" in told.message
    assert not list((tmp_path / "store").rglob("begun")), "what it began from is not kept twice"


def test_another_checkpoint_makes_the_encoder_stale_and_its_place_does_not(
    extract: Path, theirs: Path, tmp_path: Path
) -> None:
    def version(folder: Path, **transfer: Any) -> str:
        return ASSETS[ENCODER_CHECKPOINT].code_version(study_of(extract, tmp_path / "store", folder, **transfer))

    first = version(theirs)
    shutil.copytree(theirs, tmp_path / "moved")
    assert version(tmp_path / "moved") == first
    with (tmp_path / "moved" / checkpoint.SUMS).open("a") as sums:
        sums.write("\n")
    assert version(tmp_path / "moved") != first
    others: tuple[dict[str, Any], ...] = ({"use": "direct"}, {"unknown": "mean"}, {"frozen_layers": 1})
    assert len({first, *(version(theirs, **other) for other in others)}) == 4


@pytest.mark.slow
def test_it_is_told_if_nobody_knows_whom_the_other_encoder_learned_from(
    extract: Path, theirs: Path, tmp_path: Path
) -> None:
    study = study_of(extract, tmp_path / "store", theirs, test_share=0.2)
    (warning,) = (text for text in inspect(study).warnings if text.startswith("encoder.transfer.checkpoint"))
    assert "its training patients are unknown: it has no notes/learned_from.arrow" in warning
    pipeline = Pipeline(study)
    made = encoder(pipeline)
    (told,) = (each for each in pipeline.check(ENCODER_CHECKPOINT) if each.name == "test_side_unseen")
    assert not told.passed
    assert not told.blocking
    assert told.message.startswith("the one that it began from: its training patients are unknown")
    # With the list of another study of this store, it can: and nobody of that list is in the test set.
    own = tmp_path / "known" / "checkpoint"
    shutil.copytree(made.file("checkpoint"), own)
    (own.parent / "notes").mkdir()
    shutil.copy(made.file(training_patients.FILE), own.parent / training_patients.FILE)
    again = study_of(extract, tmp_path / "store", own, test_share=0.2, use="direct")
    assert not [text for text in inspect(again).warnings if text.startswith("encoder.transfer.checkpoint")]
    pipeline = Pipeline(again)
    encoder(pipeline)
    (told,) = (each for each in pipeline.check(ENCODER_CHECKPOINT) if each.name == "test_side_unseen")
    assert told.passed, told.message


@pytest.mark.slow
def test_an_encoder_that_learned_from_the_test_side_is_refused(extract: Path, theirs: Path, tmp_path: Path) -> None:
    """The other study had another test set: some of its training patients are in the test set here."""
    first = Pipeline(study_of(extract, tmp_path / "store", theirs, test_share=0.1))
    made = encoder(first)
    known = tmp_path / "known"
    shutil.copytree(made.file("checkpoint"), known / "checkpoint")
    (known / "notes").mkdir()
    shutil.copy(made.file(training_patients.FILE), known / training_patients.FILE)
    second = Pipeline(study_of(extract, tmp_path / "store", known / "checkpoint", test_share=0.4, use="direct"))
    encoder(second)
    (told,) = (each for each in second.check(ENCODER_CHECKPOINT) if each.name == "test_side_unseen")
    assert not told.passed
    assert told.blocking
    assert "learned from" in told.message


def test_settings_that_contradict_each_other_are_refused(extract: Path, theirs: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"frozen_layers \(2\) must be at most layers \(1\)"):
        study_of(extract, tmp_path, theirs, frozen_layers=2)
    with pytest.raises(SettingsError, match=r"but transfer\.checkpoint is empty"):
        tiny_settings(extract, encoder={"transfer": {"frozen_layers": 1}})
    transfer = {"checkpoint": str(theirs), "use": "direct"}
    with pytest.raises(SettingsError, match="'direct' trains nothing"):
        tiny_settings(extract, encoder={"transfer": transfer, "on_new_extract": "warm_start"})


def test_the_check_before_a_run_names_what_does_not_fit(extract: Path, theirs: Path, tmp_path: Path) -> None:
    study = tiny_settings(extract, encoder={"hidden_size": 64, "transfer": {"checkpoint": str(theirs)}})
    assert any("Set encoder.hidden_size = 32." in text for text in inspect(study).problems)
    missing = tiny_settings(extract, encoder={"transfer": {"checkpoint": str(tmp_path / "none")}})
    assert any("has no config.json" in text for text in inspect(missing).problems)


@pytest.mark.slow
def test_the_commands_of_the_page_compare_local_direct_and_tuned(
    extract: Path, theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs/transfer.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write_settings(tmp_path / "my_study.toml", extract, tmp_path / "store", embeddings={"cohort": []})
    shutil.copytree(theirs, tmp_path / "theirs/checkpoint")
    assert main(shlex.split(block.replace("\\\n", " "))[1:]) == 0
    capsys.readouterr()
    with Path("compared/variants.csv").open(encoding="utf-8", newline="") as stream:
        heads, *lines = csv.reader(stream)
    figures = {line[0]: line[1:] for line in lines}
    assert len(heads) == 4
    assert figures["epochs"] == ["2", "0", "2"]
    assert figures["share of events with concepts that the other study does not have"] == ["", "0", "0"]
    local, direct, tuned = map(float, figures["validation loss"])
    assert tuned < direct
    assert local != tuned


def test_the_page_s_measure_of_sites_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/transfer.md").read_text(encoding="utf-8"), re.DOTALL)
    rng = np.random.default_rng(0)
    second = np.arange(600) % 4 > 1
    given = {
        "second": second,
        "vectors": rng.normal(size=(600, 4)) + second[:, None],
        "covariates": rng.normal(size=(600, 1)),
    }
    exec(block, given)  # noqa: S102 (our own page)
    assert re.fullmatch(r"0\.9\d \(0\.\d\d to 0\.\d\d\), \d+ matched patients\n", capsys.readouterr().out)
    assert np.abs(given["without_site"][second].mean(0) - given["without_site"][~second].mean(0)).max() < 0.2
