"""The folder that a stranger can load: weights (safetensors), configuration, and a tokenizer in which one code is one token."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, RobertaPreLayerNormConfig, RobertaPreLayerNormForMaskedLM
from transformers.utils import logging as transformers_logging

from ehr_pipeline.encoder import configuration
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.errors import UserError, printable
from ehr_pipeline.fields import file_hash
from ehr_pipeline.vocabulary.table import FILE as VOCABULARY
from ehr_pipeline.vocabulary.table import HASH, SPECIAL_TOKENS, Vocabulary

transformers_logging.disable_progress_bar()  # a bar for one small file says nothing, and fills logs

WEIGHTS, SUMS = "model.safetensors", "SHA256SUMS"
HASHED = (configuration.FILE, WEIGHTS, VOCABULARY, HASH, "tokenizer.json", "tokenizer_config.json")
"""The files that are listed with their hashes: `sha256sum -c SHA256SUMS` compares them as well."""
_LAYER = "roberta_prelayernorm.encoder.layer."


def save(folder: Path, model: RobertaPreLayerNormForMaskedLM, vocabulary: Vocabulary) -> None:
    """Write a folder that AutoModel, AutoModelForMaskedLM and AutoTokenizer read, with the vocabulary that names its tokens."""
    model.save_pretrained(folder)
    tokenizer_of(vocabulary).save_pretrained(folder)
    vocabulary.write(folder)
    sums = [f"{file_hash(folder / name)}  {name}\n" for name in HASHED]
    (folder / SUMS).write_text("".join(sums), encoding="ascii")


def tokenizer_of(vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    """Concepts separated by blanks become one token each; nothing is added at either end."""
    pad, mask, unknown, cls, sep = SPECIAL_TOKENS
    ids = {token: index for index, token in enumerate(SPECIAL_TOKENS)} | vocabulary.token_of
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        mask_token=mask,
        unk_token=unknown,
        cls_token=cls,
        sep_token=sep,
        clean_up_tokenization_spaces=False,
    )


def load(folder: Path, vocabulary: Vocabulary, device: torch.device) -> PackedEncoder:
    """Read a checkpoint for use, with the vocabulary that it was trained with, or one that this grew into.

    Only `config.json` and `model.safetensors` are read, and no code but this package's is run. Raises UserError when the checkpoint
    was trained with another vocabulary, since its answers would be nonsense, and when a weight is missing, superfluous, of another
    shape than the configuration says, or not as it was written.
    """
    values = configuration.read(folder)
    found = values["vocabulary_hash"]
    if found != vocabulary.first(values["vocab_size"]).hash:
        raise UserError(
            f"The checkpoint in {folder} was trained with vocabulary {printable(found)}, but the current one is {vocabulary.hash}:"
            " its token ids would mean other concepts. Materialise encoder_checkpoint again."
        )
    _as_written(folder)
    weights = _weights(folder)
    layers = {name.split(".")[3] for name in weights if name.startswith(_LAYER)}
    if len(layers) != values["num_hidden_layers"]:
        raise configuration.unusable(
            folder, f"its configuration has {values['num_hidden_layers']} layers, its weights {len(layers)}"
        )
    try:
        config = RobertaPreLayerNormConfig.from_dict(values)
        with torch.device("meta"):  # shapes only: nothing is allocated for a configuration that does not fit
            expected = {name: each.shape for name, each in _parameters(RobertaPreLayerNormForMaskedLM(config)).items()}
    except Exception as error:  # whatever the library makes of values that it never wrote
        raise configuration.unusable(folder, f"its configuration describes no model ({_first_line(error)})") from error
    if problem := _difference(expected, weights):
        raise configuration.unusable(folder, problem)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = RobertaPreLayerNormForMaskedLM(config)
        for name, parameter in _parameters(model).items():
            parameter.copy_(weights[name])
    return PackedEncoder(model).to(device).eval()


def _as_written(folder: Path) -> None:
    """Raises UserError when a file is not as it was written. Checkpoints of before have no list of hashes."""
    if not (folder / SUMS).is_file():
        return
    for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if name in HASHED and file_hash(folder / name) != digest:
            raise configuration.unusable(folder, f"{name} is not as it was written (its hash is not that in {SUMS})")


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint by name. Raises UserError when they cannot be read, or are no finite numbers in float32."""
    path = folder / WEIGHTS
    if not path.is_file():
        others = sorted(
            other.name for other in folder.glob("*") if other.suffix in (".bin", ".pt", ".pth", ".h5", ".msgpack")
        )
        instead = f"; {others[0]} beside it is of a kind that is never read, since it can hold code" if others else ""
        raise configuration.unusable(folder, f"it has no {WEIGHTS}{instead}")
    try:
        weights: dict[str, torch.Tensor] = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise configuration.unusable(folder, f"its {WEIGHTS} is damaged ({_first_line(error)})") from error
    for name, tensor in weights.items():
        if tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise configuration.unusable(folder, f"{name} in its {WEIGHTS} is {kind}, where float32 was written")
        if not tensor.isfinite().all():
            raise configuration.unusable(folder, f"{name} in its {WEIGHTS} holds values that are not finite")
    return weights


def _parameters(model: RobertaPreLayerNormForMaskedLM) -> dict[str, torch.nn.Parameter]:
    """What a checkpoint holds: each parameter once, tied ones under their first name."""
    return dict(model.named_parameters())


def _difference(expected: dict[str, torch.Size], weights: dict[str, torch.Tensor]) -> str:
    """How weights differ from those that the configuration describes, in words; empty when they agree."""
    missing, superfluous = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing:
        return f"{len(missing)} of its weights are missing from {WEIGHTS} (the first is {missing[0]})"
    if superfluous:
        return f"{WEIGHTS} holds {len(superfluous)} weights that its configuration does not have (the first is {superfluous[0]})"
    for name, shape in expected.items():
        if weights[name].shape != shape:
            return f"{name} has the shape {tuple(weights[name].shape)}, by its configuration {tuple(shape)}"
    return ""


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
