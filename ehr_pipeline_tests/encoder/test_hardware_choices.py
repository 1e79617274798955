"""What the machine decides is decided once, recorded, and makes nothing anew on another machine."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.encoder import devices, hardware_choices, train
from ehr_pipeline.encoder.training_job import TrainingJob
from ehr_pipeline.errors import UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import MANIFEST, Recipe, Store
from ehr_pipeline_tests.encoder.data import learnable
from ehr_pipeline_tests.encoder.test_resume import break_at
from ehr_pipeline_tests.encoder.test_train import SETTINGS, job, weights

CPU = torch.device("cpu")
SHORT = replace(SETTINGS, max_epochs=1, checkpoint_seconds=0)
FORCED = {"on": "bfloat16", "off": "float32"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return learnable(tmp_path_factory.mktemp("data"))


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets whether this machine computes bfloat16 fast."""
    return lambda choice: monkeypatch.setenv(devices.BFLOAT16_VARIABLE, choice)


def metrics_of(described: TrainingJob) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((described.out / "metrics.json").read_text())
    return found


@pytest.mark.parametrize(("choice", "precision"), FORCED.items())
def test_auto_is_what_the_processor_computes_fast_and_metrics_card_and_configuration_say_so(
    processor: Any, data: dict[str, Path], tmp_path: Path, choice: str, precision: str
) -> None:
    processor(choice)
    one, named = (
        job(tmp_path / name, data, replace(SHORT, precision=wish))  # type: ignore[arg-type]
        for name, wish in (("auto", "auto"), ("named", precision))
    )
    train.run(one)
    train.run(named)
    ours, theirs = weights(one.out), weights(named.out)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert metrics_of(one)["machine"] == {"device": "cpu", "precision": precision, "compiled": "no"}
    folder = one.out / "checkpoint"
    assert f"Trained on a CPU in {precision}, not compiled" in (folder / "README.md").read_text(encoding="utf-8")
    assert json.loads((folder / "config.json").read_text())["precision"] == precision


