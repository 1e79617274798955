"""Train the encoder: `python -m ehr_pipeline.encoder.train --job job.json`, alone or under torchrun on N processes.

The story of a run, top to bottom: open the data, make the model, go back to the last checkpoint if there is one, and until both
losses are flat: an epoch of updates in an order of its own, then the validation loss; the best epoch is what is kept. The same seed
gives the same weights on a CPU, however often the training was killed on the way.

Job: dataset, split, vocabulary (folders), settings (of `EncoderSettings`), seed, threads, out (folder to fill), resume (folder of
the checkpoints; inside `out` when it is not given), start (folder of a checkpoint to begin with, see `encoder.start`; without it
from random weights). Fills `checkpoint/` (weights, configuration, tokenizer, model card),
`metrics.json`, and `notes/` (progress with times, curves).
"""

import hashlib
import json
import logging
import math
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from ehr_pipeline import fields
from ehr_pipeline.disclosure.figures import told
from ehr_pipeline.encoder import card, checkpoint, evaluate, loader, machine, optimizer, start
from ehr_pipeline.encoder.devices import compiles, process_group, repeatable
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model, parameter_count
from ehr_pipeline.encoder.report import Reporter
from ehr_pipeline.encoder.resume import BEST, Checkpoints, Position, publish
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.encoder.stopping import Flatness
from ehr_pipeline.errors import UserError
from ehr_pipeline.fields import file_hash
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline.work import jobs

_log = logging.getLogger("ehr_pipeline")
MICRO_BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}


def run(job: jobs.Job) -> None:
    """Train as the job says. Raises UserError when a loss is not finite, or a checkpoint belongs to another training."""
    with process_group(job.get("threads", 0)) as device, repeatable(device):
        _train(job, EncoderSettings(**job["settings"]), device)


