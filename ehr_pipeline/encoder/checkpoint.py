"""Save and load checkpoints that anyone can use: weights (safetensors), configuration, tokenizer with a token per concept."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.overrides import TorchFunctionMode

from ehr_pipeline.encoder import configuration
from ehr_pipeline.encoder.configuration import ModelConfig
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.roberta_weights import StockWeights
from ehr_pipeline.errors import UserError, printable
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline.vocabulary.table import FILE as VOCABULARY
from ehr_pipeline.vocabulary.table import HASH, SPECIAL_TOKENS, Vocabulary

WEIGHTS, SUMS = configuration.WEIGHTS, configuration.SUMS
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
HASHED = (configuration.FILE, WEIGHTS, VOCABULARY, HASH, TOKENIZER, TOKENIZER_CONFIG)
"""The files whose hashes are listed in SHA256SUMS; `sha256sum -c SHA256SUMS` also checks them."""
_LAYER = "roberta_prelayernorm.encoder.layer."


def save(folder: Path, model: StockWeights, vocabulary: Vocabulary) -> None:
    """Write a folder for AutoModel, AutoModelForMaskedLM and AutoTokenizer, with the vocabulary that names its tokens."""
    save_model(folder, model)
    _save_tokenizer(folder, vocabulary)
    vocabulary.write(folder)
    sums = [f"{file_hash(folder / name)}  {name}\n" for name in HASHED]
    (folder / SUMS).write_text("".join(sums), encoding="ascii")


def save_model(folder: Path, model: StockWeights) -> None:
    """Write configuration and weights into a folder, which is created if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.write(folder)
    weights = {name: parameter.detach().contiguous() for name, parameter in _parameters(model).items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def _save_tokenizer(folder: Path, vocabulary: Vocabulary) -> None:
    """Write a tokenizer that makes one token of each blank-separated concept, and adds nothing at either end."""
    pad, mask, unknown, cls, sep = SPECIAL_TOKENS
    ids = {token: index for index, token in enumerate(SPECIAL_TOKENS)} | vocabulary.token_of
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.save(str(folder / TOKENIZER))
    values = {
        "backend": "tokenizers",
        "clean_up_tokenization_spaces": False,
        "cls_token": cls,
        "mask_token": mask,
        "model_max_length": int(1e30),
        "pad_token": pad,
        "sep_token": sep,
        "tokenizer_class": "TokenizersBackend",
        "unk_token": unknown,
    }
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def load(folder: Path, vocabulary: Vocabulary, device: torch.device) -> PackedEncoder:
    """Load a checkpoint for use with the vocabulary that it was trained with, or with a later one that extends it.

    Only `config.json` and `model.safetensors` are loaded; no code outside this package is run. Raises UserError if the checkpoint
    was trained with another vocabulary, because its output would be nonsense, and if a weight is missing, superfluous, not of the
    shape in the configuration, or changed since it was written.
    """
    values = configuration.read(folder)
    trained_with = values["vocabulary_hash"]
    if trained_with != vocabulary.first(values["vocab_size"]).hash:
        raise UserError(
            f"The checkpoint in {folder} was trained with vocabulary {printable(trained_with)}, but the current one is"
            f" {vocabulary.hash}: its token ids would mean other concepts. Rebuild encoder_checkpoint (ehr-pipeline run)."
        )
    _as_written(folder)
    weights = _weights(folder)
    layers = {name.split(".")[3] for name in weights if name.startswith(_LAYER)}
    if len(layers) != values["num_hidden_layers"]:
        raise configuration.unusable(
            folder, f"its configuration has {values['num_hidden_layers']} layers, its weights {len(layers)}"
        )
    try:
        with torch.device("meta"), _Undrawn():  # shapes only: a configuration that does not fit allocates no memory
            model = StockWeights(ModelConfig.of(values))
        expected = {name: each.shape for name, each in _parameters(model).items()}
    except Exception as error:  # torch may raise anything for values that were never written
        raise configuration.unusable(folder, f"its configuration describes no model ({_first_line(error)})") from error
    if problem := _difference(expected, weights):
        raise configuration.unusable(folder, problem)
    model.load_state_dict({name: weight.clone() for name, weight in weights.items()}, assign=True)
    return PackedEncoder(model).to(device).eval()


class _Undrawn(TorchFunctionMode):
    """Skips drawing initial weights. On the device `meta` there is nothing to draw, but torch would import its compiler to find
    that out, which takes over a second."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        """Call a function of torch, unless it is one of `torch.nn.init`."""
        options = options or {}
        if getattr(function, "__module__", "") == torch.nn.init.__name__:
            return arguments[0] if arguments else options["tensor"]
        return function(*arguments, **options)


def _as_written(folder: Path) -> None:
    """Raise UserError if a file changed since it was written. Older checkpoints have no list of hashes, and are not checked."""
    if not (folder / SUMS).is_file():
        return
    for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if name in HASHED and file_hash(folder / name) != digest:
            raise configuration.unusable(folder, f"{name} is not as it was written (its hash is not that in {SUMS})")


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a checkpoint, by name. Raises UserError if they are unreadable, or not finite float32 numbers."""
    path = folder / WEIGHTS
    if not path.is_file():
        others = sorted(
            other.name for other in folder.glob("*") if other.suffix in (".bin", ".pt", ".pth", ".h5", ".msgpack")
        )
        instead = f"; {others[0]} has a format that is never read, because it can contain code" if others else ""
        raise configuration.unusable(folder, f"it has no {WEIGHTS}{instead}")
    try:
        weights: dict[str, torch.Tensor] = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise configuration.unusable(folder, f"its {WEIGHTS} is damaged ({_first_line(error)})") from error
    for name, tensor in weights.items():
        if tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise configuration.unusable(folder, f"{name} in its {WEIGHTS} is {kind}, not float32")
        if not tensor.isfinite().all():
            raise configuration.unusable(folder, f"{name} in its {WEIGHTS} contains values that are not finite")
    return weights


def _parameters(model: StockWeights) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that a checkpoint contains, by name."""
    return dict(model.named_parameters())


def _difference(expected: dict[str, torch.Size], weights: dict[str, torch.Tensor]) -> str:
    """Return, in words, how weights differ from the shapes that the configuration implies; empty when they agree."""
    missing, superfluous = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing:
        return f"{len(missing)} of its weights are missing from {WEIGHTS} (the first is {missing[0]})"
    if superfluous:
        return f"{WEIGHTS} contains {len(superfluous)} weights that its configuration does not have (the first is {superfluous[0]})"
    for name, shape in expected.items():
        if weights[name].shape != shape:
            return f"{name} has the shape {tuple(weights[name].shape)}, by its configuration {tuple(shape)}"
    return ""


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