def test_the_two_precisions_give_other_weights(processor: Any, data: dict[str, Path], tmp_path: Path) -> None:
    """Otherwise the tests above could not fail."""
    found = []
    for choice in FORCED:
        processor(choice)
        described = job(tmp_path / choice, data, SHORT)
        train.run(described)
        found.append(weights(described.out))
    assert not all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_training_that_is_continued_on_another_machine_keeps_its_precision(
    processor: Any, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor("on")
    whole = job(tmp_path / "whole", data, SHORT)
    train.run(whole)
    broken = replace(job(tmp_path / "broken", data, SHORT), resume=tmp_path / "training")
    with monkeypatch.context() as patch:
        break_at(6, patch)
        with pytest.raises(KeyboardInterrupt):
            train.run(broken)
    processor("off")
    train.run(broken)
    ours, theirs = weights(whole.out), weights(broken.out)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert metrics_of(broken) == metrics_of(whole)


def test_what_two_machines_decided_of_one_training_is_named_together(tmp_path: Path) -> None:
    (tmp_path / hardware_choices.FILE).write_text('{"device": "cuda", "precision": "bfloat16", "compiled": "yes"}')
    found = hardware_choices.of_training("auto", False, CPU, tmp_path)
    assert found == {"device": "cpu and cuda", "precision": "bfloat16", "compiled": "no and yes"}
    assert hardware_choices.of_training("auto", True, CPU, tmp_path) == found
    hardware_choices.note(tmp_path, {"device": "cpu", "precision": "float32"})
    hardware_choices.note(tmp_path, {"device": "cuda", "precision": "float32"})
    assert hardware_choices.noted(tmp_path) == {"device": "cpu and cuda", "precision": "float32"}
    assert hardware_choices.noted(tmp_path / "nothing ran") == {}


def test_a_checkpoint_says_in_which_precision_vectors_are_computed() -> None:
    class Config:
        precision = "bfloat16"

    assert hardware_choices.precision_of("auto", Config) == "bfloat16"
    assert hardware_choices.precision_of("float32", Config) == "float32", "the settings name one"
    assert hardware_choices.precision_of("auto", object()) == "float32", "it was not recorded"
    Config.precision = "something new"
    assert hardware_choices.precision_of("auto", Config) == "float32"


def test_a_wish_is_no_precision_and_the_variable_has_two_values(processor: Any) -> None:
    with pytest.raises(ValueError, match="'auto' is not a precision"):
        devices.autocast(CPU, "auto")
    processor("yes")
    with pytest.raises(UserError, match="EHR_BFLOAT16 is 'yes': set it to 'on' or 'off'"):
        hardware_choices.precision_for("auto", CPU)


def filled(out: Path) -> dict[str, int]:
    (out / "data.txt").write_text("weights")
    return {"rows_in": 1, "kept": 1}


def never(out: Path) -> dict[str, int]:
    raise AssertionError


RECIPE = Recipe("encoder_checkpoint", "1", {"precision": "auto"}, {"patient_dataset": "x"})


def test_the_fingerprint_names_what_the_machine_decided(tmp_path: Path) -> None:
    made = [
        Store(tmp_path / precision).make(RECIPE, filled, lambda _, is_=precision: {"precision": is_})  # type: ignore[misc]
        for precision in ("float32", "bfloat16")
    ]
    assert made[0].path.name != made[1].path.name
    for artifact, precision in zip(made, ("float32", "bfloat16"), strict=True):
        assert artifact.manifest["machine"] == {"precision": precision}
        assert artifact.manifest["fingerprint"] == artifact.path.name != RECIPE.fingerprint


def test_another_machine_finds_what_there_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.make(RECIPE, filled, lambda _: {"precision": "bfloat16"})
    again = store.make(RECIPE, never, lambda _: {"precision": "float32"})
    assert again.skipped
    assert again.path == made.path
    store.make(replace(RECIPE, settings={"precision": "float32"}), filled, lambda _: {"precision": "float32"})
    back = store.make(RECIPE, never, lambda _: {"precision": "float32"})
    assert back.path == made.path == store.current("encoder_checkpoint").path, "settings that are set back"


def test_a_manifest_from_before_it_was_recorded_stays_current(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.make(RECIPE, filled)
    manifest = json.loads((made.path / MANIFEST).read_text())
    for name in ("machine", "recipe", "notes", "checksum"):
        del manifest[name]
    (made.path / MANIFEST).write_text(json.dumps(manifest))
    again = store.make(RECIPE, never, lambda _: {"precision": "float32"})
    assert again.skipped
    assert again.path == made.path


def test_the_model_of_a_study_is_not_made_again_on_another_machine(
    tiny: Pipeline, processor: Any, tmp_path: Path
) -> None:
    for asset in ("encoder_checkpoint", "patient_embeddings"):
        decided = tiny.store.current(asset).manifest["machine"]
        assert decided["device"] == "cpu"
        assert decided["precision"] in FORCED.values()
    trained = tiny.store.current("encoder_checkpoint").manifest["machine"]["precision"]
    assert tiny.store.current("patient_embeddings").manifest["machine"]["precision"] == trained
    for choice in FORCED:
        processor(choice)
        for asset in ("encoder_checkpoint", "patient_embeddings", "clusters", "patient_trajectories"):
            assert getattr(Pipeline(tiny.study), asset)().skipped, asset


def test_vectors_are_computed_as_the_encoder_was_trained(tiny: Pipeline, processor: Any, tmp_path: Path) -> None:
    """Whatever the machine that computes them does fast, so vectors of other patients may be compared with them."""
    from ehr_pipeline.embeddings import embed

    artifacts = {name: tiny.store.current(name) for name in ("encoder_checkpoint", "vocabulary", "patient_dataset")}
    members = Cohort(Cohort.read(tiny.store.current("cohort").path).table.slice(0, 20))
    size = len(np.load(tiny.store.current("concept_embeddings").file("vectors.npy")))
    found = []
    for choice in FORCED:
        processor(choice)
        work = tmp_path / choice
        for part in embed.PARTS:
            (work / part).mkdir(parents=True)
        described = tiny.embedding_job(artifacts, work)
        described.lay_out(members, np.ones(size, np.float32))
        embed.run(described)
        found.append([path.read_bytes() for path in sorted((work / "whole").iterdir())])
    assert found[0] == found[1]
    assert tiny.study.encoder.precision == "auto"
