"""The encoder: the weights of a stock `RobertaPreLayerNormForMaskedLM`, computed on packed rows, the head on chosen tokens only.

The mathematics is the stock class's; a test compares logits, loss and gradients. Axes: R rows, T token slots, D hidden size,
H heads, M chosen tokens, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import RobertaPreLayerNormConfig, RobertaPreLayerNormForMaskedLM

from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.vocabulary.table import PAD


def config_for(settings: EncoderSettings, vocabulary_size: int, vocabulary_hash: str) -> RobertaPreLayerNormConfig:
    """The configuration of the stock class. It carries what a reader of the checkpoint must match."""
    configuration: Any = RobertaPreLayerNormConfig  # it takes further names than its signature tells
    made: RobertaPreLayerNormConfig = configuration(
        vocab_size=vocabulary_size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=settings.feed_forward,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.attention_dropout,
        max_position_embeddings=settings.max_positions,
        type_vocab_size=1,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=None,
        vocabulary_hash=vocabulary_hash,
        age_unit=settings.age_unit,
        context=settings.context,
    )
    return made


def new_model(config: RobertaPreLayerNormConfig, seed: int) -> RobertaPreLayerNormForMaskedLM:
    """A model with fresh weights: a function of configuration and seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RobertaPreLayerNormForMaskedLM(config)


class PackedEncoder(nn.Module):
    """Runs a stock model's weights on packed rows."""

    def __init__(self, stock: RobertaPreLayerNormForMaskedLM):
        super().__init__()
        self.stock = stock

    def hidden(self, tokens_RT: Tensor, positions_RT: Tensor, segments_RT: Tensor) -> Tensor:
        """Final hidden states (R, T, D). A token attends to the tokens of its own segment only."""
        base: Any = self.stock.roberta_prelayernorm
        embeddings = base.embeddings
        x_RTD = (
            embeddings.word_embeddings(tokens_RT)
            + embeddings.token_type_embeddings.weight[0]
            + embeddings.position_embeddings(positions_RT)
        )
        x_RTD = embeddings.dropout(embeddings.LayerNorm(x_RTD))
        visible_R1TT = (segments_RT[:, :, None] == segments_RT[:, None, :]).unsqueeze(1)
        for layer in base.encoder.layer:
            x_RTD = x_RTD + self._attention(layer.attention, x_RTD, visible_R1TT)
            inner = layer.intermediate
            middle = inner.intermediate_act_fn(inner.dense(inner.LayerNorm(x_RTD)))
            x_RTD = x_RTD + layer.output.dropout(layer.output.dense(middle))
        hidden: Tensor = base.LayerNorm(x_RTD)
        return hidden

    def _attention(self, attention: Any, x_RTD: Tensor, visible_R1TT: Tensor) -> Tensor:
        own = attention.self
        rows, slots, width = x_RTD.shape
        # One product in place of three: the weights are joined here, and stay apart in the checkpoint.
        weight = torch.cat([own.query.weight, own.key.weight, own.value.weight])
        bias = torch.cat([own.query.bias, own.key.bias, own.value.bias])
        joined = F.linear(attention.LayerNorm(x_RTD), weight, bias).view(
            rows, slots, 3, own.num_attention_heads, own.attention_head_size
        )
        query, key, value = joined.permute(2, 0, 3, 1, 4)
        dropout = own.dropout.p if self.training else 0.0
        mixed_RHTd = F.scaled_dot_product_attention(query, key, value, attn_mask=visible_R1TT, dropout_p=dropout)
        mixed_RTD = mixed_RHTd.transpose(1, 2).reshape(rows, slots, width)
        out: Tensor = attention.output.dropout(attention.output.dense(mixed_RTD))
        return out

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Scores (M, V) of every token id for some hidden states (M, D)."""
        scores: Tensor = self.stock.lm_head(hidden_MD)
        return scores

    def forward(
        self, tokens_RT: Tensor, positions_RT: Tensor, segments_RT: Tensor, chosen_RT: Tensor, targets_M: Tensor
    ) -> Tensor:
        """Sum of the cross-entropy over the chosen tokens: the caller divides by their number over all processes."""
        hidden_MD = self.hidden(tokens_RT, positions_RT, segments_RT)[chosen_RT]
        return F.cross_entropy(self.logits(hidden_MD).float(), targets_M, reduction="sum")


def parameter_count(model: nn.Module) -> int:
    """Number of trained numbers; tied weights count once."""
    return sum(parameter.numel() for parameter in model.parameters())
