"""Report the progress of a training run: log lines every few seconds, also in `progress.jsonl`, and TensorBoard curves."""

import json
import logging
import time
from pathlib import Path

from ehr_pipeline.encoder.resume import Position
from ehr_pipeline.encoder.tensorboard import EventFile
from ehr_pipeline.work import jobs
from ehr_pipeline.work.progress import duration

_log = logging.getLogger("ehr_pipeline")
REPORT_SECONDS = 8.0


class Reporter:
    """Writes log lines, `progress.jsonl` and TensorBoard curves. Files go into `folder`, from the first process only. At the start,
    lines of `progress.jsonl` later than `position` are removed."""

    def __init__(self, folder: Path, steps: int, position: Position):
        self.folder, self.steps = folder, steps
        self.start = self.last = time.monotonic()
        self.first_step = position.step
        self.tokens = self.slots = 0
        self.curves: EventFile | None = None
        if jobs.rank() == 0:
            self.curves = EventFile(folder)
            notes = folder / "progress.jsonl"
            kept = [json.loads(line) for line in notes.read_text().splitlines()] if notes.is_file() else []
            lines = [json.dumps(row) for row in kept if row["update"] <= position.step]
            notes.write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    def update(self, position: Position, tokens: int, slots: int, loss: float) -> None:
        """Count an update with its tokens and token slots; report if the interval has passed."""
        self.tokens, self.slots = self.tokens + tokens, self.slots + slots
        now = time.monotonic()
        if now - self.last < REPORT_SECONDS or self.curves is None:
            return
        rate, padding = self.tokens / (now - self.last), 1 - self.tokens / self.slots
        left = (now - self.start) / (position.step - self.first_step) * max(self.steps - position.step, 0)
        _log.info(
            "epoch %d, update %d: loss %.4f, %s tokens/s, %.1f %% padding, at most %s left",
            position.epoch + 1,
            position.step,
            loss,
            f"{rate:,.0f}",
            100 * padding,
            duration(left),
        )
        self._note({"epoch": position.epoch + 1, "update": position.step, "loss": loss}, rate, padding)
        self.curves.scalars(
            position.step, {"training/loss": loss, "speed/tokens_per_second": rate, "speed/padding_share": padding}
        )
        self.last, self.tokens, self.slots = now, 0, 0

    def epoch(self, row: dict[str, float], headline: str) -> None:
        """Report an epoch: log its losses and the headline, and write all scores (floats) as curves."""
        losses = (row["training_loss"], row["validation_loss"])
        _log.info("epoch %d: training loss %.4f, validation loss %.4f, %s", row["epoch"], *losses, headline)
        if self.curves is not None:
            scores = {f"epoch/{name}": value for name, value in row.items() if isinstance(value, float)}
            self.curves.scalars(int(row["updates"]), scores)

    def _note(self, row: dict[str, float], rate: float, padding: float) -> None:
        figures = {
            "tokens_per_second": round(rate),
            "padding_share": round(padding, 4),
            "seconds": round(time.monotonic() - self.start, 1),
        }
        with (self.folder / "progress.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row | figures) + "\n")
