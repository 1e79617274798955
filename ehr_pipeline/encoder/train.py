"""Train the encoder: `python -m ehr_pipeline.encoder.train --job job.json`, alone or under torchrun on N processes.

The story of a run, top to bottom: open the data, make the model, and until both losses are flat: an epoch of updates in an
order of its own, then the validation loss; the best epoch is what is kept. The same seed gives the same weights.

Job: dataset, split, vocabulary (folders), settings (of `EncoderSettings`), seed, threads, out (folder to fill).
Fills `checkpoint/` (weights, configuration, tokenizer), `metrics.json`, and `notes/progress.jsonl` (with times).
"""

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from ehr_pipeline import jobs
from ehr_pipeline.encoder import checkpoint, evaluate, masking, packing
from ehr_pipeline.encoder.devices import autocast, process_group
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model, parameter_count
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.errors import UserError
from ehr_pipeline.progress import duration
from ehr_pipeline.vocabulary.table import Vocabulary

_log = logging.getLogger("ehr_pipeline")
REPORT_SECONDS = 10.0


@dataclass
class Flatness:
    """Says when to stop: both losses improved by less than a share of themselves for some epochs in a row."""

    min_improvement: float
    patience: int
    best: tuple[float, float] = (math.inf, math.inf)
    flat_epochs: int = 0

    def stop_after(self, training_loss: float, validation_loss: float) -> bool:
        """Take the losses of an epoch; True when training should end."""
        losses = (training_loss, validation_loss)
        improved = [loss < best * (1 - self.min_improvement) for loss, best in zip(losses, self.best, strict=True)]
        self.best = (min(losses[0], self.best[0]), min(losses[1], self.best[1]))
        self.flat_epochs = 0 if any(improved) else self.flat_epochs + 1
        return self.flat_epochs >= self.patience


def learning_rate(step: int, steps: int, settings: EncoderSettings) -> float:
    """Linear warm-up, then a cosine from the peak to a tenth of it at the last possible update."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    share = min((step - settings.warmup_steps) / max(steps - settings.warmup_steps, 1), 1.0)
    return settings.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


def optimizer_of(model: torch.nn.Module, settings: EncoderSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov 2019) that decays matrices, but not biases, norms or embeddings."""
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and "embeddings" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim <= 1 or "embeddings" in name]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=True)


def run(job: jobs.Job) -> None:
    """Train as the job says. Raises UserError when a loss is not finite."""
    with process_group(job.get("threads", 0)) as device:
        _train(job, EncoderSettings(**job["settings"]), device)


