"""The vocabulary head's loss: softmax cross-entropy whose gradient overwrites the logits.

The logits (M, V) are the largest array of the whole training. The usual implementation writes three such arrays: logits,
log-softmax and gradient. Here a single array is converted in place, so only a third of that memory is touched.
Axes: M chosen tokens, D hidden size, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor


class _CrossEntropy(torch.autograd.Function):
    """Sum over the chosen tokens of -log softmax(hidden weightᵀ + bias)[target]."""

    @staticmethod
    def forward(ctx: Any, hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor, targets_M: Tensor) -> Tensor:
        device = hidden_MD.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_MD.dtype
        hidden, weight = hidden_MD.to(low), weight_VD.to(low)
        with torch.autocast(device, enabled=False):
            if low == bias_V.dtype:
                scores_MV = torch.addmm(bias_V, hidden, weight.t())
            else:
                scores_MV = (hidden @ weight.t()).to(bias_V.dtype).add_(bias_V)
            best_M1 = scores_MV.amax(1, keepdim=True)
            aims_M1 = targets_M[:, None]
            aimed_M1 = scores_MV.gather(1, aims_M1)
            shares_MV = scores_MV.sub_(best_M1).exp_()
            total_M1 = shares_MV.sum(1, keepdim=True)
            loss = (total_M1.log() + best_M1 - aimed_M1).sum()
            # total × (softmax - 1 at the target, 0 elsewhere): `backward` divides by the total on the far smaller arrays (M, D).
            shares_MV.scatter_(1, aims_M1, shares_MV.gather(1, aims_M1) - total_M1)
            ctx.save_for_backward(shares_MV.to(low), total_M1, hidden, weight)
            ctx.kinds = (hidden_MD.dtype, weight_VD.dtype)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        shares_MV, total_M1, hidden, weight = ctx.saved_tensors
        hidden_kind, weight_kind = ctx.kinds
        factor_M1 = gradients[0] / total_M1
        to_hidden = (shares_MV @ weight).to(hidden_kind) * factor_M1.to(hidden_kind)
        scaled = (hidden * factor_M1).to(shares_MV.dtype)
        to_weight = (shares_MV.t() @ scaled).to(weight_kind)
        to_bias = (shares_MV.t() @ factor_M1.to(shares_MV.dtype)).squeeze(1).to(weight_kind)
        return to_hidden, to_weight, to_bias, None


def cross_entropy(hidden_MD: Tensor, weight_VD: Tensor, bias_V: Tensor, targets_M: Tensor) -> Tensor:
    """Return the summed cross-entropy, a float32 scalar, like `F.cross_entropy(…, reduction="sum")` on the scores of a linear head.

    Under autocast, matrix products use its precision, and everything between them uses the precision of the bias.
    """
    loss: Tensor = _CrossEntropy.apply(hidden_MD, weight_VD, bias_V, targets_M)  # type: ignore[no-untyped-call]
    return loss
