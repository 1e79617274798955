"""A checkpoint loads only when every weight is there and no other: each mutilation is one message, wherever it is loaded."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ehr_pipeline.concepts import build as concepts
from ehr_pipeline.encoder import checkpoint, configuration, initial_weights
from ehr_pipeline.encoder.model import config_for, new_model
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.errors import UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.vocabulary.table import SPECIAL_TOKENS, Vocabulary
from ehr_pipeline_tests.encoder.data import write_vocabulary
from ehr_pipeline_tests.encoder.stock_class import stock_of

CPU = torch.device("cpu")
SHAPE = EncoderSettings(
    hidden_size=16, layers=2, heads=2, feed_forward=32, context=16, max_positions=20, precision="float32"
)
QUERY = "roberta_prelayernorm.encoder.layer.1.attention.self.query.weight"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return Vocabulary.read(write_vocabulary(tmp_path_factory.mktemp("vocabulary"), 12))


@pytest.fixture
def folder(vocabulary: Vocabulary, tmp_path: Path) -> Path:
    """A checkpoint that was just written."""
    made = tmp_path / "checkpoint"
    made.mkdir()
    checkpoint.save(made, new_model(config_for(SHAPE, vocabulary.size, vocabulary.hash), 3), vocabulary)
    return made


def with_values(folder: Path, **changes: Any) -> None:
    path = folder / configuration.FILE
    values = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in (values | changes).items() if value != "absent"}))


def with_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / checkpoint.WEIGHTS)
    change(weights)
    save_file(weights, folder / checkpoint.WEIGHTS)


def with_bytes(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


def flipped(data: bytes) -> bytes:
    return data[:-7] + bytes([data[-7] ^ 1]) + data[-6:]


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / checkpoint.WEIGHTS), folder / "pytorch_model.bin")
    (folder / checkpoint.WEIGHTS).unlink()


def nan(weights: dict[str, torch.Tensor]) -> None:
    weights[QUERY][0, 0] = torch.nan


MUTILATIONS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "more layers": (lambda f: with_values(f, num_hidden_layers=3), "configuration has 3 layers, its weights 2"),
    "fewer layers": (lambda f: with_values(f, num_hidden_layers=1), "configuration has 1 layers, its weights 2"),
    "so many layers that they fill the memory": (
        lambda f: with_values(f, num_hidden_layers=10**9),
        "configuration has 1000000000 layers, its weights 2",
    ),
    "a weight less": (lambda f: with_weights(f, lambda w: w.pop(QUERY)), f"1 of its weights are missing .*{QUERY}"),
    "a weight more": (
        lambda f: with_weights(f, lambda w: w.update(extra=torch.ones(2))),
        r"contains 1 weights that its configuration does not have \(the first is extra\)",
    ),
    "a weight under another name": (
        lambda f: with_weights(f, lambda w: w.update({QUERY + "s": w.pop(QUERY)})),
        "1 of its weights are missing",
    ),
    "no weight": (lambda f: with_weights(f, dict.clear), "configuration has 2 layers, its weights 0"),
    "a weight of another shape": (
        lambda f: with_weights(f, lambda w: w.update({QUERY: torch.zeros(16, 8)})),
        r"has the shape \(16, 8\), by its configuration \(16, 16\)",
    ),
    "another width": (lambda f: with_values(f, intermediate_size=64), "has the shape .* by its configuration"),
    "a width that fills the memory": (
        lambda f: with_values(f, hidden_size=2 * 10**6, intermediate_size=10**9),
        "has the shape .* by its configuration",
    ),
    "other ages": (lambda f: with_values(f, max_position_embeddings=21), "has the shape .* by its configuration"),
    "untied head": (lambda f: with_values(f, tie_word_embeddings=False), "says False for tie_word_embeddings"),
    "no dropout": (lambda f: with_values(f, hidden_dropout_prob="absent"), "says None for hidden_dropout_prob"),
    "not a number": (lambda f: with_weights(f, nan), "contains values that are not finite"),
    "weights in half precision": (
        lambda f: with_weights(f, lambda w: w.update({QUERY: w[QUERY].half()})),
        "is float16, not float32",
    ),
    "weights cut": (
        lambda f: with_bytes(f, checkpoint.WEIGHTS, lambda data: data[:-1000]),
        "model.safetensors is damaged",
    ),
    "weights that are zeros": (
        lambda f: with_bytes(f, checkpoint.WEIGHTS, lambda data: bytes(len(data))),
        "model.safetensors is damaged",
    ),
    "weights empty": (lambda f: with_bytes(f, checkpoint.WEIGHTS, lambda _: b""), "model.safetensors is damaged"),
    "weights missing": (lambda f: (f / checkpoint.WEIGHTS).unlink(), "it has no model.safetensors. Copy"),
    "pickled weights": (
        pickled,
        "has no model.safetensors; pytorch_model.bin has a format that is never read",
    ),
    "configuration cut": (
        lambda f: with_bytes(f, configuration.FILE, lambda data: data[:50]),
        "config.json is damaged",
    ),
    "configuration of bytes": (
        lambda f: with_bytes(f, configuration.FILE, lambda _: b"\xff\xfe"),
        "config.json is damaged",
    ),
    "configuration a list": (
        lambda f: (f / configuration.FILE).write_text("[]"),
        "is not an object of names and values",
    ),
    "configuration missing": (lambda f: (f / configuration.FILE).unlink(), "it has no config.json"),
    "another kind of model": (
        lambda f: with_values(f, model_type="bert"),
        "a model of the type 'bert', not 'roberta-prelayernorm'",
    ),
    "code of its own": (
        lambda f: with_values(f, auto_map={"AutoConfig": "evil.Config"}),
        "names program code of its own, which is never run",
    ),
    "quantized": (
        lambda f: with_values(f, quantization_config={"load_in_8bit": True}),
        "quantized weights, which cannot be read",
    ),
    "another number of heads that does not divide": (
        lambda f: with_values(f, num_attention_heads=3),
        "not a multiple of its 3",
    ),
    "a number that is text": (lambda f: with_values(f, hidden_size="16"), "says '16' for hidden_size"),
    "a number that is none": (lambda f: with_values(f, num_hidden_layers=0), "says 0 for num_hidden_layers"),
    "another activation": (lambda f: with_values(f, hidden_act="relu"), "says 'relu' for hidden_act"),
    "an epsilon that is text": (lambda f: with_values(f, layer_norm_eps="1"), "says '1' for layer_norm_eps"),
    "no context": (lambda f: with_values(f, context="absent"), "says None for context"),
    "another unit of age": (lambda f: with_values(f, age_unit="month"), "says 'month' for age_unit"),
    "no vocabulary": (
        lambda f: with_values(f, vocabulary_hash="absent"),
        r"which vocabulary it was trained \(vocabulary_hash\)",
    ),
    "nothing there": (shutil.rmtree, "it has no config.json"),
}
ONLY_BY_HASH: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a bit flipped": (
        lambda f: with_bytes(f, checkpoint.WEIGHTS, flipped),
        "model.safetensors is not as it was written",
    ),
    "another number of heads": (
        lambda f: with_values(f, num_attention_heads=4),
        "config.json is not as it was written",
    ),
    "another epsilon": (lambda f: with_values(f, layer_norm_eps=0.1), "config.json is not as it was written"),
    "names of concepts changed": (
        lambda f: with_bytes(f, "vocabulary.csv", lambda data: data.replace(b"concept 5", b"concept V")),
        "vocabulary.csv is not as it was written",
    ),
}


@pytest.mark.parametrize("name", MUTILATIONS)
@pytest.mark.parametrize("listed", [True, False], ids=["with hashes", "as it was written before there were hashes"])
def test_a_mutilated_checkpoint_is_refused_by_name(
    vocabulary: Vocabulary, folder: Path, name: str, listed: bool
) -> None:
    mutilate, message = MUTILATIONS[name]
    mutilate(folder)
    if not listed:
        (folder / checkpoint.SUMS).unlink(missing_ok=True)
    expected = f"({message}|is not as it was written)" if listed else message
    with pytest.raises(UserError, match=expected) as refused:
        checkpoint.load(folder, vocabulary, CPU)
    assert str(folder) in str(refused.value)
    assert "Copy the whole folder again" in str(refused.value)


@pytest.mark.parametrize("name", ONLY_BY_HASH)
def test_what_shape_and_names_do_not_tell_is_told_by_the_hash(vocabulary: Vocabulary, folder: Path, name: str) -> None:
    mutilate, message = ONLY_BY_HASH[name]
    mutilate(folder)
    with pytest.raises(UserError, match=message):
        checkpoint.load(folder, vocabulary, CPU)


def test_a_whole_checkpoint_loads_as_it_was_saved(vocabulary: Vocabulary, folder: Path) -> None:
    expected = new_model(config_for(SHAPE, vocabulary.size, vocabulary.hash), 3)
    before = torch.random.get_rng_state()
    found = checkpoint.load(folder, vocabulary, CPU).stock
    assert torch.equal(before, torch.random.get_rng_state()), "random numbers are drawn for nothing that is loaded"
    for (name, one), (_, other) in zip(expected.named_parameters(), found.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    (folder / checkpoint.SUMS).unlink()
    assert checkpoint.load(folder, vocabulary, CPU), "one that was written before there were hashes"


def test_to_load_a_checkpoint_does_not_import_the_compiler_of_torch(vocabulary: Vocabulary, folder: Path) -> None:
    """With what it imports in turn, it would take more than a second of every process that reads an encoder."""
    code = (
        "import sys, torch; from pathlib import Path; from ehr_pipeline.encoder import checkpoint;"
        " from ehr_pipeline.vocabulary.table import Vocabulary; folder = Path(sys.argv[1]);"
        " checkpoint.load(folder, Vocabulary.read(folder), torch.device('cpu'));"
        " print(*{'torch._dynamo', 'torch._inductor', 'sympy', 'sklearn'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", code, str(folder)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == ""


def test_the_files_are_those_of_the_stock_classes(vocabulary: Vocabulary, folder: Path, tmp_path: Path) -> None:
    stock_of(checkpoint.load(folder, vocabulary, CPU)).save_pretrained(tmp_path)
    pad, mask, unknown, cls, sep = SPECIAL_TOKENS
    ids = {token: number for number, token in enumerate(SPECIAL_TOKENS)} | vocabulary.token_of
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": pad, "mask_token": mask, "unk_token": unknown, "cls_token": cls, "sep_token": sep}
    stock = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)
    stock.save_pretrained(tmp_path)
    for name in (configuration.FILE, checkpoint.WEIGHTS, checkpoint.TOKENIZER, checkpoint.TOKENIZER_CONFIG):
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_the_list_of_hashes_is_what_sha256sum_reads(folder: Path) -> None:
    done = subprocess.run(
        ["/usr/bin/env", "sha256sum", "--check", "--strict", checkpoint.SUMS],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_no_code_of_a_checkpoint_is_run_and_nobody_is_asked(
    vocabulary: Vocabulary, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: Any) -> str:
        raise AssertionError("a question on the terminal")

    monkeypatch.setattr("builtins.input", asked)
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    with_values(folder, auto_map={"AutoConfig": "evil.Config", "AutoModelForMaskedLM": "evil.Model"})
    with pytest.raises(UserError, match="never run"):
        checkpoint.load(folder, vocabulary, CPU)
    assert not (folder / "ran").exists()


def test_every_use_of_a_checkpoint_refuses_a_mutilated_one(vocabulary: Vocabulary, folder: Path) -> None:
    with_weights(folder, lambda weights: weights.pop(QUERY))
    (folder / checkpoint.SUMS).unlink()
    fresh = new_model(config_for(SHAPE, vocabulary.size, vocabulary.hash), 0)
    before = [parameter.clone() for parameter in fresh.parameters()]
    with pytest.raises(UserError, match="weights are missing"):
        initial_weights.continue_from(folder, fresh, vocabulary)
    assert all(torch.equal(one, other) for one, other in zip(before, fresh.parameters(), strict=True))
    with pytest.raises(UserError, match="weights are missing"):
        concepts.input_vectors(folder, vocabulary)


def test_concept_vectors_are_the_input_embeddings(tiny: Pipeline) -> None:
    vectors = np.load(tiny.store.current("concept_embeddings").file("vectors.npy"))
    weights = load_file(tiny.store.current("encoder_checkpoint").file("checkpoint/model.safetensors"))
    assert np.array_equal(vectors, weights[initial_weights.TOKENS].numpy())


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("C5", "C99"),
        lambda text: "\n".join(text.splitlines()[:-1]) + "\n",
        lambda text: text.replace("\n5,", "\n7,"),
        lambda text: text.replace("token_id", "id"),
        lambda text: text.replace("\n6,", "\nsix,"),
        lambda text: "",
    ],
)
def test_a_vocabulary_that_is_not_that_of_its_hash_is_refused(folder: Path, damage: Callable[[str], str]) -> None:
    path = folder / "vocabulary.csv"
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=r"The vocabulary in .* is damaged"):
        Vocabulary.read(folder)
