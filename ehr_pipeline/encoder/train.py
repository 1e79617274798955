"""Train the encoder: `python -m ehr_pipeline.encoder.train --job job.json`, alone or under torchrun on N processes.

A run opens the data, makes the model, and restores the last checkpoint if there is one. Then it repeats two steps until both losses
are flat: an epoch of updates, in an order drawn for this epoch, and the computation of the validation loss. The best epoch is kept.
The same seed gives the same weights on a CPU, even if the training run was killed and resumed in between.

The job writes `checkpoint/` (weights, configuration, tokenizer, model card), `metrics.json`, and `notes/` (progress with times,
curves).
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.parallel import DistributedDataParallel

from ehr_pipeline import typed_settings
from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.encoder import card, checkpoint, evaluate, hardware_choices, initial_weights, loader, optimizer
from ehr_pipeline.encoder.devices import compiles, name_of, process_group, repeatable
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model, parameter_count
from ehr_pipeline.encoder.objectives import Objective, objective_of, traits_of
from ehr_pipeline.encoder.parallel_update import UpdateThreads, side_by_side
from ehr_pipeline.encoder.patient_attributes import Traits
from ehr_pipeline.encoder.resume import BEST, Checkpoints, Position, publish
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.encoder.stopping import Flatness
from ehr_pipeline.encoder.training_job import PATIENTS, TrainingJob
from ehr_pipeline.encoder.training_progress import Reporter
from ehr_pipeline.errors import UserError
from ehr_pipeline.tables import json_files
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline.work import jobs

_log = logging.getLogger("ehr_pipeline")
MICRO_BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}


def run(job: TrainingJob) -> None:
    """Train as the module describes. Raises UserError if a loss is not finite, or a checkpoint belongs to another training run."""
    with process_group(job.threads, job.needs_gpu) as device, repeatable(device):
        training = _Training.begin(job, device)
        lock = training.checkpoints.lock() if jobs.rank() == 0 else nullcontext()
        with lock, side_by_side(training.settings, device, training.compiled) as threads:
            training.run(threads)


@dataclass(frozen=True)
class _Training:
    """A training run in this process: its data, its model, and its checkpoints."""

    job: TrainingJob
    settings: EncoderSettings
    """Settings of the job, with the precision that was chosen for the training run (`encoder.hardware_choices`)."""
    machine: hardware_choices.Machine
    device: torch.device
    compiled: bool
    vocabulary: Vocabulary
    learned: Sequences
    validation: Sequences
    counts: NDArray[np.int64]
    """Occurrences (V,) of each token id in the training data."""
    objective: Objective
    model: PackedEncoder
    began: dict[str, Any]
    """Facts about the checkpoint from which the training run starts (see `initial_weights.begin`); empty without one."""
    checkpoints: Checkpoints

    @classmethod
    def begin(cls, job: TrainingJob, device: torch.device) -> "_Training":
        """Open the data, make the model, and return the training run."""
        folder = job.resume or job.out / "notes" / "training"
        compiled = compiles(device, job.settings.compile)
        decided = hardware_choices.of_training(job.settings.precision, compiled, device, folder)
        settings = replace(job.settings, precision=decided["precision"])  # type: ignore[arg-type]
        vocabulary = Vocabulary.read(job.vocabulary)
        shape = (settings.context, settings.age_unit, settings.max_positions)
        learned, validation = (
            Sequences.open(job.dataset, *shape, split=job.split, side=side) for side in ("train", "validation")
        )
        counts = learned.token_counts(vocabulary.size)
        fresh = new_model(config_for(settings, vocabulary.size, vocabulary.hash), job.seed)
        if settings.output_bias == "frequency":
            initial_weights.bias_at_frequencies(fresh, counts)
        began = initial_weights.begin(fresh, job.start, vocabulary, settings) if job.start else {}
        traits = Traits.read(job.dataset, job.split, traits_of(settings))
        objective = objective_of(settings, vocabulary, job.seed, traits)
        model = PackedEncoder(fresh, objective).to(device)
        if compiled:
            model.compile_layers()
        identity = {
            "vocabulary": vocabulary.hash,
            "data": _data_hash(learned, validation),
            "seed": job.seed,
            "start": file_hash(job.start / "model.safetensors") if job.start else "",
            **typed_settings.identity(job.settings),
        }
        checkpoints = Checkpoints(folder, identity, settings.keep_checkpoints)
        data, trained = (vocabulary, learned, validation, counts), (objective, model, began, checkpoints)
        return cls(job, settings, decided, device, compiled, *data, *trained)

    def run(self, threads: UpdateThreads | None) -> None:
        """Train from the last checkpoint until both losses are flat, and fill the output folder."""
        first, settings, objective, seed = jobs.rank() == 0, self.settings, self.objective, self.job.seed
        if first and self.job.notes_patients:
            sides = [self.learned.patients(), self.validation.patients()]
            np.save(self.job.out / PATIENTS, np.concatenate(sides, axis=1))
        trained = _shared(self.model)
        updater = optimizer.optimizer_of(self.model, settings)
        at_once = threads.threads if threads else 1
        plan = plan_for(settings, self.device, self.compiled, objective.together, at_once)
        steps_per_epoch = -(-self.learned.token_count // (plan.rows * settings.context))
        flatness = Flatness(settings.min_improvement, settings.patience)
        position = self.checkpoints.restore(flatness, self.model, updater, self.device)
        rows = evaluate.AT_ONCE[self.device.type]
        validation_parts = partial(evaluate.evaluation_parts, objective, self.validation, settings.context, seed, rows)
        scored = partial(
            evaluate.evaluate, self.model, objective, device=self.device, precision=settings.precision, threads=threads
        )
        baseline = objective.baseline(validation_parts() if first else iter(()), self.counts)
        self._log_beginning(steps_per_epoch)
        epochs, steps = settings.epochs, steps_per_epoch * settings.epochs
        reporter = Reporter(self.checkpoints.folder, steps, position)
        save = _Saver(
            settings.checkpoint_seconds, lambda: self.checkpoints.save(position, flatness, self.model, updater)
        )

        while position.epoch < epochs and not flatness.reached:
            trained.train()
            for update in loader.updates(
                self.learned, objective, plan, seed=seed, epoch=position.epoch, skip=position.update
            ):
                torch.manual_seed(_step_seed(seed, position.step))  # dropout depends only on seed, process and update
                total = optimizer.gradients(trained, update, self.device, settings.precision, threads)
                rate = optimizer.learning_rate(position.step, steps, settings)
                done = optimizer.step(self.model, updater, total, rate, settings)
                if not done.finite:
                    raise UserError(_not_finite(position, self.checkpoints))
                _count(position, update, done)
                save.if_due()
                reporter.update(position, update.real_tokens, update.slots, done.loss / max(done.targets, 1))
            sums = scored(validation_parts())
            scores = objective.scores(sums)
            reporter.epoch(_end_epoch(position, flatness, scores), objective.headline(scores))
            if position.history[-1]["validation_loss"] == position.best and first:
                self._save_best(objective.details(sums, baseline))
            save.now()
        if not epochs:  # used unchanged
            sums = scored(validation_parts())
            scores = objective.scores(sums)
            position.history.append(_row(0, 0, None, scores))
            _log.info(
                "encoder used without further training: validation loss %.4f, %s",
                scores["loss"],
                objective.headline(scores),
            )
            if first:
                self._save_best(objective.details(sums, baseline))
        if first:
            self._finish(position, flatness, baseline)

    def _log_beginning(self, steps_per_epoch: int) -> None:
        compiled = "compiled" if self.compiled else "not compiled"
        processes = f"{jobs.world_size()} process{'es' * (jobs.world_size() > 1)}"
        _log.info("%s, %s, %s, %s", name_of(self.device), self.settings.precision, compiled, processes)
        _log.info(
            "training %s parameters on %s tokens, %d updates per epoch",
            f"{parameter_count(self.model):,}",
            count_text(self.learned.token_count),
            steps_per_epoch,
        )

    def _save_best(self, details: list[dict[str, Any]]) -> None:
        work = self.checkpoints.folder / f".{BEST}"
        shutil.rmtree(work, ignore_errors=True)
        checkpoint.save(work, self.model.stock, self.vocabulary)
        json_files.write(work / f"{self.objective.detail}.json", details)
        publish(work, self.checkpoints.folder / BEST)

    def _finish(self, position: Position, flatness: Flatness, baseline: NDArray[np.float64]) -> None:
        """Fill the output folder with the best checkpoint, metrics and notes."""
        out, folder = self.job.out, self.checkpoints.folder
        shutil.copytree(folder / BEST, out / "checkpoint", dirs_exist_ok=True)
        details = out / "checkpoint" / f"{self.objective.detail}.json"
        metrics = {
            "parameters": parameter_count(self.model.stock),
            "training_tokens": self.learned.token_count,
            "validation_tokens": self.validation.token_count,
            "training_patients": self.learned.patient_count,
            "validation_patients": self.validation.patient_count,
            **self.began,
            **(
                {"weights": {self.settings.objective: 1.0, **beside}}
                if (beside := self.settings.auxiliary_weights)
                else {}
            ),
            "machine": self.machine,
            "vocabulary_hash": self.vocabulary.hash,
            "seed": self.job.seed,
            "clipped_ages": position.clipped,
            "padding_share": 1 - position.real_tokens / position.slots if position.slots else 0.0,
            "baseline": self.objective.scores(baseline),
            self.objective.detail: json_files.read(details),
            "epochs": position.history,
            "best": min(position.history, key=lambda row: row["validation_loss"]),
            "stopped_early": flatness.reached,
        }
        details.unlink()
        json_files.write(out / "metrics.json", metrics)
        text = card.text(self.job.settings, self.vocabulary, self.objective, metrics)
        (out / "checkpoint" / "README.md").write_text(text, encoding="utf-8")
        notes = out / "notes"
        notes.mkdir(exist_ok=True)
        for path in [folder / "progress.jsonl", *folder.glob("events.out.tfevents.*")]:
            shutil.copyfile(path, notes / path.name)


class _Saver:
    """Saves checkpoints on the first process: now, or when `seconds` have passed since the last."""

    def __init__(self, seconds: float, save: Callable[[], object]):
        self.seconds, self.save, self.last = seconds, save, time.monotonic()

    def if_due(self) -> None:
        """Save if `seconds` have passed. The timing does not affect the result, since a training run can resume after any
        update."""
        if time.monotonic() - self.last >= self.seconds:
            self.now()

    def now(self) -> None:
        """Save now."""
        if jobs.rank() == 0:
            self.save()
        self.last = time.monotonic()


def plan_for(
    settings: EncoderSettings, device: torch.device, fixed: bool = False, together: int = 1, threads: int = 1
) -> loader.Plan:
    """Return how this process divides updates into parts made of whole blocks of `together` rows (`objectives.base.Loss`).

    With `fixed`, all parts have the same shapes, for compiled code. Otherwise there are at least as many parts as `threads`.
    """
    rows = max(settings.tokens_per_step // settings.context, jobs.world_size())
    tokens = settings.micro_batch_tokens or MICRO_BATCH_TOKENS[device.type]
    if threads > 1:
        tokens = min(tokens, rows * settings.context) // threads
    at_once = max(tokens // settings.context // together, 1)  # blocks
    if fixed:
        share = -(-rows // together // jobs.world_size())
        at_once = -(-share // -(-share // at_once))
    gpu = device if device.type == "cuda" else None
    return loader.Plan(settings.context, rows, at_once * together, jobs.rank(), jobs.world_size(), fixed, gpu)


def _shared(model: PackedEncoder) -> torch.nn.Module:
    """Return the model wrapped so that the job's processes share gradients, if there are several processes."""
    if jobs.world_size() == 1:
        return model
    return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, jobs.rank(), step]).generate_state(1)[0])


