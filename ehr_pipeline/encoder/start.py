"""Weights to begin with: those of an earlier training whose vocabulary grew into this one.

Token ids are only ever appended, so the rows of known tokens are taken as they are. A new token begins as the mean of the known
concepts, with the mean of their biases (Hewitt 2021, 'Initializing New Word Embeddings for Pretrained Language Models'): its score
is then a mean of scores too, while a random row of small values would score near zero, above most of what a trained model rejects,
and take probability from all that it has learned. Equal rows part with the first update, as their contexts differ.
"""

from pathlib import Path

import torch
from transformers import RobertaPreLayerNormForMaskedLM

from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

_GROWING = ("roberta_prelayernorm.embeddings.word_embeddings.weight", "lm_head.bias")
"""Parameters with one row for each token id; the weights of the head are tied to the first."""


def continue_from(folder: Path, model: RobertaPreLayerNormForMaskedLM, vocabulary: Vocabulary) -> int:
    """Overwrite a new model's weights with those of a checkpoint. Returns the number of tokens that it did not know.

    Raises UserError when the checkpoint is torn, or its vocabulary did not grow into this one.
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
