"""Compute the vocabulary head's loss: softmax cross-entropy whose gradient takes the place of the logits.

The logits (M, V) are the largest array in training. The usual implementation writes three such arrays: logits, log-softmax and
gradient. On a CPU a single array is converted in place, so only a third of that memory is touched. On a GPU the head is computed
for some thousands of tokens at a time, with their gradients (as in Hsu et al. 2024, 'Liger Kernel: Efficient Triton Kernels for LLM
Training'). There the logits stay in the precision of the products, and torch.compile fuses everything between the products into one
kernel, which reads the logits twice and writes the gradient once. Statistics are always in float32.

A target of NO_TARGET marks a place without a prediction; it does not count. Axes: M chosen tokens, D hidden size, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ehr_pipeline.encoder.devices import as_written, product_dtype

NO_TARGET = -1
CHUNK = 4096
"""Largest number of tokens whose logits exist at the same time on a GPU: 0.3 GB at 36,000 concepts in bfloat16."""
ALIGNED = 64
"""On a GPU the vocabulary is padded to a multiple of this, because the fastest products need rows at aligned addresses."""

Shares = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class _InPlace(torch.autograd.Function):
    """Sum over the chosen tokens of -log softmax(hidden weightᵀ + bias)[target], for a CPU."""

    @staticmethod
    def forward(ctx: Any, hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor, targets_M: Tensor) -> Tensor:
        low = product_dtype(hidden_MD)
        hidden, weight = hidden_MD.to(low), weight_VD.to(low)
        with as_written(hidden_MD):
            if low == bias_V.dtype:
                scores_MV = torch.addmm(bias_V, hidden, weight.t())
            else:
                scores_MV = (hidden @ weight.t()).to(bias_V.dtype).add_(bias_V)
            best_M1 = scores_MV.amax(1, keepdim=True)
            counts_M1 = (targets_M != NO_TARGET)[:, None]
            aims_M1 = targets_M.clamp(min=0)[:, None]
            aimed_M1 = scores_MV.gather(1, aims_M1)
            shares_MV = scores_MV.sub_(best_M1).exp_()
            total_M1 = shares_MV.sum(1, keepdim=True)
            loss = ((total_M1.log() + best_M1 - aimed_M1) * counts_M1).sum()
            # total × (softmax - 1 at the target, 0 elsewhere): `backward` divides by the total on the far smaller arrays (M, D).
            shares_MV.scatter_(1, aims_M1, shares_MV.gather(1, aims_M1) - total_M1)
            ctx.save_for_backward(shares_MV.to(low), total_M1, counts_M1, hidden, weight)
            ctx.kinds = (hidden_MD.dtype, weight_VD.dtype)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        shares_MV, total_M1, counts_M1, hidden, weight = ctx.saved_tensors
        hidden_kind, weight_kind = ctx.kinds
        factor_M1 = gradients[0] / total_M1 * counts_M1
        to_hidden = (shares_MV @ weight).to(hidden_kind) * factor_M1.to(hidden_kind)
        scaled = (hidden * factor_M1).to(shares_MV.dtype)
        to_weight = (shares_MV.t() @ scaled).to(weight_kind)
        to_bias = (shares_MV.t() @ factor_M1.to(shares_MV.dtype)).squeeze(1).to(weight_kind)
        return to_hidden, to_weight, to_bias, None


def shares(scores_MV: Tensor, bias_V: Tensor, targets_M: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses (M,) for logits given without bias, and the gradient (M, V) of the summed loss with respect to the logits,
    in the type of the logits."""
    scores = scores_MV.float() + bias_V
    best_M1 = scores.amax(1, keepdim=True)
    total_M1 = (scores - best_M1).exp().sum(1, keepdim=True).log() + best_M1
    aims_M1 = targets_M[:, None]
    counts_M1 = aims_M1 != NO_TARGET
    losses_M1 = (total_M1 - scores.gather(1, aims_M1.clamp(min=0))) * counts_M1
    aimed_MV = torch.arange(scores.shape[1], device=scores.device) == aims_M1
    gradient_MV = ((scores - total_M1).exp() - aimed_MV.float()) * counts_M1
    return losses_M1[:, 0], gradient_MV.to(scores_MV.dtype)


class _InChunks(torch.autograd.Function):
    """The same loss for a GPU: gradients are computed together with the loss, for at most CHUNK tokens at a time."""

    @staticmethod
    def forward(
        ctx: Any, hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor, targets_M: Tensor, shares: Shares
    ) -> Tensor:
        low, size = product_dtype(hidden_MD), len(bias_V)
        with as_written(hidden_MD):
            weight = F.pad(weight_VD.to(low), (0, 0, 0, -size % ALIGNED))
            bias = F.pad(bias_V.float(), (0, -size % ALIGNED), value=-torch.inf)
            hidden, rows = hidden_MD.to(low), _chunk(len(targets_M))
            losses, to_hidden = [], []
            to_weight, to_bias = torch.zeros_like(weight, dtype=torch.float32), torch.zeros_like(bias)
            for part, targets in zip(torch.split(hidden, rows), torch.split(targets_M, rows), strict=True):
                losses_M, gradient_MV = shares(part @ weight.t(), bias, targets)
                losses.append(losses_M.sum())
                to_hidden.append(gradient_MV @ weight)
                to_weight += gradient_MV.t() @ part
                to_bias += gradient_MV.sum(0, dtype=torch.float32)
            ctx.save_for_backward(torch.cat(to_hidden), to_weight[:size], to_bias[:size])
            ctx.kinds = (hidden_MD.dtype, weight_VD.dtype, bias_V.dtype)
            return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        scaled = (gradients[0].to(each.dtype) * each for each in ctx.saved_tensors)
        return (*(each.to(kind) for each, kind in zip(scaled, ctx.kinds, strict=True)), None, None)


def _chunk(tokens: int) -> int:
    """Return how many tokens to take at a time: as few chunks as possible, all of nearly the same size."""
    chunks = max(-(-tokens // CHUNK), 1)
    return max(-(-tokens // (chunks * ALIGNED)) * ALIGNED, 1)


def cross_entropy(
    hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor, targets_M: Tensor, shares: Shares = shares
) -> Tensor:
    """Return the summed cross-entropy, a float32 scalar, like `F.cross_entropy(…, reduction="sum")` on the scores of a linear head.

    Under autocast, matrix products use its precision, and everything between them uses the precision of the bias. `shares` is
    the function of this name, possibly compiled; it is used only on GPUs.
    """
    arrays = (hidden_MD, weight_VD, bias_V, targets_M)
    loss: Tensor = _InPlace.apply(*arrays) if hidden_MD.device.type == "cpu" else _InChunks.apply(*arrays, shares)  # type: ignore[no-untyped-call]
    return loss
