"""Read and write a checkpoint's configuration without loading a model, with the standard library only."""

import json
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from ehr_pipeline.errors import UserError, printable

FILE, WEIGHTS, SUMS = "config.json", "model.safetensors", "SHA256SUMS"
MODEL_TYPE, CAUSAL_MODEL_TYPE = "roberta-prelayernorm", "ehr-encoder-looking-back"
CLASSES = {MODEL_TYPE: "RobertaPreLayerNormForMaskedLM", CAUSAL_MODEL_TYPE: "LookingBackForMaskedLM"}
"""The model class of each `model_type`: the stock class, and that of `encoder.causal_model`."""
CAUSAL_OBJECTIVES: tuple[str, ...] = ("next_visit",)
"""The training objectives whose encoder sees no later visits; with all others, it sees the whole record."""
FORBIDDEN = {
    "auto_map": "names program code of its own, which is never run",
    "custom_pipelines": "names program code of its own, which is never run",
    "quantization_config": "describes quantized weights, which cannot be read",
}
"""Names in a configuration that would change what is loaded, and why each is refused."""
FIXED = {
    "hidden_act": "gelu",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
}
"""Values of the stock class's configuration that are the same for every encoder."""
NUMBERS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size", "context"),
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The configuration of the stock class, under its names, and the further values that a user of the checkpoint must match."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    vocabulary_hash: str
    age_unit: Literal["year", "quarter"]
    context: int
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    precision: str | None = None
    """Precision of the training run; None in checkpoints written before it was recorded."""
    type_vocab_size: int = 1
    pad_token_id: int = 0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    model_type: str = MODEL_TYPE

    @classmethod
    def of(cls, values: dict[str, Any]) -> "ModelConfig":
        """Return the part of a checkpoint's configuration that determines the model."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def write(self, folder: Path) -> None:
        """Write the configuration for transformers, as the stock class itself would."""
        values = {
            **FIXED,
            **asdict(self),
            "architectures": [CLASSES[self.model_type]],
            "bos_token_id": None,
            "classifier_dropout": None,
            "dtype": "float32",
            "eos_token_id": None,
            "transformers_version": version("transformers"),
            "use_cache": True,
        }
        (folder / FILE).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def model_type_for(objective: str) -> str:
    """Return the `model_type` of an encoder that is trained with an objective."""
    return CAUSAL_MODEL_TYPE if objective in CAUSAL_OBJECTIVES else MODEL_TYPE


def unusable(folder: Path, problem: str) -> UserError:
    """Return an error that states the problem with a checkpoint, and what to do."""
    return UserError(
        f"The checkpoint in {folder} cannot be used: {printable(problem)}. Copy the whole folder again from where it was made, or"
        " rebuild encoder_checkpoint (ehr-pipeline run)."
    )


def read(folder: Path) -> dict[str, Any]:
    """Read the configuration of the checkpoint in a folder. Raises UserError if it is not for an encoder of this package."""
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise unusable(folder, f"it has no {FILE}") from None
    except (OSError, ValueError) as error:
        raise unusable(folder, f"its {FILE} is damaged ({str(error).splitlines()[0]})") from None
    if problem := _problem(values):
        raise unusable(folder, f"its {FILE} {problem}")
    configuration: dict[str, Any] = values
    return configuration


def _problem(values: Any) -> str:
    """Return the problem with a configuration, in words; empty if there is none."""
    if not isinstance(values, dict):
        return "is not an object of names and values"
    if values.get("model_type") not in CLASSES:
        return (
            f"describes a model of the type {values.get('model_type')!r}, not {MODEL_TYPE!r} or {CAUSAL_MODEL_TYPE!r}"
        )
    for name, why in FORBIDDEN.items():
        if values.get(name):
            return f"{why} ({name})"
    for name in NUMBERS:
        if not isinstance(values.get(name), int) or isinstance(values[name], bool) or values[name] < 1:
            return f"says {values.get(name)!r} for {name}, which must be a whole number of at least 1"
    for name, meant in FIXED.items():
        if values.get(name, meant) != meant:
            return f"says {values[name]!r} for {name}, which must be {meant!r}"
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "layer_norm_eps"):
        if not isinstance(values.get(name), float | int):
            return f"says {values.get(name)!r} for {name}, which must be a number"
    if values["hidden_size"] % values["num_attention_heads"]:
        return (
            f"says {values['hidden_size']} for hidden_size, not a multiple of its {values['num_attention_heads']} heads"
        )
    if values.get("age_unit") not in ("year", "quarter"):
        return f"says {values.get('age_unit')!r} for age_unit, which must be 'year' or 'quarter'"
    if not isinstance(values.get("vocabulary_hash"), str):
        return "does not say with which vocabulary it was trained (vocabulary_hash)"
    return ""
