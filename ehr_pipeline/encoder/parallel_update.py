"""Compute parts of an update at the same time: each thread computes whole parts, without sharing work with other threads.

The products of a small model are small. If threads shared each product, they would mostly wait for each other, at several hundred
places in an update. So a CPU's threads take whole parts instead, as processes do, but within one memory and without sending
anything. The gradients are summed in the order of the parts, so the same number of threads gives the same weights.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from ehr_pipeline.encoder.devices import autocast
from ehr_pipeline.encoder.objectives.base import Part
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.work import jobs

CPU = torch.device("cpu")
Result = TypeVar("Result")


@dataclass(frozen=True)
class UpdateThreads:
    """Threads that compute parts of updates."""

    threads: int
    pool: ThreadPoolExecutor

    def gradients(
        self, model: torch.nn.Module, parts: Sequence[Part], precision: str, divisors_K: Tensor | None
    ) -> Iterator[Tensor]:
        """Add the gradients of each part's summed loss to those of the model. Yields the losses, in the order of the parts."""
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]

        def one(part: Part) -> tuple[Tensor, tuple[Tensor | None, ...]]:
            with autocast(CPU, precision):
                loss: Tensor = model(*part.tensors(CPU))
            if divisors_K is not None:
                loss = (loss / divisors_K).sum()
            return loss.detach(), torch.autograd.grad(loss, learning, allow_unused=True)

        for loss, of_part in self.each(one, parts):
            for parameter, gradient in zip(learning, of_part, strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            yield loss

    def each(self, function: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
        """Yield the result of a function for each part, in order; at most as many parts as there are threads are computed ahead."""
        left = iter(parts)
        while some := list(islice(left, self.threads)):
            yield from self.pool.map(function, some)


@contextmanager
def side_by_side(settings: EncoderSettings, device: torch.device, compiled: bool) -> Iterator[UpdateThreads | None]:
    """Yield the threads of a training run; None if its parts are computed one after the other.

    They are computed one after the other on GPUs, for compiled models, with several processes, and with a single thread. The same
    holds with dropout, since all threads would draw from one generator in a varying order.
    """
    threads = torch.get_num_threads()
    dropout = settings.dropout or settings.attention_dropout
    if device.type != "cpu" or compiled or dropout or threads == 1 or jobs.world_size() > 1:
        yield None
        return
    torch.set_num_threads(1)  # this thread too: beside the others, each place where threads meet would wait for a core
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield UpdateThreads(threads, pool)
    finally:
        torch.set_num_threads(threads)
