"""Weighted sums of losses: each term is what it is alone, however an update is divided, and a training resumes with all of them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ehr_pipeline import typed_settings
from ehr_pipeline.encoder import evaluate, loader, optimizer, train
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.objectives import OBJECTIVES, Objective, objective_of, traits_of
from ehr_pipeline.encoder.objectives.contrastive import Contrastive
from ehr_pipeline.encoder.objectives.weighted import WeightedSum
from ehr_pipeline.encoder.patient_attributes import Traits
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import ContrastiveSettings, EncoderSettings, MetadataSettings
from ehr_pipeline.work import jobs
from ehr_pipeline_tests.encoder.data import learnable, vocabulary_of
from ehr_pipeline_tests.encoder.test_train import SETTINGS as PLAIN
from ehr_pipeline_tests.encoder.test_train import job, weights

SIZE, SLOTS, ROWS = 45, 16, 8
CONTRAST = ContrastiveSettings(weight=0.3, fewest_tokens=3, most_tokens=6)
METADATA = MetadataSettings(weight=0.2, attributes=("sex", "birth_decade"))
SETTINGS = replace(PLAIN, contrastive=CONTRAST, metadata=METADATA, precision="float32")
BOTH = pytest.mark.parametrize("main", ["masked", "next_visit"])
DEVICE = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return learnable(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def sequences(data: dict[str, Path]) -> Sequences:
    return Sequences.open(data["dataset"], SLOTS, "year", 514)


def summed(data: dict[str, Path], main: str = "masked", settings: EncoderSettings = SETTINGS) -> Objective:
    settings = replace(settings, objective=main)  # type: ignore[arg-type]
    traits = Traits.read(data["dataset"], data["split"], traits_of(settings))
    return objective_of(settings, vocabulary_of(SIZE), 0, traits)


def model_of(objective: Objective, main: str = "masked", **changes: Any) -> PackedEncoder:
    settings = replace(SETTINGS, objective=main, **changes)  # type: ignore[arg-type]
    return PackedEncoder(new_model(config_for(settings, SIZE, "x"), 0), objective)


def updates(sequences: Sequences, objective: Objective, plan: loader.Plan) -> list[loader.Update]:
    return list(loader.updates(sequences, objective, plan, seed=0, epoch=0))


def gradients(model: PackedEncoder, update: loader.Update) -> tuple[list[float], list[torch.Tensor]]:
    total = optimizer.gradients(model, update, DEVICE, "float32")
    found = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad(set_to_none=True)
    return total.tolist(), found


def test_no_loss_beside_it_leaves_the_objective_as_it_is(data: dict[str, Path]) -> None:
    assert type(summed(data, settings=PLAIN)) is OBJECTIVES["masked"]
    assert "contrastive" not in typed_settings.identity(PLAIN), "fingerprints stay as they are"
    off = replace(PLAIN, contrastive=ContrastiveSettings(temperature=0.1))
    assert type(summed(data, settings=off)) is OBJECTIVES["masked"]


@BOTH
def test_the_loss_is_the_sum_of_means_and_so_are_gradients(
    data: dict[str, Path], sequences: Sequences, main: str
) -> None:
    """Against each loss by itself, with the same draws: the objective's are those of a training of it alone."""
    whole = summed(data, main)
    assert isinstance(whole, WeightedSum)
    update = updates(sequences, whole, loader.Plan(SLOTS, ROWS, ROWS))[0]
    total, found = gradients(model_of(whole, main), update)
    alone = summed(data, main, PLAIN)
    first = updates(sequences, alone, loader.Plan(SLOTS, ROWS, ROWS))[0].parts[0]
    part = update.parts[0]
    assert all(np.array_equal(a, b) for a, b in zip(part.arrays, first.arrays, strict=False))
    assert part.counts[0] == first.count
    assert part.counts[1] > 10
    terms = []
    own = model_of(alone, main)
    terms.append(own(*first.tensors(DEVICE)) / first.count)
    contrast = Contrastive(replace(SETTINGS, objective=main), whole.losses[1].traits)  # type: ignore[arg-type,union-attr]
    second = part.tensors(DEVICE)[len(first.arrays) :]
    terms.append(CONTRAST.weight * contrast(own, *second[: whole.arrays[1]]) / part.counts[1])
    third = whole.losses[2]
    terms.append(METADATA.weight * third(own, *second[whole.arrays[1] :]) / part.counts[2])
    assert total == [pytest.approx(sum(term.item() for term in terms), rel=1e-5), 1]
    expected = torch.autograd.grad(sum(terms), [*own.parameters(), *third.parameters()])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))


@BOTH
@pytest.mark.parametrize(("together", "micro_rows"), [(8, 8), (4, 4), (2, 2), (2, 6)])
def test_how_an_update_is_divided_changes_nothing(
    data: dict[str, Path], sequences: Sequences, main: str, together: int, micro_rows: int
) -> None:
    """Blocks of `together` rows are compared, in one part or in several, on one process or on three."""
    objective = summed(data, main)
    objective.together = objective.losses[1].together = together  # type: ignore[union-attr,assignment]
    model = model_of(objective, main)
    whole = updates(sequences, objective, loader.Plan(SLOTS, ROWS, ROWS))
    shares = [updates(sequences, objective, loader.Plan(SLOTS, ROWS, micro_rows, rank, 3)) for rank in range(3)]
    for number in (0, -1):  # the last one has fewer rows
        update = loader.Update(tuple(part for share in shares for part in share[number].parts), 0, 0, 0)
        (one, expected), (other, found) = gradients(model, whole[number]), gradients(model, update)
        assert one == pytest.approx(other, rel=1e-5)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, found, strict=True))
        counts = [np.sum([part.counts for part in each.parts], axis=0).tolist() for each in (whole[number], update)]
        assert counts[0] == counts[1]


