"""Set initial weights: an output bias from the frequencies of concepts, or the weights of an earlier training run.

The output bias is set because a network without it first learns, through all its weights, which concepts are frequent (Meister,
Stokowiec, Pimentel, Yu, Rimell & Kuncoro 2023, 'A Natural Bias for Language Generation Models').

If weights come from an earlier training run, the rows of known tokens are copied: their ids are the same, because token ids are
only ever appended. A new token starts from the mean of the known concepts, with the mean of their biases (Hewitt 2021,
'Initializing New Word Embeddings for Pretrained Language Models'), so its score is the mean of their scores. A random row of small
values would score near zero, above most tokens that a trained model rejects, and so take probability from learned tokens. All new
tokens start with equal rows, which diverge at the first update because their contexts differ.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.encoder.roberta_weights import StockWeights
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.tables import json_files
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

TOKENS = "roberta_prelayernorm.embeddings.word_embeddings.weight"
GROWING = (TOKENS, "lm_head.bias")
"""Parameters with one row for each token id. The weights of the head are tied to the token embeddings."""
FACTS = "transfer.json"
"""A file with `Facts`, stored with a checkpoint that was made from another study's encoder and from which a training run starts."""


@dataclass(frozen=True)
class Facts:
    """How this study's vocabulary overlaps with that of the study whose encoder it starts from (`encoder.transfer`)."""

    use: str
    """The value of `encoder.transfer.use`; `unknown` is that of `encoder.transfer.unknown`."""
    unknown: str
    matched: int
    """Number of this study's concepts that the other study knows; `not_matched` is the number that it does not know."""
    not_matched: int
    share_of_events: float
    """Share of this study's events whose concept the other study does not know."""
    explained_by_names: float
    """See `vectors_from_names.Predicted.explained`; 0 if names were not used."""

    @classmethod
    def of(cls, folder: Path) -> "Facts | None":
        """Read the facts next to a checkpoint; None if it was not made from another study's checkpoint."""
        path = folder / FACTS
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def write(self, folder: Path) -> None:
        """Write the facts next to a checkpoint."""
        json_files.write(folder / FACTS, asdict(self))


def bias_at_frequencies(model: StockWeights, training_counts: NDArray[np.int64]) -> None:
    """Set the output bias to the logarithm of each token id's share of the training tokens (V,), with add-one smoothing."""
    smoothed = torch.from_numpy(training_counts + 1.0)
    with torch.no_grad():
        model.output_bias.copy_(torch.log(smoothed / smoothed.sum()))


def begin(model: StockWeights, folder: Path, vocabulary: Vocabulary, settings: EncoderSettings) -> dict[str, Any]:
    """Overwrite a new model's weights with those of a checkpoint. If that was made from another study's checkpoint, freeze layers.

    Returns entries for `metrics.json`: `tokens_added`, or the facts of the `transfer`. Raises the errors of `continue_from`.
    """
    added = continue_from(folder, model, vocabulary)
    facts = Facts.of(folder)
    if facts is None:
        return {"tokens_added": added}
    freeze(model, settings.transfer.frozen_layers)
    return {"transfer": asdict(facts)}


def freeze(model: StockWeights, layers: int) -> None:
    """Freeze the first `layers` layers."""
    base: Any = model.roberta_prelayernorm
    for layer in base.encoder.layer[:layers]:
        layer.requires_grad_(False)


def continue_from(folder: Path, model: StockWeights, vocabulary: Vocabulary) -> int:
    """Overwrite a new model's weights with those of a checkpoint. Returns the number of tokens that are new to the checkpoint.

    Raises UserError when the checkpoint is damaged, or `vocabulary` does not extend the checkpoint's vocabulary.
    """
    before = dict(checkpoint.load(folder, vocabulary, torch.device("cpu")).stock.named_parameters())
    known = before[GROWING[0]].shape[0]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in GROWING:
                parameter[:known] = before[name]
                parameter[known:] = before[name][FIRST_CONCEPT:].mean(0)
            else:
                parameter.copy_(before[name])
    return vocabulary.size - known
