"""Fine-tune the encoder for tasks: `python -m ehr_pipeline.predictions.tuning --job job.json`, alone or under torchrun.

For each task, head and sample of labels (`tuning_inputs.write`), a process initialises the head, trains it, and writes log-odds for
the validation and the test set. Each process takes every N-th of these training runs, which are independent of each other, and
holds one set of weights in addition to the encoder's. The same seed gives the same log-odds on a CPU, whatever else is trained.

With at least `FEWEST_TO_CHOOSE` cases and as many non-cases, the number of epochs is chosen first, by the loss on a held-out fifth
of the sample's patients. Then the model is trained on the whole sample. With 0 epochs, it stays at its initial values.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from ehr_pipeline.embeddings.embedding_job import EncoderJob, Inference
from ehr_pipeline.embeddings.pooling import load
from ehr_pipeline.encoder.devices import process_group, repeatable
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.errors import UserError
from ehr_pipeline.patients.histories import cut
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.predictions import tuned_weights
from ehr_pipeline.predictions.heads import Floats, Part, Start, Tuned, fitted_start, freeze, parts
from ehr_pipeline.predictions.models import HEADS
from ehr_pipeline.predictions.query_at_mask import laid
from ehr_pipeline.predictions.settings import FineTuning
from ehr_pipeline.predictions.tuning_files import InitialHead, Task, TaskSamples, effort, save
from ehr_pipeline.work import jobs
from ehr_pipeline.work.progress import Progress

CLIP_NORM = 1.0


@dataclass(frozen=True, kw_only=True)
class TuningJob(EncoderJob):
    """Job that fine-tunes for the tasks whose files are in the folder `work`."""

    module: ClassVar[str] = "ehr_pipeline.predictions.tuning"
    tokens_before: int
    fine_tuning: FineTuning


def run(job: TuningJob) -> None:
    """Train, and write log-odds. Raises UserError for more frozen layers than there are, and for a loss that is not finite."""
    with process_group(job.threads, job.needs_gpu) as device, repeatable(device):
        encoder, how = load(job, device)
        freeze(encoder, job.fine_tuning.frozen_layers)
        tasks = Task.all(job.work)
        planned = [(task, head, which) for task in tasks for head in task.heads for which in range(task.samples)]
        mine = [each for number, each in enumerate(planned) if number % jobs.world_size() == jobs.rank()]
        progress = Progress("fine-tuning", sum(_effort(task, which, job.fine_tuning) for task, _, which in mine))
        for task, head, owns in _grouped(mine):
            data = task.read()
            histories = _histories(job, data, encoder.stock.config.vocab_size, how, mask=head != "sum")
            tuned = Tuned(encoder, head, data.tokens, stops=data.stops, precision=how.precision)
            seed = _seed(job.seed, task.name, head)
            training = _Training(tuned, histories, data, how=how, settings=job.fine_tuning, seed=seed)
            for which in owns:
                if not (path := task.answer(head, which)).is_file():  # it may exist if processes were restarted
                    kept = task.weights(head) if job.fine_tuning.keep_weights and which == task.samples - 1 else None
                    save(path, training.answered(which, kept))
                progress.advance(
                    _effort(task, which, job.fine_tuning), f"{task.name}: {head}, {task.description(which)}"
                )


def _grouped(planned: list[tuple[Task, str, int]]) -> Iterator[tuple[Task, str, list[int]]]:
    """Yield the training runs with the same task and head together: the task, the head, and the numbers of their samples."""
    for task, head in dict.fromkeys((task, head) for task, head, _ in planned):
        yield task, head, [number for each, other, number in planned if (each, other) == (task, head)]


def _effort(task: Task, sample: int, how: FineTuning) -> float:
    return effort(task.judged, task.sizes[sample], how.epochs, chooses=task.choose[sample])


def _seed(seed: int, task: str, head: str) -> list[int]:
    """Return a seed made from the task's name, not its number, so a task's models do not change when other tasks are added."""
    return [seed, zlib.crc32(task.encode()), HEADS.index(head)]


def _histories(job: TuningJob, data: TaskSamples, size: int, how: Inference, *, mask: bool) -> Sequences:
    """Return the histories of a task, each as one chunk, in the order of its rows."""
    paths, shards, days = sorted(job.dataset.glob("[!.]*.arrow")), [], []
    for number in np.unique(data.shard).tolist():
        in_shard = data.shard == number
        whole = Shard.read(paths[number]).below(size)
        shards.append(cut(whole, data.row[in_shard], data.first[in_shard], data.last[in_shard]))
        days.append(data.query_day[in_shard])
    return laid(shards, days, how, job.tokens_before, mask=mask)


class _Training:
    """The training runs of one head for one task."""

    def __init__(
        self,
        tuned: Tuned,
        histories: Sequences,
        data: TaskSamples,
        *,
        how: Inference,
        settings: FineTuning,
        seed: list[int],
    ):
        self.tuned, self.histories, self.data = tuned, histories, data
        self.how, self.settings, self.seed = how, settings, seed
        self.before = {name: each.detach().clone() for name, each in tuned.named_parameters() if each.requires_grad}
        self.plain: Floats | None = None
        """For the heads sum and mask: the encoder's own s (n,) on the training rows, before fine-tuning."""

    def answered(self, number: int, kept: Path | None = None) -> Floats:
        """Train on one sample of labels. Returns the log-odds (n,) of the task's rows; NaN in the training set.

        `kept`: the file for the weights; None if they are not kept.
        """
        sample = self.data.sample(number)
        epochs = self.settings.epochs
        if sample.kept is not None and epochs:
            epochs = self._best(sample, number)
        self._learn(sample, number, epochs)
        log_odds = np.full(len(self.data.row), np.nan)
        judged = self.data.judged
        log_odds[judged] = (
            self.tuned.odds(self.histories, judged, self.how) + self._offset(sample, judged) + sample.shift
        )
        if kept:
            fixed = sample.history if self.tuned.head == "classifier" else np.zeros(1)
            tuned_weights.save(kept, self.tuned, self.before, np.append(fixed[:-1], fixed[-1] + sample.shift))
        self._restore()
        return log_odds

    def _best(self, sample: InitialHead, number: int) -> int:
        """Return the number of epochs after which the loss on the held-out patients is lowest."""
        assert sample.kept is not None
        learned, held, losses = sample.part(sample.kept), sample.part(~sample.kept), []
        for _ in self._epochs(learned, number, self.settings.epochs):
            odds = self.tuned.odds(self.histories, held.rows, self.how) + self._offset(learned, held.rows)
            losses.append(float(held.weight @ np.logaddexp(0, np.where(held.label, -odds, odds))))
        return int(np.argmin(losses))

    def _learn(self, sample: InitialHead, number: int, epochs: int) -> None:
        for _ in self._epochs(sample, number, epochs):
            pass

    def _epochs(self, sample: InitialHead, number: int, epochs: int) -> Iterator[None]:
        """Train from the initial values; yield before the first epoch and after each epoch."""
        self._restore()
        self.tuned.begin(self._start(sample))
        yield
        updater = torch.optim.Adam(self.tuned.trained(), lr=self.settings.learning_rate, betas=(0.9, 0.98), eps=1e-6)
        batch = self.settings.batch
        in_epoch = -(-len(sample.rows) // batch)
        offset = torch.from_numpy(self._offset(sample, sample.rows)).float()
        for epoch in range(epochs):
            order = np.random.default_rng([*self.seed, number, epoch]).permutation(len(sample.rows))
            for update in range(in_epoch):
                step = epoch * in_epoch + update
                torch.manual_seed(int(np.random.SeedSequence([*self.seed, number, step]).generate_state(1)[0]))
                for group in updater.param_groups:
                    group["lr"] = self.settings.learning_rate * rate(step, in_epoch * self.settings.epochs)
                chosen = np.sort(order[update * batch : (update + 1) * batch])
                self._update(sample, chosen, offset, updater)
            yield

    def _update(
        self, sample: InitialHead, chosen: NDArray[np.int64], offset: torch.Tensor, updater: torch.optim.Optimizer
    ) -> None:
        """Make one update on some rows of the sample. The loss is the weighted mean of their cross-entropies."""
        self.tuned.train()
        mean = float(sample.weight.mean())
        total = 0.0
        for part in parts(self.histories, sample.rows[chosen], self.how, self.tuned.tokens.device):
            place = np.searchsorted(sample.rows, part.rows)
            loss = part_loss(self.tuned, part, sample, place, offset) / (mean * len(chosen))
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        norm = nn.utils.clip_grad_norm_(self.tuned.trained(), CLIP_NORM)
        if not (math.isfinite(total) and math.isfinite(float(norm))):
            raise UserError(
                f"The loss of fine-tuning {self.tuned.head!r} is not finite. Lower predictions.fine_tuning.learning_rate."
            )
        updater.step()
        updater.zero_grad(set_to_none=True)

    def _start(self, sample: InitialHead) -> Start:
        if self.tuned.head == "classifier":
            return Start(sample.weights, 0.0, 0.0)
        if self.plain is None:
            self.tuned.begin(Start(np.zeros(0), 0.0, 0.0))
            self.plain = np.full(len(self.data.row), np.nan)
            self.plain[self.data.fitted] = self.tuned.odds(self.histories, self.data.fitted, self.how)
        return fitted_start(self.plain[sample.rows], sample.label, sample.weight)

    def _offset(self, sample: InitialHead, rows: NDArray[np.int64]) -> Floats:
        return sample.offset[rows] if self.tuned.head == "classifier" else np.zeros(len(rows))

    @torch.no_grad()
    def _restore(self) -> None:
        for each, before in zip(self.tuned.trained(), self.before.values(), strict=True):
            each.copy_(before)


def part_loss(
    tuned: Tuned, part: Part, sample: InitialHead, place: NDArray[np.int64], offset: torch.Tensor
) -> torch.Tensor:
    """Return the weighted sum of the cross-entropies of a part's histories. `place` (B,) has their indices in the sample."""
    device = tuned.tokens.device
    label = torch.from_numpy(sample.label[place]).float().to(device)
    weight = torch.from_numpy(sample.weight[place]).float().to(device)
    odds = tuned(part) + offset[torch.from_numpy(place)].to(device)
    return F.binary_cross_entropy_with_logits(odds, label, weight, reduction="sum")


def rate(step: int, steps: int) -> float:
    """Return the factor on the learning rate at an update: it rises over the first tenth of all updates, then falls to 0."""
    rising = max(steps // 10, 1)
    if step < rising:
        return (step + 1) / rising
    return (steps - step) / max(steps - rising, 1)


if __name__ == "__main__":
    jobs.main(run)
