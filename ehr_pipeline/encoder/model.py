"""Run the encoder: the weights of a stock `RobertaPreLayerNormForMaskedLM` (`roberta_weights.py`), computed on packed rows.

It computes the same as the stock class; a test compares logits, loss and gradients. Axes: R rows, T token slots, D hidden size, H
heads, M chosen tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ehr_pipeline.encoder import softmax
from ehr_pipeline.encoder.configuration import CAUSAL_MODEL_TYPE, ModelConfig, model_type_for
from ehr_pipeline.encoder.devices import as_written, product_dtype
from ehr_pipeline.encoder.roberta_weights import StockWeights
from ehr_pipeline.encoder.settings import EncoderSettings

SCORES_AT_A_TIME = 1 << 20
"""Attention scores computed at a time in bfloat16 on a CPU without gradients: 2 MB, which fit into a processor's cache."""


def config_for(settings: EncoderSettings, vocabulary_size: int, vocabulary_hash: str) -> ModelConfig:
    """Return the configuration of the stock class, with the further values that a user of the checkpoint must match."""
    return ModelConfig(
        vocab_size=vocabulary_size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=settings.feed_forward,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.attention_dropout,
        max_position_embeddings=settings.max_positions,
        vocabulary_hash=vocabulary_hash,
        age_unit=settings.age_unit,
        context=settings.context,
        precision=settings.precision,
        model_type=model_type_for(settings.objective),
    )


def new_model(config: ModelConfig, seed: int) -> StockWeights:
    """Return a model with new weights, which depend only on configuration and seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return StockWeights(config)


class PackedEncoder(nn.Module):
    """Runs a stock model's weights on packed rows. For training it also has an objective (`encoder.objectives`)."""

    def __init__(self, stock: StockWeights, objective: nn.Module | None = None):
        super().__init__()
        self.stock, self.objective = stock, objective
        self.is_causal = stock.config.model_type == CAUSAL_MODEL_TYPE
        """Whether a token sees only its own and earlier visits (`encoder.causal_model`), or the whole segment."""
        self.layers: Any = self.hidden
        self.shares: Any = softmax.shares

    def compile_layers(self) -> None:
        """Fuse the operations between matrix products with torch.compile: one graph for the layers, and one for the head
        (`softmax`).

        The layers are compiled for the shape of the first micro-batch; with `loader.Plan.fixed`, all micro-batches have that shape.
        """
        torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled())  # tells the compiler too
        self.layers = torch.compile(self.hidden, dynamic=None)
        self.shares = torch.compile(softmax.shares, dynamic=True)

    def hidden(
        self,
        tokens_RT: Tensor,
        positions_RT: Tensor,
        segments_RT: Tensor,
        chosen_M: Tensor | None = None,
        order_RT: Tensor | None = None,
    ) -> Tensor:
        """Return the final hidden states (R, T, D), or (M, D) of chosen places only (indices into the flattened R × T).

        A token attends only to tokens in its own segment. In a causal encoder, it attends only to its own and earlier visits;
        `order_RT` says which these are (see `visibility`). Other encoders do not need `order_RT`. With chosen places, the last
        layer computes keys and values of all tokens, but everything else only for chosen ones (on a GPU also queries and attention
        of all): the result is the same.
        """
        base: Any = self.stock.roberta_prelayernorm
        embeddings = base.embeddings
        x_RTD = (
            embeddings.word_embeddings(tokens_RT)
            + embeddings.token_type_embeddings.weight[0]
            + embeddings.position_embeddings(positions_RT)
        )
        x_RTD = embeddings.dropout(embeddings.LayerNorm(x_RTD))
        if self.is_causal and order_RT is None:
            raise ValueError("an encoder that looks back needs the order of visits")
        # On a GPU, attention casts this term to the precision of its products; so the term is made in that precision, once for all
        # layers.
        kind = product_dtype(x_RTD) if x_RTD.device.type == "cuda" else x_RTD.dtype
        bias_R1TT = visibility(segments_RT, kind, order_RT if self.is_causal else None)
        *layers, last = base.encoder.layer
        for layer in layers:
            x_RTD = _feed_forward(layer, self._attention(layer.attention, x_RTD, bias_R1TT, None))
        hidden: Tensor = base.LayerNorm(
            _feed_forward(last, self._attention(last.attention, x_RTD, bias_R1TT, chosen_M))
        )
        return hidden

    def _attention(self, attention: Any, x_RTD: Tensor, bias_R1TT: Tensor, chosen_M: Tensor | None) -> Tensor:
        layers, width = attention.self, x_RTD.shape[2]
        normed_RTD = attention.LayerNorm(x_RTD)
        places_M = chosen_M
        if chosen_M is None or not _shapes_may_vary(x_RTD):
            query, key, value = self._heads(normed_RTD, layers.query, layers.key, layers.value)
        else:
            rows = _Rows.of(chosen_M, x_RTD)
            key, value = self._heads(normed_RTD, layers.key, layers.value)
            (query,) = self._heads(rows.filled(normed_RTD), layers.query)
            bias_R1TT, places_M = rows.filled(bias_R1TT[:, 0]).unsqueeze(1), rows.places_M
        mixed = attend(query, key, value, bias_R1TT, layers.dropout.p if self.training else 0.0)
        mixed = mixed.transpose(1, 2).reshape(-1, width)
        if chosen_M is not None and places_M is not None:
            mixed, x_RTD = mixed.index_select(0, places_M), x_RTD.reshape(-1, width).index_select(0, chosen_M)
        out: Tensor = x_RTD + attention.output.dropout(attention.output.dense(mixed.view_as(x_RTD)))
        return out

    def _heads(self, x_RTD: Tensor, *linear: Any) -> Tensor:
        """Return some linear layers of hidden states, by layer and head (L, R, H, T, d)."""
        # One product instead of several: the weights are joined here, and are separate in the checkpoint.
        weight, bias = (torch.cat([getattr(each, name) for each in linear]) for name in ("weight", "bias"))
        outputs = F.linear(x_RTD, weight, bias)
        return outputs.view(*x_RTD.shape[:2], len(linear), self.stock.config.num_attention_heads, -1).permute(
            2, 0, 3, 1, 4
        )

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Return scores (M, V) of every token id for some hidden states (M, D)."""
        return self.stock.logits(hidden_MD)

    def forward(self, *arrays: Tensor) -> Tensor:
        """Return the objective's summed loss on a part; the caller divides by the predictions of all processes."""
        assert self.objective is not None
        loss: Tensor = self.objective(self, *arrays)
        return loss