def _train(job: jobs.Job, wished: EncoderSettings, device: torch.device) -> None:
    out, seed = Path(job["out"]), int(job["seed"])
    folder = Path(job.get("resume") or out / "notes" / "training")
    compiled = compiles(device, wished.compile)
    decided = machine.of_training(wished.precision, compiled, device, folder)
    settings = replace(wished, precision=decided["precision"])  # type: ignore[arg-type]
    vocabulary = Vocabulary.read(Path(job["vocabulary"]))
    shape = (settings.context, settings.age_unit, settings.max_positions)
    training, validation = (
        Sequences.open(Path(job["dataset"]), *shape, split=Path(job["split"]), side=side)
        for side in ("train", "validation")
    )
    counts = training.token_counts(vocabulary.size)
    fresh = new_model(config_for(settings, vocabulary.size, vocabulary.hash), seed)
    if settings.output_bias == "frequency":
        start.bias_at_frequencies(fresh, counts)
    started = {"tokens_added": start.continue_from(Path(job["start"]), fresh, vocabulary)} if job.get("start") else {}
    model = PackedEncoder(fresh).to(device)
    if compiled:
        model.compile_layers()
    trained: torch.nn.Module = DistributedDataParallel(model) if jobs.world_size() > 1 else model
    updater = optimizer.optimizer_of(model, settings)
    plan = plan_for(settings, device)
    steps_per_epoch = -(-training.token_count // (plan.rows * settings.context))
    steps = steps_per_epoch * settings.max_epochs
    facts = {
        "parameters": parameter_count(model),
        "training_tokens": training.token_count,
        "validation_tokens": validation.token_count,
        "training_patients": training.patient_count,
        "validation_patients": validation.patient_count,
        **started,
        "machine": decided,
    }
    identity = {
        "vocabulary": vocabulary.hash,
        "data": _data_hash(training, validation),
        "seed": seed,
        "start": file_hash(Path(job["start"]) / "model.safetensors") if job.get("start") else "",
        **fields.identity(wished),
    }
    checkpoints = Checkpoints(folder, identity, settings.keep_checkpoints)
    flatness = Flatness(settings.min_improvement, settings.patience)
    first = jobs.rank() == 0
    if first and job.get("note_patients"):
        np.save(out / job["note_patients"], np.concatenate([training.patients(), validation.patients()], axis=1))
    with checkpoints.lock() if first else nullcontext():
        position = checkpoints.restore(flatness, model, updater, device)
        baseline = evaluate.frequency_baseline(counts, validation, settings, vocabulary.size, seed)
        _log.info(
            "training %s parameters on %s tokens, %d updates an epoch",
            f"{facts['parameters']:,}",
            told(training.token_count),
            steps_per_epoch,
        )
        reporter = Reporter(folder, steps, position)
        while position.epoch < settings.max_epochs and not flatness.reached:
            trained.train()
            for update in loader.updates(
                training, settings, vocabulary.size, seed, position.epoch, plan, skip=position.update
            ):
                torch.manual_seed(_step_seed(seed, position.step))  # dropout: a function of seed, process and update
                total, chosen = optimizer.gradients(trained, update, device, settings.precision)
                rate = optimizer.learning_rate(position.step, steps, settings)
                if not (math.isfinite(total) and optimizer.step(model, updater, chosen, rate, settings)):
                    raise UserError(_not_finite(position, checkpoints))
                _count(position, update, total, chosen)
                if position.step % settings.checkpoint_updates == 0 and first:
                    checkpoints.save(position, flatness, model, updater)
                reporter.update(position, update.real_tokens, update.slots, total / max(chosen, 1))
            tally = evaluate.evaluate(model, validation, settings, vocabulary.size, seed, device)
            _end_epoch(position, flatness, tally.scores(), reporter)
            if position.history[-1]["validation_loss"] == position.best and first:
                types = card.by_semantic_type(vocabulary, tally, baseline)
                _save_best(folder, model, vocabulary, types)
            if first:
                checkpoints.save(position, flatness, model, updater)
        if first:
            _finish(job, wished, vocabulary, facts, folder, position, flatness, baseline)


def plan_for(settings: EncoderSettings, device: torch.device) -> loader.Plan:
    """How updates are cut for this process."""
    rows = max(settings.tokens_per_step // settings.context, jobs.world_size())
    at_once = settings.micro_batch_tokens or MICRO_BATCH_TOKENS[device.type]
    return loader.Plan(rows, max(at_once // settings.context, 1), jobs.rank(), jobs.world_size())


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


def _count(position: Position, update: loader.Update, total: float, chosen: int) -> None:
    position.step, position.update = position.step + 1, position.update + 1
    position.loss_sum, position.chosen = position.loss_sum + total, position.chosen + chosen
    if position.epoch == 0:
        position.real_tokens, position.slots = position.real_tokens + update.real_tokens, position.slots + update.slots
        position.clipped += update.clipped


def _end_epoch(position: Position, flatness: Flatness, scores: evaluate.Scores, reporter: Reporter) -> None:
    """Add an epoch to the history, and go to the beginning of the next."""
    training_loss = position.loss_sum / max(position.chosen, 1)
    row = {
        "epoch": position.epoch + 1,
        "updates": position.step,
        "training_loss": training_loss,
        **{f"validation_{name}": value for name, value in scores.as_dict().items()},
    }
    position.history.append(row)
    position.best = min(position.best, scores.loss)
    flatness.stop_after(training_loss, scores.loss)
    position.epoch, position.update, position.loss_sum, position.chosen = position.epoch + 1, 0, 0.0, 0
    reporter.epoch(row)


def _save_best(folder: Path, model: PackedEncoder, vocabulary: Vocabulary, types: list[dict[str, Any]]) -> None:
    work = folder / f".{BEST}"
    shutil.rmtree(work, ignore_errors=True)
    checkpoint.save(work, model.stock, vocabulary)
    (work / "by_semantic_type.json").write_text(json.dumps(types, indent=1) + "\n", encoding="utf-8")
    publish(work, folder / BEST)


def _finish(
    job: jobs.Job,
    settings: EncoderSettings,
    vocabulary: Vocabulary,
    facts: dict[str, Any],
    folder: Path,
    position: Position,
    flatness: Flatness,
    baseline: evaluate.Tally,
) -> None:
    """Fill the output folder."""
    out = Path(job["out"])
    shutil.copytree(folder / BEST, out / "checkpoint", dirs_exist_ok=True)
    metrics = {
        **facts,
        "vocabulary_hash": vocabulary.hash,
        "seed": int(job["seed"]),
        "clipped_ages": position.clipped,
        "padding_share": 1 - position.real_tokens / max(position.slots, 1),
        "baseline": baseline.scores().as_dict(),
        "by_semantic_type": json.loads((out / "checkpoint" / "by_semantic_type.json").read_text(encoding="utf-8")),
        "epochs": position.history,
        "best": min(position.history, key=lambda row: row["validation_loss"]),
        "stopped_early": flatness.reached,
    }
    (out / "checkpoint" / "by_semantic_type.json").unlink()
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    (out / "checkpoint" / "README.md").write_text(card.text(settings, vocabulary, metrics), encoding="utf-8")
    notes = out / "notes"
    notes.mkdir(exist_ok=True)
    for path in [folder / "progress.jsonl", *folder.glob("events.out.tfevents.*")]:
        shutil.copyfile(path, notes / path.name)


if __name__ == "__main__":
    jobs.main(run)
