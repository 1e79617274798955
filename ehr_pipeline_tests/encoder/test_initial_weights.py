"""A training that goes on from an earlier one's weights, with concepts that were appended since."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ehr_pipeline.encoder import checkpoint, initial_weights, train
from ehr_pipeline.encoder.model import config_for, new_model
from ehr_pipeline.errors import UserError
from ehr_pipeline.store.artifacts import hash_of
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary
from ehr_pipeline_tests.encoder.data import learnable, write_vocabulary
from ehr_pipeline_tests.encoder.test_train import SETTINGS, job, weights


def grown(folder: Path, size: int) -> Path:
    """A vocabulary whose hash is that of its concepts."""
    write_vocabulary(folder, size)
    concepts = [concept.concept for concept in Vocabulary.read(folder).concepts]
    (folder / "hash.txt").write_text(hash_of(concepts) + "\n")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    return learnable(folder) | {"vocabulary": grown(folder / "vocabulary", 40)}


@pytest.fixture(scope="module")
def trained(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = job(tmp_path_factory.mktemp("trained"), data, replace(SETTINGS, max_epochs=4))
    train.run(own)
    return own.out


def test_known_rows_stay_and_new_ones_begin_as_the_mean(trained: Path, tmp_path: Path) -> None:
    vocabulary = Vocabulary.read(grown(tmp_path / "vocabulary", 43))
    model = new_model(config_for(SETTINGS, vocabulary.size, vocabulary.hash), 0)
    assert initial_weights.continue_from(trained / "checkpoint", model, vocabulary) == 3
    before, now = weights(trained), dict(model.named_parameters())
    for name, parameter in now.items():
        known = before[name].shape[0]
        assert torch.equal(parameter[:known], before[name]), name
        if name in initial_weights.GROWING:
            assert parameter.shape[0] == known + 3
            for row in parameter[known:]:
                assert torch.allclose(row, before[name][FIRST_CONCEPT:].mean(0), atol=1e-7)


def test_the_output_bias_begins_at_the_frequencies_of_the_training_tokens(
    data: dict[str, Path], tmp_path: Path
) -> None:
    counts = np.array([0, 0, 0, 0, 0, 7, 1])
    model = new_model(config_for(SETTINGS, 7, "x"), 0)
    initial_weights.bias_at_frequencies(model, counts)
    shares = model.output_bias.detach().exp()
    assert torch.allclose(shares, torch.tensor([1.0, 1, 1, 1, 1, 8, 2]) / 15)
    losses = {}
    for bias in ("zero", "frequency"):
        own = job(tmp_path / bias, data, replace(SETTINGS, max_epochs=1, output_bias=bias, learning_rate=1e-9))
        train.run(own)
        losses[bias] = json.loads((own.out / "metrics.json").read_text())
    frequency = losses["frequency"]["epochs"][0]["validation_loss"]
    assert frequency == pytest.approx(losses["frequency"]["baseline"]["loss"], abs=0.1), (
        "nothing learned but frequencies"
    )
    assert losses["zero"]["epochs"][0]["validation_loss"] == pytest.approx(np.log(45), abs=0.1), "as likely each"


def test_a_warm_start_begins_where_the_other_ended_and_is_repeatable(
    trained: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    found = []
    for name in ("one", "two"):
        own = job(
            tmp_path / name, data | {"vocabulary": grown(tmp_path / name / "v", 42)}, replace(SETTINGS, max_epochs=1)
        )
        train.run(replace(own, start=trained / "checkpoint"))
        found.append(own.out)
    metrics = [json.loads((out / "metrics.json").read_text()) for out in (trained, *found)]
    assert metrics[1]["epochs"][0]["validation_loss"] < metrics[0]["epochs"][0]["validation_loss"] - 0.1
    assert metrics[1]["tokens_added"] == 2
    assert "tokens_added" not in metrics[0]
    assert all(torch.equal(one, weights(found[1])[name]) for name, one in weights(found[0]).items())
    card = (found[0] / "checkpoint" / "README.md").read_text()
    assert "went on from the weights of an earlier one, with 2 concepts that were new" in card


def test_a_vocabulary_that_did_not_grow_from_the_checkpoint_s_is_refused(trained: Path, tmp_path: Path) -> None:
    before = Vocabulary.read(grown(tmp_path / "vocabulary", 43)).concepts
    one, other = (replace(before[number], token_id=5 + 1 - number) for number in (0, 1))
    concepts = (other, one, *before[2:])
    vocabulary = Vocabulary(concepts, hash_of([concept.concept for concept in concepts]))
    model = new_model(config_for(SETTINGS, vocabulary.size, vocabulary.hash), 0)
    with pytest.raises(UserError, match="its token ids would mean other concepts"):
        initial_weights.continue_from(trained / "checkpoint", model, vocabulary)


def test_an_older_checkpoint_reads_with_a_vocabulary_that_grew(trained: Path, tmp_path: Path) -> None:
    vocabulary = Vocabulary.read(grown(tmp_path / "vocabulary", 43))
    model = checkpoint.load(trained / "checkpoint", vocabulary, torch.device("cpu"))
    assert model.stock.config.vocab_size == vocabulary.size - 3
