"""Does a recurrent head find more in token vectors than a logistic regression on their mean and the state at the mask?

CORE-BEHRT (Odgaard et al. 2024) is best with a bidirectional GRU over the token vectors. Here the encoder is frozen:
the GRU reads the vectors of all tokens of a history in order, with the mask at the end, and a linear layer reads its last states.

alone        the head is all that there is, from random weights
beside       its log-odds are added to those of the logistic regression on the vectors (model `vectors`), from weights of 0 in
             the last layer, so that nothing is lost at the start

Both use the samples of labels of `task_results`. The number of epochs, which may be 0, is chosen on a fifth of the sample.

Usage: python benchmarks/recurrent_head.py [--settings data/demo/settings.toml] [--fitted 1000] [--epochs 6]; after `make demo`
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import results
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ehr_pipeline.assets import identity
from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.embeddings.pooling import load
from ehr_pipeline.encoder import packing
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.patients.histories import cut
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.predictions import metrics
from ehr_pipeline.predictions.answers_job import AnswersJob, mean_vectors
from ehr_pipeline.predictions.compare import samples_of, scorable
from ehr_pipeline.predictions.learners import Sample, Table, logistic
from ehr_pipeline.predictions.metrics import Bootstrap
from ehr_pipeline.predictions.query_at_mask import laid
from ehr_pipeline.predictions.rows import FIT, JUDGE, Rows, read
from ehr_pipeline.predictions.settings import PredictionsSettings
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study import settings
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT, PATIENT_DATASET, TASK_LABELS, VOCABULARY
from ehr_pipeline.tasks.table import definitions

Floats = NDArray[np.float64]
Probe = Callable[[Sample], Floats]
"""From a sample to log-odds (n,) that the head's are added to."""
READ = (VOCABULARY, PATIENT_DATASET, TASK_LABELS, ENCODER_CHECKPOINT)
LABELS, SAMPLES, DRAWS = (100,), 2, 300
PROBE, ALONE, BESIDE = "vectors", "alone", "beside"
HEADS: dict[int | None, tuple[str, ...]] = {100: (BESIDE,), None: (ALONE, BESIDE)}
"""Which heads are trained, by number of labels: with few, one that begins at nothing has no chance."""
WIDTH, BATCH, RATE, DECAY = 64, 32, 2e-3, 1e-2
HELD_OUT, FEWEST_HELD_OUT = 5, 10
"""One row in five of a sample is held out to choose the number of epochs, if there are so many cases among them."""


@dataclass(frozen=True)
class States:
    """What the frozen encoder says of the histories of a task (n)."""

    tokens: list[Tensor]
    """Vectors of the tokens of each history in order, the mask last (t, D)."""
    vectors: NDArray[np.float32]
    """Vector of the history and state at the mask (n, 2 D), the features of the model `vectors`."""


