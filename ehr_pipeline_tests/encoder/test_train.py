import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from ehr_pipeline.disclosure.figures import Guard, count_text
from ehr_pipeline.disclosure.kinds import Events, Share
from ehr_pipeline.encoder import checkpoint, optimizer, train
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.encoder.stopping import Flatness
from ehr_pipeline.encoder.training_job import TrainingJob
from ehr_pipeline.errors import UserError
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline.work import jobs
from ehr_pipeline_tests.encoder.data import learnable, write_vocabulary

SETTINGS = EncoderSettings(
    hidden_size=32,
    layers=1,
    heads=2,
    feed_forward=64,
    context=16,
    dropout=0.0,
    attention_dropout=0.0,
    tokens_per_step=128,
    learning_rate=0.01,
    warmup_steps=5,
    max_epochs=8,
)


def job(folder: Path, data: dict[str, Path], settings: EncoderSettings = SETTINGS, seed: int = 0) -> TrainingJob:
    out = folder / "out"
    out.mkdir(parents=True)
    return TrainingJob(**data, settings=settings, seed=seed, threads=1, out=out)


def weights(out: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(out / "checkpoint" / "model.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return learnable(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train.run(job(folder, data))
    return folder / "out"


def test_it_learns_what_there_is_to_learn(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["best"]["validation_loss"] < metrics["baseline"]["loss"] - 0.6, "ln 4 would be all there is to gain"
    assert metrics["best"]["validation_top10"] > metrics["baseline"]["top10"] + 0.3
    assert metrics["best"]["validation_masked_tokens"] == metrics["baseline"]["masked_tokens"] > 0
    assert [row["epoch"] for row in metrics["epochs"]] == list(range(1, len(metrics["epochs"]) + 1))


def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    trained: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    train.run(job(tmp_path / "same", data))
    train.run(job(tmp_path / "other", data, seed=1))
    first, same, other = (weights(out) for out in (trained, tmp_path / "same/out", tmp_path / "other/out"))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.slow
def test_two_processes_equal_one(data: dict[str, Path], tmp_path: Path) -> None:
    # Seven rows: an odd number to share out. About half of the updates are clipped: else AdamW would not mind a wrong scale.
    # In float32: bfloat16 rounds the parts of a sum, which are cut elsewhere.
    settings = replace(SETTINGS, max_epochs=1, tokens_per_step=112, clip_norm=1.9, precision="float32")
    one = job(tmp_path / "one", data, settings)
    train.run(one)
    two = job(tmp_path / "two", data, settings)
    described = tmp_path / "job.json"
    described.write_text(jobs.as_json(two))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "ehr_pipeline.encoder.train",
    ]
    done = subprocess.run(
        [*command, "--job", str(described)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = weights(one.out), weights(two.out)
    for name in ours:
        assert torch.allclose(ours[name], theirs[name], atol=1e-5), name
    metrics = [json.loads((j.out / "metrics.json").read_text())["epochs"][0] for j in (one, two)]
    assert metrics[0]["training_loss"] == pytest.approx(metrics[1]["training_loss"], abs=1e-5)
    assert metrics[0]["validation_loss"] == pytest.approx(metrics[1]["validation_loss"], abs=1e-5)


def test_a_stranger_can_load_the_checkpoint(trained: Path, data: dict[str, Path]) -> None:
    folder = trained / "checkpoint"
    stock = AutoModelForMaskedLM.from_pretrained(folder).eval()
    vocabulary = Vocabulary.read(data["vocabulary"])
    ours = checkpoint.load(folder, vocabulary, torch.device("cpu"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer("C5 C7 C44 C9 unknown", return_tensors="pt")
    assert encoded["input_ids"].tolist() == [[5, 7, 44, 9, 2]], "one code is one token; nothing is added at either end"
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.decode([5, 44]) == "C5 C44"
    ages = torch.tensor([[31, 31, 40, 41, 41]])
    with torch.no_grad():
        expected = stock(
            input_ids=encoded["input_ids"], position_ids=ages, attention_mask=encoded["attention_mask"]
        ).logits
        found = ours.logits(ours.hidden(encoded["input_ids"], ages, torch.ones(1, 5, dtype=torch.long)))
    assert torch.allclose(found, expected, atol=1e-5)
    plain = AutoModel.from_pretrained(folder, add_pooling_layer=False)
    assert plain.config.vocabulary_hash == vocabulary.hash
    assert plain.config.age_unit == "year"


def test_a_stock_model_fills_a_masked_concept_from_what_goes_together(trained: Path) -> None:
    """Patients keep to one of four groups of ten concepts (see `learnable`): so must the answers, and the ages must be given."""
    model = AutoModelForMaskedLM.from_pretrained(trained / "checkpoint").eval()
    tokenizer = AutoTokenizer.from_pretrained(trained / "checkpoint")
    for first in (5, 15, 25, 35):
        history = [f"C{first + offset}" for offset in (1, 4, 6, 8)]
        encoded = tokenizer(" ".join([*history[:2], "[MASK]", *history[2:]]), return_tensors="pt")
        with torch.no_grad():
            scores = model(**encoded, position_ids=torch.tensor([[51, 53, 55, 57, 58]])).logits[0, 2]
        assert set(scores.topk(8).indices.tolist()) <= set(range(first, first + 10))


def test_the_card_says_what_a_stranger_needs_and_its_code_runs(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = (trained / "checkpoint" / "README.md").read_text()
    metrics = json.loads((trained / "metrics.json").read_text())
    best, baseline = metrics["best"], metrics["baseline"]
    masked = Events(int(best["validation_masked_tokens"]))

    def share(value: float) -> str:
        """As far as it may be shown: of hundreds of tokens, a tenth of a percent tells how many."""
        return Guard(10).percent(Share.of(value, masked))

    for figure in (
        f"| training | {count_text(metrics['training_patients'])} | {count_text(metrics['training_tokens'])} |",
        f"| this model (epoch {best['epoch']}) | {best['validation_loss']:.4f} | {share(best['validation_top1'])} |",
        f"| frequency baseline | {baseline['loss']:.4f} | {share(baseline['top1'])} |",
        f"hash `{Vocabulary.read(trained / 'checkpoint').hash}`",
        f"At most {SETTINGS.context} tokens at once",
        "seed 0",
    ):
        assert figure in card, figure
    (block,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(trained / "checkpoint")
    exec(block, {})  # noqa: S102 (what the card tells a reader to type)
    assert capsys.readouterr().out.count("concept ") == 5


def test_another_vocabulary_is_refused_by_name(trained: Path, tmp_path: Path) -> None:
    other = Vocabulary.read(write_vocabulary(tmp_path / "other", 40, "D"))
    mine = Vocabulary.read(trained / "checkpoint").hash
    with pytest.raises(UserError, match=f"trained with vocabulary {mine}, but the current one is {other.hash}"):
        checkpoint.load(trained / "checkpoint", other, torch.device("cpu"))


def test_a_loss_that_is_not_finite_stops_the_training(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PackedEncoder.forward
    monkeypatch.setattr(PackedEncoder, "forward", lambda self, *arrays: whole(self, *arrays) * math.nan)
    with pytest.raises(UserError, match="not finite at update 0 of epoch 1; nothing was published"):
        train.run(job(tmp_path, data))
    assert not (tmp_path / "out" / "checkpoint").exists()


@pytest.mark.parametrize(
    ("losses", "epochs"),
    [
        ([(5.0, 5.0), (4.0, 4.5), (3.0, 4.5), (2.0, 4.5)], 4),  # the training loss still falls
        ([(5.0, 5.0), (4.999, 4.999), (4.998, 4.998), (1.0, 1.0)], 3),  # both flat for two epochs
        ([(5.0, 5.0), (4.999, 4.999), (4.0, 4.0), (3.999, 3.999), (3.998, 3.998)], 5),
        ([(5.0, 5.0), (5.1, 5.2), (5.2, 5.3), (1.0, 1.0)], 3),
    ],
)
def test_when_training_stops(losses: list[tuple[float, float]], epochs: int) -> None:
    flatness = Flatness(min_improvement=0.001, patience=2)
    stops = [flatness.stop_after(*pair) for pair in losses]
    assert (stops.index(True) + 1 if True in stops else len(losses)) == epochs


def test_a_training_on_a_cpu_does_not_import_the_compiler_of_torch(data: dict[str, Path], tmp_path: Path) -> None:
    """With what it imports in turn, it would take more than a second."""
    described = tmp_path / "job.json"
    described.write_text(jobs.as_json(job(tmp_path, data, replace(SETTINGS, max_epochs=1))), encoding="utf-8")
    code = (
        "import pathlib, sys, torch; from ehr_pipeline.encoder import train; from ehr_pipeline.work import jobs;"
        " train.run(jobs.from_json(train.run, pathlib.Path(sys.argv[1]).read_bytes()));"
        " print(*{'torch._dynamo', 'torch._inductor', 'sympy'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", code, str(described)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == ""
    assert (tmp_path / "out" / "checkpoint").is_dir()


def test_the_learning_rate_rises_and_falls() -> None:
    settings = replace(SETTINGS, learning_rate=1.0, warmup_steps=10)
    rates = [optimizer.learning_rate(step, 100, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert np.all(np.diff(rates[10:]) < 0)


def test_norms_biases_and_embeddings_do_not_decay(trained: Path, data: dict[str, Path]) -> None:
    model = checkpoint.load(trained / "checkpoint", Vocabulary.read(data["vocabulary"]), torch.device("cpu"))
    decayed, others = optimizer.optimizer_of(model, SETTINGS).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert not [
        names[id(p)]
        for p in decayed["params"]
        if any(part in names[id(p)] for part in ("embeddings", "bias", "LayerNorm"))
    ]
    assert len(decayed["params"]) + len(others["params"]) == len(names)
    assert others["weight_decay"] == 0


def test_the_warm_up_is_never_longer_than_a_tenth_of_the_training() -> None:
    settings = replace(SETTINGS, warmup_steps=100, learning_rate=1.0)
    rates = [optimizer.learning_rate(step, 200, settings) for step in range(200)]
    assert rates.index(max(rates)) == 19, "the peak is reached after 20 of 200 updates"
    assert rates[0] == pytest.approx(1 / 20)
    long = [optimizer.learning_rate(step, 5000, settings) for step in range(5000)]
    assert long.index(max(long)) == 99, "a long training keeps the warm-up that it was given"
    assert optimizer.learning_rate(0, 5, settings) == 1.0, "five updates have none"