@dataclass(frozen=True)
class _Rows:
    """The chosen places of each row, moved into K slots; K is the largest number in a row, so most rows end in empty slots."""

    chosen_M: Tensor
    """Indices into the flattened R × T."""
    places_M: Tensor
    """The chosen places as indices into the flattened R × K."""
    shape: tuple[int, int]

    @classmethod
    def of(cls, chosen_M: Tensor, x_RTD: Tensor) -> "_Rows":
        """Arrange the chosen places of R rows of T slots."""
        rows, slots, _ = x_RTD.shape
        row_M = torch.div(chosen_M, slots, rounding_mode="floor")
        counts_R = torch.bincount(row_M, minlength=rows)
        most = max(int(counts_R.max()), 1)
        order_M = row_M.argsort(stable=True)  # padding comes last, and repeats the first place
        in_row_M = torch.empty_like(row_M)
        in_row_M[order_M] = torch.arange(len(row_M)) - (counts_R.cumsum(0) - counts_R)[row_M[order_M]]
        return cls(chosen_M, row_M * most + in_row_M, (rows, most))

    def filled(self, values_RTX: Tensor) -> Tensor:
        """Return the values (R, K, X) in the chosen places; 0 in empty slots."""
        width = values_RTX.shape[2]
        values_MX = values_RTX.reshape(-1, width).index_select(0, self.chosen_M)
        empty = values_MX.new_zeros(self.shape[0] * self.shape[1], width)
        return empty.index_copy(0, self.places_M, values_MX).view(*self.shape, width)


def _shapes_may_vary(x: Tensor) -> bool:
    """Return whether shapes may depend on values: not on a GPU, whose host would have to wait for them, nor in compiled code."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def attend(query_RHTd: Tensor, key_RHTd: Tensor, value_RHTd: Tensor, bias_R1TT: Tensor, dropout: float) -> Tensor:
    """Return the means of the values (R, H, T, d), weighted by attention.

    In bfloat16 on a CPU, torch's fused attention takes 1.5 times as long as plain products, and two to six times as long with
    gradients. So plain products are used there; without gradients, for as many rows at a time as the processor's cache holds.
    """
    if query_RHTd.device.type != "cpu" or query_RHTd.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query_RHTd, key_RHTd, value_RHTd, attn_mask=bias_R1TT, dropout_p=dropout)
    if query_RHTd.requires_grad:
        return _attend_by_products(query_RHTd, key_RHTd, value_RHTd, bias_R1TT, dropout)
    a_row = query_RHTd[0, ..., 0].numel() * key_RHTd.shape[2]
    size = max(SCORES_AT_A_TIME // a_row, 1)
    groups = [slice(begin, begin + size) for begin in range(0, len(query_RHTd), size)]
    return torch.cat(
        [_attend_by_products(query_RHTd[g], key_RHTd[g], value_RHTd[g], bias_R1TT[g], dropout) for g in groups]
    )


def _attend_by_products(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, dropout: float) -> Tensor:
    with as_written(query):  # autocast would widen the weights to float32
        scores_RHTT = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        scores_RHTT += bias.to(scores_RHTT.dtype)  # in place: the largest array of a layer
        return F.dropout(torch.softmax(scores_RHTT, -1), dropout) @ value


def visibility(segments_RT: Tensor, dtype: torch.dtype, order_RT: Tensor | None = None) -> Tensor:
    """Return the term added to attention scores (R, 1, T, T): 0 within a segment, minus infinity between segments.

    With `order_RT`, a token does not see tokens of a higher order than its own. The order is 2v + 1 for a token in visit v, and 2v
    for a mask that stands before visit v and predicts it. A mask is seen only by itself.
    """
    apart_RTT = segments_RT[:, :, None] != segments_RT[:, None, :]
    if order_RT is not None:
        seen, asking = order_RT[:, None, :], order_RT[:, :, None]
        apart_RTT |= (seen > asking) | ((seen < asking) & (seen % 2 == 0))
    return torch.zeros_like(apart_RTT, dtype=dtype).masked_fill_(apart_RTT, -torch.inf).unsqueeze(1)


def _feed_forward(layer: Any, x: Tensor) -> Tensor:
    inner = layer.intermediate
    middle = F.gelu(inner.dense(inner.LayerNorm(x)))
    out: Tensor = x + layer.output.dropout(layer.output.dense(middle))
    return out


def parameter_count(model: nn.Module) -> int:
    """Return the number of trained values; tied weights count once."""
    return sum(parameter.numel() for parameter in model.parameters())