def _data_hash(*parts: Sequences) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for sequences in parts:
        for array in (sequences.chunks.shard, sequences.chunks.start, sequences.chunks.length):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _not_finite(position: Position, checkpoints: Checkpoints) -> str:
    last = checkpoints.last()
    return (
        f"The loss is not finite at update {position.update} of epoch {position.epoch + 1}; nothing was published, and the weights"
        f" were not changed by it. The last good checkpoint: {last or 'none was made yet'}. Lower encoder.learning_rate."
    )


def _count(position: Position, update: loader.Update, done: optimizer.UpdateResult) -> None:
    position.step, position.update = position.step + 1, position.update + 1
    position.loss_sum, position.chosen = position.loss_sum + done.loss, position.chosen + done.targets
    if position.epoch == 0:
        position.real_tokens, position.slots = position.real_tokens + update.real_tokens, position.slots + update.slots
        position.clipped += update.clipped


def _end_epoch(position: Position, flatness: Flatness, scores: Mapping[str, float]) -> dict[str, Any]:
    """Add an epoch to the history, and move to the start of the next. Returns the row that was added."""
    training_loss = position.loss_sum / max(position.chosen, 1)
    row = _row(position.epoch + 1, position.step, training_loss, scores)
    position.history.append(row)
    position.best = min(position.best, scores["loss"])
    flatness.stop_after(training_loss, scores["loss"])
    position.epoch, position.update, position.loss_sum, position.chosen = position.epoch + 1, 0, 0.0, 0
    return row


def _row(epoch: int, updates: int, training_loss: float | None, scores: Mapping[str, float]) -> dict[str, Any]:
    """Return a row of the history: the losses after an epoch. Without training, the only row is for epoch 0."""
    validation = {f"validation_{name}": value for name, value in scores.items()}
    return {"epoch": epoch, "updates": updates, "training_loss": training_loss, **validation}


if __name__ == "__main__":
    jobs.main(run)
