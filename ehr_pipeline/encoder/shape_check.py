"""Check, without loading torch, whether another study's checkpoint has the shape of this study's encoder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ehr_pipeline.encoder import configuration
from ehr_pipeline.encoder.configuration import SUMS, WEIGHTS
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.errors import InputError
from ehr_pipeline.vocabulary.table import FILE as VOCABULARY

SETTING = "encoder.transfer.checkpoint"
_SHAPE = {
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "feed_forward": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "age_unit": "age_unit",
    "context": "context",
}
"""Settings that must agree with the checkpoint, with their names in its configuration."""


def look(folder: Path, settings: EncoderSettings) -> dict[str, Any]:
    """Return the configuration of another study's checkpoint, without reading its weights.

    Raises InputError if the folder is incomplete, or if the encoder of `settings` has another shape.
    """
    for name in (configuration.FILE, WEIGHTS, VOCABULARY, SUMS):
        if not (folder / name).is_file():
            raise InputError(
                f"{SETTING}: {folder} has no {name}. Set it to the folder `checkpoint` of an encoder_checkpoint artifact, or to a"
                " folder that `ehr-pipeline export model` wrote; if it is a copy, copy the whole folder again."
            )
    values = configuration.read(folder)
    if problems := list(_differences(values, settings)):
        raise InputError(
            f"{SETTING}: the encoder in {folder} has a different shape from that of this study. Set {', '.join(problems)}."
        )
    return values


def _differences(values: dict[str, Any], settings: EncoderSettings) -> Iterator[str]:
    """Yield the settings that would have to change, in the form of a settings file."""
    for name, key in _SHAPE.items():
        if getattr(settings, name) != values[key]:
            yield f"encoder.{name} = {json.dumps(values[key])}"
    if configuration.model_type_for(settings.objective) != values["model_type"]:
        names = get_args(get_type_hints(EncoderSettings)["objective"])
        fitting = [f'"{name}"' for name in names if configuration.model_type_for(name) == values["model_type"]]
        yield f"encoder.objective = {' or '.join(fitting)}"