@torch.no_grad()
def states_of(model: PackedEncoder, rows: Rows, paths: list[Path], how: Inference) -> States:
    """Run the encoder on all histories of a task."""
    shards, days = [], []
    for number in np.unique(rows.shard).tolist():
        own = rows.take(rows.shard == number)
        shards.append(cut(Shard.read(paths[number]), own.row, own.first, own.last))
        days.append(own.query_day)
    sequences = laid(shards, days, how)
    tokens: list[Tensor] = [torch.zeros(0)] * len(rows)
    for group in packing.group_rows(
        sequences, np.arange(len(rows)), how.context, max(how.batch_tokens // how.context, 1)
    ):
        batch = packing.build(sequences, group, how.context)
        places = np.flatnonzero(batch.segments_RT)
        arrays = (batch.tokens_RT, batch.positions_RT, batch.segments_RT, places, batch.order_RT)
        hidden = model.hidden(*(torch.from_numpy(array) for array in arrays)).float()
        owner = batch.chunks.reshape(-1)[places]
        for history in np.unique(owner).tolist():
            tokens[history] = hidden[torch.from_numpy(np.flatnonzero(owner == history))]
    mean = np.concatenate([mean_vectors(model, shard, how) for shard in shards])
    at_mask = torch.stack([each[-1] for each in tokens]).numpy()
    return States(tokens, np.hstack([mean, at_mask]))


class Head(nn.Module):
    """A bidirectional GRU and a linear layer on its last states."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, WIDTH, batch_first=True, bidirectional=True)
        self.last = nn.Linear(2 * WIDTH, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, histories: list[Tensor]) -> Tensor:
        """The log-odds (B,) of some histories."""
        packed = nn.utils.rnn.pack_sequence(histories, enforce_sorted=False)
        _, ends = self.gru(packed)
        odds: Tensor = self.last(torch.cat([ends[0], ends[1]], dim=1))[:, 0]
        return odds

    @torch.no_grad()
    def odds(self, histories: list[Tensor]) -> Floats:
        """The log-odds (n,) of many histories, a batch at a time."""
        self.eval()
        return np.concatenate([self(histories[at : at + 128]).numpy() for at in range(0, len(histories), 128)])


def fitted(
    states: States, sample: Sample, asked: tuple[Probe, NDArray[np.int64]], epochs: int, seed: int
) -> tuple[Floats, int]:
    """Train a head on a sample. Returns log-odds (n,), and the number of epochs.

    `asked`: what it begins at, and the rows to predict; others get NaN.
    """
    probe, judged = asked
    torch.manual_seed(seed)
    begin = Head(states.vectors.shape[1] // 2)
    chosen, held = epochs, np.zeros(len(sample.rows), bool)
    held[np.random.default_rng(seed).permutation(len(held))[: len(held) // HELD_OUT]] = True
    if min(sample.label[held].sum(), (~sample.label[held]).sum()) >= FEWEST_HELD_OUT:
        part, losses = sample.take(~held), []
        offset, rows = probe(part), sample.rows[held]
        for head in _epochs(copy.deepcopy(begin), states, part, offset, epochs):
            odds = head.odds([states.tokens[row] for row in rows.tolist()]) + offset[rows]
            losses.append(float(np.logaddexp(0, np.where(sample.label[held], -odds, odds)).mean()))
        chosen = int(np.argmin(losses))
    offset = probe(sample)
    *_, head = _epochs(begin, states, sample, offset, chosen)
    found = np.full(len(states.tokens), np.nan)
    found[judged] = head.odds([states.tokens[row] for row in judged.tolist()]) + offset[judged]
    return found, chosen


def _epochs(head: Head, states: States, sample: Sample, offset: Floats, epochs: int) -> Iterator[Head]:
    """Yield the head before the first epoch and after each epoch."""
    yield head
    updater = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    label, fixed = torch.from_numpy(sample.label).float(), torch.from_numpy(offset[sample.rows]).float()
    for epoch in range(epochs):
        head.train()
        for part in np.array_split(
            np.random.default_rng(epoch).permutation(len(sample.rows)), -(-len(sample.rows) // BATCH)
        ):
            odds = head([states.tokens[row] for row in sample.rows[part].tolist()]) + fixed[part]
            nn.functional.binary_cross_entropy_with_logits(odds, label[part]).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            updater.step()
            updater.zero_grad()
        yield head


def of_task(states: States, rows: Rows, epochs: int, seed: int) -> dict[tuple[str, int | None], list[Floats]]:
    """Log-odds (n,) of the probe and of both heads, by name and number of labels, one for each sample."""
    table, nothing = Table.of([states.vectors], rows.on(FIT), free=False), np.zeros(len(rows))
    found: dict[tuple[str, int | None], list[Floats]] = {}
    for labels, replicate, sample in samples_of(rows, PredictionsSettings(labels=LABELS), seed):

        def probe(part: Sample) -> Floats:
            return logistic(table, part, seed)[0] - part.shift

        if replicate >= SAMPLES:
            continue
        found.setdefault((PROBE, labels), []).append(probe(sample))
        starts: dict[str, Probe] = {ALONE: lambda part: nothing, BESIDE: probe}
        for name in HEADS[labels]:
            start = starts[name]
            odds, chosen = fitted(states, sample, (start, rows.on(JUDGE)), epochs, replicate)
            found.setdefault((name, labels), []).append(odds)
            print(f"{name}, {labels or 'all'} labels: {chosen} epochs", flush=True)
    return found


def capped(rows: Rows, most: int, seed: int) -> Rows:
    """At most so many rows of the training set, cases first."""
    fit = rows.on(FIT)
    order = np.random.default_rng(seed).permutation(fit)
    kept = np.concatenate([order[rows.label[order]], order[~rows.label[order]]])[:most]
    return rows.take(np.sort(np.concatenate([kept, rows.on(JUDGE)])))


def apart(
    rows: Rows, found: dict[tuple[str, int | None], list[Floats]], one: str, labels: int | None
) -> tuple[float, Floats]:
    """The difference of a head's AUROC from the probe's, mean over samples, and the same in draws of patients."""
    judged = rows.take(rows.on(JUDGE))
    bootstrap = Bootstrap(judged.patient, judged.weight, DRAWS, 0)
    values, draws = [], []
    for own, other in zip(found[one, labels], found[PROBE, labels], strict=True):
        first, second = (each[rows.on(JUDGE)] for each in (own, other))
        values.append(
            metrics.auroc(judged.label, first, judged.weight) - metrics.auroc(judged.label, second, judged.weight)
        )
        draws.append(bootstrap.aurocs(judged.label, first) - bootstrap.aurocs(judged.label, second))
    return float(np.mean(values)), np.mean(draws, axis=0)


def main() -> None:
    """Measure all tasks of a study that was made, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=Path, default=Path("data/demo/settings.toml"))
    parser.add_argument("--fitted", type=int, default=1_000, help="rows that heads are fitted on, at most")
    parser.add_argument("--epochs", type=int, default=6, help="passes over the labels, at most")
    asked = parser.parse_args()
    study = settings.load(asked.settings)
    store = Store(study.study.store)
    artifacts = {name: store.current(name) for name in READ}
    job = identity.encoder_job(
        AnswersJob, study, artifacts, Path(), batch_tokens=16_384, tokens_before=0, means=True, untrained=False
    )
    model, how = load(job, torch.device("cpu"))
    paths, seed = sorted(artifacts[PATIENT_DATASET].files("patients")), study.study.seed
    rows_of_table, seconds = list[tuple[str, ...]](), dict.fromkeys(("encoder", "heads"), 0.0)
    means: dict[tuple[str, int | None], list[tuple[float, Floats]]] = {}
    for definition in definitions(artifacts[TASK_LABELS].path):
        whole = read(artifacts[TASK_LABELS].path, definition, study.predictions.patients, seed)
        if not scorable(whole):
            continue
        rows, begun = capped(whole, asked.fitted, seed), time.process_time()
        states = states_of(model, rows, paths, how)
        seconds["encoder"], begun = seconds["encoder"] + time.process_time() - begun, time.process_time()
        found = of_task(states, rows, asked.epochs, seed)
        seconds["heads"] += time.process_time() - begun
        judged = rows.take(rows.on(JUDGE))
        cells = [definition.name, f"{int(judged.label.sum()):,} of {len(judged):,}"]
        for labels in (*LABELS, None):
            own = [each[rows.on(JUDGE)] for each in found[PROBE, labels]]
            cells.append(f"{np.mean([metrics.auroc(judged.label, each, judged.weight) for each in own]):.3f}")
            for head in HEADS[labels]:
                value, draws = apart(rows, found, head, labels)
                means.setdefault((head, labels), []).append((value, draws))
                cells.append(said(value, draws))
        rows_of_table.append(tuple(cells))
        print(rows_of_table[-1], flush=True)
    total = ["mean", ""]
    for labels in (*LABELS, None):
        total += ["", *(_mean(means[head, labels]) for head in HEADS[labels])]
    results.write("recurrent_head.py", "A recurrent head", text([*rows_of_table, tuple(total)], asked, seconds, model))


