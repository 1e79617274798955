"""Update the weights by AdamW with a schedule, in the same way for any number of processes and micro-batches."""

import inspect
import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ehr_pipeline.encoder.devices import autocast
from ehr_pipeline.encoder.loader import Update
from ehr_pipeline.encoder.parallel_update import UpdateThreads
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.work import jobs


def warm_up(steps: int, settings: EncoderSettings) -> int:
    """Return the number of warm-up updates: at most a tenth of all, or a short training run would end during its warm-up."""
    return min(settings.warmup_steps, steps // 10)


def learning_rate(step: int, steps: int, settings: EncoderSettings) -> float:
    """Return the learning rate: linear warm-up, then a cosine from the peak to a tenth at the last possible update."""
    rising = warm_up(steps, settings)
    if step < rising:
        return settings.learning_rate * (step + 1) / rising
    share = min((step - rising) / max(steps - rising, 1), 1.0)
    return settings.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


class _AdamW(torch.optim.AdamW):
    """torch's AdamW without the wrappers that hide these methods from torch.compile: each wrapper imports the whole compiler, which
    takes over a second, and the optimizer is never compiled here."""

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


def optimizer_of(model: torch.nn.Module, settings: EncoderSettings) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov 2019) with weight decay for matrices, but not for biases, norms or embeddings.

    Frozen parameters are left out, since weight decay would change them too.
    """
    learning = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [p for name, p in learning if p.ndim > 1 and "embeddings" not in name]
    others = [p for name, p in learning if p.ndim <= 1 or "embeddings" in name]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return _AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=True)


@dataclass(frozen=True)
class UpdateResult:
    """The result of an update, over all processes."""

    loss: float
    """Sum of the losses of all predictions."""
    targets: int
    """Number of predictions."""
    finite: bool
    """Whether loss and gradients are finite; if not, no weight was changed."""


def gradients(
    model: torch.nn.Module, update: Update, device: torch.device, precision: str, threads: UpdateThreads | None = None
) -> Tensor:
    """Compute the gradients of an update's summed loss. Returns that sum and the number of predictions (2,), over all processes.

    For a weighted sum, each loss counts by its mean over the update, and the sum of these means is returned as if it were one
    prediction.

    The results stay on the device, and nothing here waits for the device, so a GPU always has queued work. Under
    DistributedDataParallel each gradient is the mean, over processes, of the gradients of their sums. `threads` compute parts at
    the same time.
    """
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    divisors_K = _divisors(update, device) if update.parts[0].counts else None
    for loss in threads.gradients(model, update.parts, precision, divisors_K) if threads else ():
        loss_sum += loss
    for number, part in enumerate(() if threads else update.parts, start=1):
        waits = isinstance(model, DistributedDataParallel) and number < len(update.parts)
        with model.no_sync() if waits else nullcontext():  # type: ignore[operator]
            with autocast(device, precision):
                loss = model(*part.tensors(device))
            if divisors_K is not None:
                loss = (loss / divisors_K).sum()
            loss.backward()
        loss_sum += loss.detach()
    targets = sum(part.count for part in update.parts) if divisors_K is None else 1 if jobs.rank() == 0 else 0
    total = torch.stack([loss_sum, torch.full_like(loss_sum, targets)])
    if jobs.world_size() > 1:
        torch.distributed.all_reduce(total)
    return total


def _divisors(update: Update, device: torch.device) -> Tensor:
    """Return the number of predictions of each loss (K,) of a weighted sum in an update, over all processes; at least 1."""
    counts = [sum(each) for each in zip(*(part.counts for part in update.parts), strict=True)]
    totals = torch.stack([torch.full((), count, dtype=torch.float32, device=device) for count in counts])
    if jobs.world_size() > 1:
        torch.distributed.all_reduce(totals)
    return totals.clamp(min=1)


def step(
    model: torch.nn.Module, optimizer: torch.optim.AdamW, total: Tensor, rate: float, settings: EncoderSettings
) -> UpdateResult:
    """Update the weights with the gradients and the `total` from `gradients`. If these are not finite, nothing changes.

    A loss is a mean over all its predictions in an update, never a mean of means. The one division is done here, together with
    clipping, so each gradient is read and written only once. All values needed from the device are read at once, so
    the host waits for the device only once in an update.
    """
    gradients_ = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    loss, targets, length = torch.cat([total, torch.nn.utils.get_total_norm(gradients_).to(total).view(1)]).tolist()
    scale = jobs.world_size() / max(targets, 1)
    norm = length * scale
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return UpdateResult(loss, int(targets), finite=False)
    torch._foreach_mul_(gradients_, scale * min(1.0, settings.clip_norm / (norm + 1e-6)))
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return UpdateResult(loss, int(targets), finite=True)
