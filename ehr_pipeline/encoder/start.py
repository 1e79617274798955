"""Initial weights: an output bias from the frequencies of concepts, or the weights of an earlier training.

The bias: without it, a network first learns through all its weights which concepts are frequent (Meister, Stokowiec, Pimentel, Yu,
Rimell & Kuncoro 2023, 'A Natural Bias for Language Generation Models').

An earlier training: token ids are only ever appended, so the rows of known tokens are copied. A new token begins as the mean of the
known concepts, with the mean of their biases (Hewitt 2021, 'Initializing New Word Embeddings for Pretrained Language Models'), so
its score is the mean of their scores. A random row of small values would instead score near zero, above most tokens that a trained
model rejects, and take probability from what it has learned. New tokens begin with equal rows, which diverge at the first update
because their contexts differ.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.encoder.stock import StockWeights
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

TOKENS = "roberta_prelayernorm.embeddings.word_embeddings.weight"
_GROWING = (TOKENS, "lm_head.bias")
"""Parameters with one row for each token id. The weights of the head are tied to the token embeddings."""


def bias_at_frequencies(model: StockWeights, training_counts: NDArray[np.int64]) -> None:
    """Set the output bias to the logarithm of each token id's share of the training tokens (V,), with add-one smoothing."""
    smoothed = torch.from_numpy(training_counts + 1.0)
    with torch.no_grad():
        model.output_bias.copy_(torch.log(smoothed / smoothed.sum()))


def continue_from(folder: Path, model: StockWeights, vocabulary: Vocabulary) -> int:
    """Overwrite a new model's weights with those of a checkpoint. Returns the number of tokens that are new to the checkpoint.

    Raises UserError when the checkpoint is damaged, or `vocabulary` does not extend the checkpoint's vocabulary.
    """
    before = dict(checkpoint.load(folder, vocabulary, torch.device("cpu")).stock.named_parameters())
    known = before[_GROWING[0]].shape[0]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in _GROWING:
                parameter[:known] = before[name]
                parameter[known:] = before[name][FIRST_CONCEPT:].mean(0)
            else:
                parameter.copy_(before[name])
    return vocabulary.size - known