def _mean(found: list[tuple[float, Floats]]) -> str:
    return said(float(np.mean([value for value, _ in found])), np.mean([draws for _, draws in found], axis=0))


def said(value: float, draws: Floats) -> str:
    """A difference with its interval over patients."""
    low, high = metrics.interval(draws)
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def text(
    rows: list[tuple[str, ...]], asked: argparse.Namespace, seconds: dict[str, float], model: PackedEncoder
) -> str:
    """The section."""
    header = ["Task", "Cases in the test set"]
    for labels in (*LABELS, None):
        header += [f"vectors, {labels or 'all'} labels", *HEADS[labels]]
    config = model.stock.config
    about = (
        f"The tasks of the demo with enough cases; its encoder (width {config.hidden_size}, {config.num_hidden_layers} layers) is"
        f" frozen. Up to {asked.fitted:,} rows to fit on, cases first. Head: bidirectional GRU, {WIDTH} units a direction, AdamW"
        f" {RATE:g}, at most {asked.epochs} epochs, chosen on a fifth of the sample if that has {FEWEST_HELD_OUT} cases. AUROC of"
        " the logistic regression on the vectors, then the difference of the recurrent head: alone, and beside that regression. In"
        f" brackets 95 % intervals over patients of the test set ({DRAWS} draws; for the mean, as if each task had its own"
        f" patients). With 100 labels: mean of {SAMPLES} samples."
    )
    cost = (
        f"Processor time: {seconds['encoder']:.0f} s to run the encoder once over all histories, {seconds['heads']:.0f} s to train"
        " the heads and apply them."
    )
    return "\n\n".join([about, results.table(tuple(header), rows), cost])


if __name__ == "__main__":
    main()