def _train(job: jobs.Job, settings: EncoderSettings, device: torch.device) -> None:
    out, seed = Path(job["out"]), int(job["seed"])
    vocabulary = Vocabulary.read(Path(job["vocabulary"]))
    shape = (settings.context, settings.age_unit, settings.max_positions)
    training, validation = (
        Sequences.open(Path(job["dataset"]), *shape, split=Path(job["split"]), side=side)
        for side in ("train", "validation")
    )
    model = PackedEncoder(new_model(config_for(settings, vocabulary.size, vocabulary.hash), seed)).to(device)
    trained: torch.nn.Module = DistributedDataParallel(model) if jobs.world_size() > 1 else model
    optimizer = optimizer_of(model, settings)
    torch.manual_seed(seed + jobs.rank())  # dropout differs between processes
    counts = training.token_counts(vocabulary.size)
    baseline = evaluate.frequency_baseline(counts, validation, settings, vocabulary.size, seed)
    rows_per_step = max(settings.tokens_per_step // settings.context, jobs.world_size())
    steps_per_epoch = -(-training.token_count // (rows_per_step * settings.context))
    facts = {
        "parameters": parameter_count(model),
        "training_tokens": training.token_count,
        "validation_tokens": validation.token_count,
    }
    _log.info(
        "training %s parameters on %s tokens, %d updates an epoch",
        f"{facts['parameters']:,}",
        f"{facts['training_tokens']:,}",
        steps_per_epoch,
    )
    flatness = Flatness(settings.min_improvement, settings.patience)
    history: list[dict[str, Any]] = []
    best, step, clipped = math.inf, 0, 0
    (out / "notes").mkdir(parents=True, exist_ok=True)
    with (out / "notes" / "progress.jsonl").open("a", encoding="utf-8") as notes:
        reporter = _Reporter(notes, steps_per_epoch * settings.max_epochs)
        for epoch in range(settings.max_epochs):
            trained.train()
            total, masked_tokens = 0.0, 0
            for batch, masked in batches(training, settings, vocabulary.size, seed, epoch, rows_per_step):
                mine = slice(jobs.rank(), None, jobs.world_size())
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, steps_per_epoch * settings.max_epochs, settings)
                loss = _loss(trained, batch, masked, mine, device, settings.precision)
                value = loss.item()
                if not math.isfinite(value):
                    raise UserError(
                        f"The loss is not finite at update {step} of epoch {epoch + 1}; nothing was published."
                        " Lower encoder.learning_rate."
                    )
                # DDP takes the mean over processes of gradients; dividing the sum by all masked tokens of the step makes
                # the result independent of how the step was shared out.
                (loss * (jobs.world_size() / len(masked.targets))).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                total, masked_tokens, step = total + value, masked_tokens + int(masked.chosen_RT[mine].sum()), step + 1
                clipped += batch.clipped if epoch == 0 else 0
                reporter.update(epoch, step, batch.real_tokens, value / max(int(masked.chosen_RT[mine].sum()), 1))
            training_loss = _mean_over_processes(total, masked_tokens, device)
            scores = evaluate.evaluate(model, validation, settings, vocabulary.size, seed, device)
            history.append(
                {
                    "epoch": epoch + 1,
                    "updates": step,
                    "training_loss": training_loss,
                    **{f"validation_{k}": v for k, v in scores.as_dict().items()},
                }
            )
            _log.info(
                "epoch %d: training loss %.4f, validation loss %.4f, top-10 %.3f",
                epoch + 1,
                training_loss,
                scores.loss,
                scores.top10,
            )
            if scores.loss < best:
                best = scores.loss
                if jobs.rank() == 0:
                    checkpoint.save(out / "checkpoint", model.stock, vocabulary)
            if flatness.stop_after(training_loss, scores.loss):
                break
    if jobs.rank() == 0:
        metrics = {
            **facts,
            "vocabulary_hash": vocabulary.hash,
            "clipped_ages": clipped,
            "baseline": baseline.as_dict(),
            "epochs": history,
        }
        metrics["best"] = min(history, key=lambda row: row["validation_loss"])
        metrics["stopped_early"] = flatness.flat_epochs >= flatness.patience
        (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")


def batches(
    sequences: Sequences, settings: EncoderSettings, vocabulary_size: int, seed: int, epoch: int, rows: int
) -> Iterator[tuple[packing.Batch, masking.Masked]]:
    """The updates of an epoch: packed rows with fresh masks, a function of (seed, epoch) alone, the same on every process."""
    order = packing.order_of_epoch(len(sequences.chunks), seed, epoch)
    for number, group in enumerate(packing.group_rows(sequences, order, settings.context, rows)):
        batch = packing.build(sequences, group, settings.context)
        yield (
            batch,
            masking.mask(
                batch.tokens_RT,
                settings.mask_share,
                vocabulary_size,
                np.random.default_rng([seed, epoch, number, 0x3A5C]),
            ),
        )


def _loss(
    model: torch.nn.Module,
    batch: packing.Batch,
    masked: masking.Masked,
    mine: slice,
    device: torch.device,
    precision: str,
) -> torch.Tensor:
    """Summed loss of this process's rows."""
    owner = np.broadcast_to(np.arange(len(batch.tokens_RT))[:, None], batch.tokens_RT.shape)[masked.chosen_RT]
    targets = masked.targets[owner % jobs.world_size() == jobs.rank()]
    arrays = (
        masked.inputs_RT[mine],
        batch.positions_RT[mine],
        batch.segments_RT[mine],
        masked.chosen_RT[mine],
        targets,
    )
    with autocast(device, precision):
        loss: torch.Tensor = model(*(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays))
    return loss


def _mean_over_processes(total: float, count: int, device: torch.device) -> float:
    sums = torch.tensor([total, float(count)], dtype=torch.float64, device=device)
    if jobs.world_size() > 1:
        torch.distributed.all_reduce(sums)
    return float(sums[0] / sums[1])


class _Reporter:
    """A line in the log and in the notes every few seconds: loss, tokens per second, time left."""

    def __init__(self, notes: TextIO, steps: int):
        self.notes, self.steps = notes, steps
        self.start = self.last = time.monotonic()
        self.tokens = 0

    def update(self, epoch: int, step: int, tokens: int, loss: float) -> None:
        """Count the tokens of an update."""
        self.tokens += tokens
        now = time.monotonic()
        if now - self.last < REPORT_SECONDS or jobs.rank() != 0:
            return
        rate = self.tokens / (now - self.last)
        left = duration((now - self.start) / step * max(self.steps - step, 0))
        _log.info(
            "epoch %d, update %d: loss %.4f, %s tokens/s, at most %s left", epoch + 1, step, loss, f"{rate:,.0f}", left
        )
        self.notes.write(
            json.dumps(
                {
                    "epoch": epoch + 1,
                    "update": step,
                    "loss": loss,
                    "tokens_per_second": round(rate),
                    "seconds": round(now - self.start, 1),
                }
            )
            + "\n"
        )
        self.notes.flush()
        self.last, self.tokens = now, 0


if __name__ == "__main__":
    jobs.main(run)