def test_an_evaluation_asks_the_same_on_every_device(data: dict[str, Path], sequences: Sequences) -> None:
    objective = summed(data)
    assert evaluate.ROWS % objective.together == 0
    model = model_of(objective)
    found = [
        objective.scores(
            evaluate.evaluate(
                model, objective, evaluate.evaluation_parts(objective, sequences, SLOTS, 0, at_once), DEVICE, "float32"
            )
        )
        for at_once in (1, 3)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_scores_keep_their_names_and_the_loss_is_the_sum(data: dict[str, Path], sequences: Sequences) -> None:
    objective = summed(data)
    model = model_of(objective)
    parts = list(evaluate.evaluation_parts(objective, sequences, SLOTS, 0))
    scores = objective.scores(evaluate.evaluate(model, objective, iter(parts), DEVICE, "float32"))
    terms = scores["masked_loss"], 0.3 * scores["contrastive_loss"], 0.2 * scores["metadata_loss"]
    assert scores["loss"] == pytest.approx(sum(terms))
    alone = summed(data, settings=PLAIN)
    asked = evaluate.evaluation_parts(alone, sequences, SLOTS, 0)
    own = alone.scores(evaluate.evaluate(model, alone, asked, DEVICE, "float32"))
    assert {**scores, "loss": scores["masked_loss"]} | own == {**scores, "loss": pytest.approx(own["loss"])} | {
        name: pytest.approx(value) for name, value in own.items()
    }
    counts = np.ones(SIZE, np.int64)
    base = objective.scores(objective.baseline(iter(parts), counts))
    assert base["masked_loss"] == pytest.approx(
        alone.scores(alone.baseline(evaluate.evaluation_parts(alone, sequences, SLOTS, 0), counts))["loss"]
    )
    assert base["contrastive_spans"] == scores["contrastive_spans"] > 20


@pytest.fixture(scope="module")
def trained(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train.run(job(folder, data, replace(SETTINGS, max_epochs=4, dropout=0.1)))
    return folder / "out"


def test_a_training_learns_both_and_says_so(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    best, base = metrics["best"], metrics["baseline"]
    assert best["validation_masked_loss"] < base["masked_loss"] - 0.3
    assert best["validation_contrastive_loss"] < base["contrastive_loss"] - 0.1
    assert best["validation_contrastive_found"] > base["contrastive_found"]
    assert best["validation_loss"] == min(row["validation_loss"] for row in metrics["epochs"])
    first = metrics["epochs"][0]
    assert first["training_loss"] == pytest.approx(first["validation_loss"], rel=0.5), "both are the sum"
    assert metrics["weights"] == {"masked": 1.0, "contrastive": 0.3, "metadata": 0.2}
    assert best["validation_metadata_right_sex"] > base["metadata_right_sex"] + 0.2, "groups have a sex"
    assert not any("heads" in name for name in weights(trained)), "heads are not published"
    card = (trained / "checkpoint" / "README.md").read_text()
    for words in (
        *("contrastive-learning", "with contrast of patients (weight 0.3) and prediction", "Partner found first"),
        *("metadata-prediction", "| Attribute | Chunks |", "| birth_decade |"),
    ):
        assert words in card
    assert f"| this model (epoch {best['epoch']}) | {best['validation_masked_loss']:.4f} |" in card


def test_a_training_with_several_losses_resumes_to_the_same_weights(
    trained: Path, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = job(tmp_path, data, replace(SETTINGS, max_epochs=4, dropout=0.1, checkpoint_seconds=0))
    step, done = optimizer.step, []

    def interrupted(*given: Any) -> optimizer.UpdateResult:
        done.append(step(*given))
        if len(done) == 20:
            raise KeyboardInterrupt
        return done[-1]

    monkeypatch.setattr(optimizer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.run(again)
    monkeypatch.setattr(optimizer, "step", step)
    train.run(again)
    one, two = weights(trained), weights(again.out)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_plan_has_whole_blocks() -> None:
    settings = EncoderSettings(tokens_per_step=128 * 256, micro_batch_tokens=40 * 256)
    assert [train.plan_for(settings, DEVICE, fixed, 16).micro_rows for fixed in (False, True)] == [32, 32]
    assert train.plan_for(replace(settings, micro_batch_tokens=256), DEVICE, True, 16).micro_rows == 16


@pytest.mark.slow
def test_two_processes_equal_one(data: dict[str, Path], tmp_path: Path) -> None:
    # Seven rows: blocks of four and three. About half of the updates are clipped.
    settings = replace(SETTINGS, max_epochs=1, tokens_per_step=112, clip_norm=1.5)
    one, two = job(tmp_path / "one", data, settings), job(tmp_path / "two", data, settings)
    train.run(one)
    (tmp_path / "job.json").write_text(jobs.as_json(two))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, "-m", "ehr_pipeline.encoder.train", "--job", str(tmp_path / "job.json")],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = weights(one.out), weights(two.out)
    for name in ours:
        assert torch.allclose(ours[name], theirs[name], atol=1e-5), name
    rows = [json.loads((each.out / "metrics.json").read_text())["epochs"][0] for each in (one, two)]
    assert rows[0] == pytest.approx(rows[1], abs=1e-5)
