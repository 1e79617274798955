"""The weights of the stock class `RobertaPreLayerNormForMaskedLM` of transformers, under its names but without its code.

Importing the stock class takes several seconds in every process, and the encoder computes on packed rows anyway (`model.py`).
Tests show that the same seed gives the weights of the stock class bit for bit, and that a saved folder has the same bytes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ehr_pipeline.encoder.configuration import ModelConfig


class StockWeights(nn.Module):
    """The parameters of the stock class, drawn from torch's generator in the same order; on the device `meta` nothing is drawn."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.roberta_prelayernorm = _parts(
            embeddings=_embeddings(config),
            encoder=_parts(layer=nn.ModuleList(_layer(config) for _ in range(config.num_hidden_layers))),
            LayerNorm=_norm(config),
        )
        _draw(self.roberta_prelayernorm, config)
        width = config.hidden_size
        self.lm_head = _parts(dense=nn.Linear(width, width), layer_norm=_norm(config))
        # The stock class draws weights of an output layer too, before it ties them to the embeddings.
        nn.Linear(width, config.vocab_size, device=self.token_vectors.device)
        self.lm_head.bias = nn.Parameter(torch.zeros(config.vocab_size))
        _draw(self.lm_head, config)

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return self.token_vectors.device

    @property
    def token_vectors(self) -> nn.Parameter:
        """The input vectors (V, D) of the token ids, which are also the weights of the output."""
        base: Any = self.roberta_prelayernorm
        vectors: nn.Parameter = base.embeddings.word_embeddings.weight
        return vectors

    def features(self, hidden_MD: Tensor) -> Tensor:
        """Return the input of the output layer (M, D), from hidden states (M, D)."""
        head: Any = self.lm_head
        features: Tensor = head.layer_norm(F.gelu(head.dense(hidden_MD)))
        return features

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Return the scores (M, V) of every token id, from hidden states (M, D)."""
        return F.linear(self.features(hidden_MD), self.token_vectors, self.output_bias)

    @property
    def output_bias(self) -> nn.Parameter:
        """The bias (V,) of the output layer."""
        bias: Any = self.lm_head.bias
        parameter: nn.Parameter = bias
        return parameter


def _parts(**modules: nn.Module) -> nn.Module:
    """Return a module that contains others by name, in this order."""
    whole = nn.Module()
    for name, module in modules.items():
        whole.add_module(name, module)
    return whole


def _norm(config: ModelConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


def _embeddings(config: ModelConfig) -> nn.Module:
    width, pad = config.hidden_size, config.pad_token_id
    return _parts(
        word_embeddings=nn.Embedding(config.vocab_size, width, padding_idx=pad),
        token_type_embeddings=nn.Embedding(config.type_vocab_size, width),
        LayerNorm=_norm(config),
        dropout=nn.Dropout(config.hidden_dropout_prob),
        position_embeddings=nn.Embedding(config.max_position_embeddings, width, padding_idx=pad),
    )


def _layer(config: ModelConfig) -> nn.Module:
    width, inner = config.hidden_size, config.intermediate_size
    products: dict[str, nn.Module] = {name: nn.Linear(width, width) for name in ("query", "key", "value")}
    products["dropout"] = nn.Dropout(config.attention_probs_dropout_prob)
    attention = {"self": _parts(**products), "output": _output(config, width), "LayerNorm": _norm(config)}
    return _parts(
        attention=_parts(**attention),
        intermediate=_parts(LayerNorm=_norm(config), dense=nn.Linear(width, inner)),
        output=_output(config, inner),
    )


def _output(config: ModelConfig, inner: int) -> nn.Module:
    return _parts(dense=nn.Linear(inner, config.hidden_size), dropout=nn.Dropout(config.hidden_dropout_prob))


@torch.no_grad()
def _draw(module: nn.Module, config: ModelConfig) -> None:
    """Draw the weights from a normal distribution, inner modules first; biases and the rows of padding are zero."""
    for one in module.modules():
        if isinstance(one, nn.Linear | nn.Embedding):
            nn.init.normal_(one.weight, 0.0, config.initializer_range)
        if isinstance(one, nn.Linear):
            nn.init.zeros_(one.bias)
        if isinstance(one, nn.Embedding) and one.padding_idx is not None:
            nn.init.zeros_(one.weight[one.padding_idx])
