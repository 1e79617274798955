"""Age in days and the time since the previous visit as inputs of the encoder: are they worth an encoder of our own class?

The encoder's position is the age in whole years: it sees neither visits, nor their order within a year. Here a second encoder also
gets sines and cosines of the age in days, and of the logarithm of the days since the previous visit. Two small linear layers, zero
at the beginning, add them to the vectors of tokens and ages; so both encoders begin as the same function. Both are trained by
masking, with the same seed, on the same patients, for the same number of updates. The variant exists in this script alone.
What is added is multiplied by a factor. With 1, the layers, which every token trains, outgrow the vectors of rare tokens. 0.03 was
chosen of 1, 0.1 and 0.03 by the loss in `groups` with seed 100 and 3 epochs: +0.030, +0.003 and -0.003 beside years.

- Loss of masked concepts, on the patients of the test set.
- Without labels: AUROC of the outcomes' codes at a mask, exactly as in objectives.py.
- Probe: a logistic regression on mean-pooled frozen vectors tells a patient's group, in a world with groups by five mechanisms
  (docs/worlds.md, plan `subtle`). Each member is held out in one of five parts. Pooled over all concepts, and over the findings of
  the mechanism alone. With untrained weights, what both layers add is drawn as large as the vectors of tokens.

Patients are the units of all intervals; for the loss, sixteen rows of packed patients. Figures in --keep are measured once.

Usage: python benchmarks/days_and_gaps.py [--worlds outcomes groups] [--seeds 0 1] [--epochs 3 8] [--factor 0.03] [--keep FOLDER]
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import objectives
import results
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ehr_pipeline.assets.identity import encoder_shape
from ehr_pipeline.clusters.planted import read_groups
from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.embeddings.pooling import over_chunks, pool_chunks
from ehr_pipeline.encoder import checkpoint, evaluate, train
from ehr_pipeline.encoder.configuration import ModelConfig
from ehr_pipeline.encoder.metrics import read as read_metrics
from ehr_pipeline.encoder.model import PackedEncoder, new_model
from ehr_pipeline.encoder.objectives import objective_of
from ehr_pipeline.encoder.roberta_weights import StockWeights
from ehr_pipeline.encoder.sequences import Chunks, Selection, Sequences
from ehr_pipeline.encoder.training_job import TrainingJob
from ehr_pipeline.patients.shard import Shard, ranges
from ehr_pipeline.predictions.metrics import auroc
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.worlds.groups_by_mechanism import KINDS
from ehr_pipeline.synthetic.worlds.write import write
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import DATA_SPLIT, PATIENT_DATASET, VOCABULARY
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

YEARS, DAYS = "age in years", "age in days, gap"
VARIANTS = (YEARS, DAYS)
MECHANISMS = ("same-visit", "interval", "order-anywhere", "order-quarter", "recurrence")
OUTCOMES, GROUPS = "outcomes", "groups"
PLANS = {OUTCOMES: [OUTCOMES], GROUPS: [f"subtle-{name}" for name in MECHANISMS]}
SHARE = {OUTCOMES: 0.5, GROUPS: 0.9}
"""Share of the patients who are chosen for a skin disease."""
PATIENTS = {OUTCOMES: 5_000, GROUPS: 4_000}
AGE_PERIODS = torch.from_numpy(np.geomspace(4, 36_525, 32, dtype=np.float32))  # days
GAP_PERIODS = torch.from_numpy(np.geomspace(0.5, 20, 8, dtype=np.float32))  # of log(1 + days), which is at most 11
ROW, DAY = 2**16, 2**17  # more rows than a table of ages has, more days than a life
ALL, FINDINGS, TRAINED, UNTRAINED = "all", "findings", "trained", "untrained"
KEYS = ("world", "factor", "epochs", "seed")
Labels = NDArray[np.int64]
Figures = dict[str, Any]


class Timed(torch.nn.Module):
    """The table of ages, and two linear layers over waves. A position holds the row of the table, the age in days and the gap."""

    def __init__(self, table: Any, width: int, factor: float):
        super().__init__()
        self.table, self.factor = table, factor
        self.age, self.gap = (
            torch.nn.Parameter(torch.zeros(width, 2 * len(periods), device=table.weight.device))
            for periods in (AGE_PERIODS, GAP_PERIODS)
        )

    def forward(self, positions_RT: torch.Tensor) -> torch.Tensor:
        """The vectors (R, T, D) of positions."""
        days, row = positions_RT // ROW, positions_RT % ROW
        age, gap = (days // DAY).float(), days % DAY  # a gap is stored plus one; 0: no visit before
        waves = _waves(gap.float().clamp(min=1).log(), GAP_PERIODS) * (gap > 0)[..., None]
        added = _waves(age, AGE_PERIODS) @ self.age.T + waves @ self.gap.T
        found: torch.Tensor = self.table(row) + self.factor * added
        return found


def _waves(values: torch.Tensor, periods: torch.Tensor) -> torch.Tensor:
    """Sines and cosines, a vector of length 1."""
    angles = values[..., None] * (2 * np.pi / periods)
    return torch.cat([angles.sin(), angles.cos()], -1) / math.sqrt(len(periods))


def gaps(shard: Shard) -> NDArray[np.int64]:
    """Days from the previous visit of the same patient to each visit (V,), plus one; 0 for first visits."""
    found: NDArray[np.int64] = np.diff(shard.visit_day.astype(int), prepend=0) + 1
    found[shard.patient_start[:-1][np.diff(shard.patient_start) > 0]] = 0
    return found


@contextmanager
def seeing_days(factor: float) -> Iterator[None]:
    """Inside, encoders are made with `Timed`, and positions hold what it needs."""
    made, selected = StockWeights.__init__, Sequences.select

    def init(self: StockWeights, config: ModelConfig) -> None:
        made(self, config)
        embeddings: Any = self.roberta_prelayernorm.embeddings
        embeddings.position_embeddings = Timed(embeddings.position_embeddings, config.hidden_size, factor)

    def select(self: Sequences, chunks: Chunks) -> Selection:
        found = selected(self, chunks)
        further, ends = np.empty(len(found.positions), np.int64), np.cumsum(chunks.length)
        for number in np.unique(chunks.shard):
            shard, own = self.shards[number], np.flatnonzero(chunks.shard == number)
            start, length = chunks.start[own], chunks.length[own]
            token, place = ranges(start, start + length), ranges(ends[own] - length, ends[own])
            visit = np.searchsorted(shard.visit_start, token, side="right") - 1
            age = shard.visit_day[visit].astype(int) - shard.birth_day[np.repeat(chunks.patient[own], length)]
            further[place] = np.clip(age, 0, DAY - 1) * DAY + np.clip(gaps(shard)[visit], 0, DAY - 1)
        return replace(found, positions=found.positions + further * ROW)

    with patch.object(StockWeights, "__init__", init), patch.object(Sequences, "select", select):
        yield


def trained(pipeline: Pipeline, out: Path) -> tuple[PackedEncoder, Figures]:
    """Train the encoder of the study; the encoder, and its updates and speed."""
    store, study = pipeline.store, pipeline.study
    dataset, split = store.current(PATIENT_DATASET).path / "patients", store.current(DATA_SPLIT).path / "split"
    vocabulary = store.current(VOCABULARY).path
    out.mkdir(parents=True)
    how: dict[str, Any] = {"settings": study.encoder, "seed": study.study.seed, "threads": 1}
    job = TrainingJob(dataset=dataset, split=split, vocabulary=vocabulary, out=out, **how)
    began = time.process_time()
    train.run(job)
    seconds, metrics = time.process_time() - began, read_metrics(out)
    last = metrics["epochs"][-1]
    told = {"updates": last["updates"], "tokens a second": metrics["training_tokens"] * last["epoch"] / seconds}
    return checkpoint.load(out / "checkpoint", Vocabulary.read(vocabulary), torch.device("cpu")), told


def losses(pipeline: Pipeline, model: PackedEncoder) -> NDArray[np.float64]:
    """Sum of the losses and number of masked concepts (groups of rows, 2), on the patients of the test set."""
    store, settings = pipeline.store, pipeline.study.encoder
    vocabulary = Vocabulary.read(store.current(VOCABULARY).path)
    shape = (settings.context, settings.age_unit, settings.max_positions)
    dataset, split = store.current(PATIENT_DATASET).path / "patients", store.current(DATA_SPLIT).path / "split"
    sequences = Sequences.open(dataset, *shape, split=split, side="test")
    objective = objective_of(settings, vocabulary, 0)
    found = []
    for part in evaluate.evaluation_parts(objective, sequences, settings.context, 0):
        sums = evaluate.evaluate(model, objective, iter([part]), torch.device("cpu"), "float32")
        found.append(sums[[0, 3]].sum(axis=1))
    return np.array(found)


def of_loss(found: dict[str, NDArray[np.float64]]) -> Figures:
    """The mean loss of each variant, and their difference with its interval over groups of rows."""
    (years, count), (days, _) = (found[name].T for name in VARIANTS)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(count), (objectives.DRAWS, len(count)))
    difference = (days - years)[drawn].sum(1) / count[drawn].sum(1)
    return {YEARS: years.sum() / count.sum(), DAYS: days.sum() / count.sum(), "difference": _ends(difference)}


def of_outcomes(rows: dict[str, dict[str, objectives.Rows]]) -> Figures:
    """AUROC of each outcome by variant; their means with the difference's interval; the same patients are drawn for both."""
    told, drawn = {}, []
    for name, own in rows[YEARS].items():
        label = own["label"]
        assert np.array_equal(label, rows[DAYS][name]["label"]), "both are asked about the same patients"
        ways = {way: own[way] for way in (objectives.BAYES, objectives.AGE)}
        ways |= {variant: rows[variant][name]["encoder"] for variant in VARIANTS}
        told[name] = {way: auroc(label, score, np.ones(len(label))) for way, score in ways.items()}
        if name != objectives.NULL:
            drawn.append(objectives.differences(own["person"], label, ways[DAYS], ways[YEARS]))
    means = {way: float(np.mean([told[n][way] for n in told if n != objectives.NULL])) for way in ways}
    return told | {"mean": means | {"difference": _ends(np.nanmean(drawn, axis=0))}}


def _ends(drawn: NDArray[np.float64]) -> list[float]:
    return [float(value) for value in np.percentile(drawn, [2.5, 97.5])]


def members(pipeline: Pipeline, folder: Path) -> dict[str, tuple[list[tuple[Shard, Labels]], Labels]]:
    """For each mechanism: its members' rows in each shard, and their groups (0, 1) in this order."""
    truth, store = read_groups(folder / "truth"), pipeline.store
    found: dict[str, tuple[list[tuple[Shard, Labels]], list[int]]] = {name: ([], []) for name in MECHANISMS}
    for path in store.current(PATIENT_DATASET).files("patients"):
        shard, ids = Shard.read(path), schemas.read(path, ["patient_id"]).column("patient_id").to_pylist()
        for name, (rows, groups) in found.items():
            named = [f"{name}: {group}" for group in KINDS[name].groups]
            mine = [n for n, patient in enumerate(ids) if truth.get(patient) in named]
            rows.append((shard, np.array(mine, np.int64)))
            groups += [named.index(truth[ids[n]]) for n in mine]
    return {name: (rows, np.array(groups)) for name, (rows, groups) in found.items()}


def probed(pipeline: Pipeline, folder: Path, model: PackedEncoder) -> dict[str, dict[str, NDArray[Any]]]:
    """For each mechanism and choice of tokens, the score of each member by a probe that has not seen that member."""
    vocabulary = Vocabulary.read(pipeline.store.current(VOCABULARY).path)
    how = Inference(**encoder_shape(pipeline.study) | {"precision": "float32"}, batch_tokens=4096)
    lines = (folder / "terminology/MRCONSO.RRF").read_text(encoding="utf-8").splitlines()
    concept_of = {parts[13]: parts[0] for parts in (line.split("|") for line in lines)}
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    told: dict[str, dict[str, NDArray[Any]]] = {}
    for name, (shards, groups) in members(pipeline, folder).items():
        findings = [vocabulary.token_of[concept_of[code]] for code in KINDS[name].codes]
        chosen = {ALL: np.arange(vocabulary.size) >= FIRST_CONCEPT, FINDINGS: np.isin(range(vocabulary.size), findings)}
        told[name] = {"group": groups}
        for tokens, weights in chosen.items():
            pooled = [
                over_chunks(pool_chunks(model, shard, rows, weights.astype(float), how), len(rows), None).vectors_PD
                for shard, rows in shards
                if len(rows)
            ]
            told[name][tokens] = cross_val_predict(
                probe, np.concatenate(pooled), groups, cv=5, method="decision_function"
            )
    return told


def of_probes(found: dict[tuple[str, str], dict[str, dict[str, NDArray[Any]]]]) -> Figures:
    """AUROC by tokens, mechanism, weights and variant, with the differences of the trained ones."""
    told: Figures = {"members": {name: len(own["group"]) for name, own in found[TRAINED, YEARS].items()}}
    for tokens in (ALL, FINDINGS):
        for name in MECHANISMS:
            here = told.setdefault(tokens, {}).setdefault(name, {UNTRAINED: {}, TRAINED: {}})
            label = found[TRAINED, YEARS][name]["group"] == 1
            for (weights, variant), own in found.items():
                here[weights][variant] = auroc(label, own[name][tokens], np.ones(len(label)))
            two = (found[TRAINED, variant][name][tokens] for variant in (DAYS, YEARS))
            here[TRAINED]["difference"] = _ends(objectives.differences(np.arange(len(label)), label, *two))
    return told


def measured(folder: Path, world: str, seed: int, epochs: int, options: argparse.Namespace) -> Figures:
    """The figures of one world, seed and length of training."""
    patients, factor = options.patients or PATIENTS[world], options.factor
    write(folder, PLANS[world], patients, seed, SHARE[world])
    pipeline = Pipeline(objectives.study_in(folder, seed, "masked", epochs))
    pipeline.make(EXTRACT, until=DATA_SPLIT)
    told: Figures = {"world": world, "seed": seed, "epochs": epochs, "factor": factor, "patients": patients}
    loss, rows, probes = {}, {}, {}
    for variant in VARIANTS:
        with seeing_days(factor) if variant == DAYS else nullcontext():
            model, told[variant] = trained(pipeline, folder / "trained" / variant)
            loss[variant] = losses(pipeline, model)
            if world == OUTCOMES:
                rows[variant] = objectives.asked(pipeline, folder, model)
            else:
                probes[TRAINED, variant] = probed(pipeline, folder, model)
                probes[UNTRAINED, variant] = probed(pipeline, folder, fresh(model.stock.config, seed))
        print(world, seed, variant, told[variant], flush=True)
    return told | {"loss": of_loss(loss)} | (of_outcomes(rows) if rows else of_probes(probes))


def fresh(config: ModelConfig, seed: int) -> PackedEncoder:
    """An encoder with random weights."""
    stock, random = new_model(config, seed), torch.Generator().manual_seed(seed)
    base: Any = stock.roberta_prelayernorm
    ages = base.embeddings.position_embeddings
    for layer in (ages.age, ages.gap) if isinstance(ages, Timed) else ():
        torch.nn.init.normal_(layer, 0.0, config.initializer_range / ages.factor, random)
    return PackedEncoder(stock).eval()


def section(found: list[Figures]) -> str:
    """The text for RESULTS.md."""
    costs, ranks, probes = [], [], []
    for told in sorted(found, key=lambda told: [told[name] for name in KEYS]):
        about = tuple(told[name] for name in KEYS[1:])
        speed = (f"{told[variant]['tokens a second']:,.0f}" for variant in VARIANTS)
        costs.append((told["world"], *about, told[DAYS]["updates"], *_both(told["loss"]), *speed))
        if "mean" in told:
            beside = (f"{told['mean'][way]:.3f}" for way in (objectives.BAYES, objectives.AGE))
            ranks.append((*about, *beside, *_both(told["mean"])))
        for tokens, name in product((ALL, FINDINGS), told.get("members", ())):
            untrained, own = (told[tokens][name][weights] for weights in (UNTRAINED, TRAINED))
            probes.append((tokens, name, *about, told["members"][name], *_both(untrained)[:2], *_both(own)))
    both = "years", "days", "difference"
    drawn = ", ".join(sorted({f"{told['patients']:,} patients in `{told['world']}`" for told in found}))
    return "\n\n".join(
        (
            "*Years*: age in whole years, the stock encoder. *Days*: age in days and gap as well, times the factor. The demo's"
            f" encoder, trained by masking. World `groups`: {', '.join(PLANS[GROUPS])}. Drawn for each seed: {drawn}; 40 % of them"
            " judged (probes: all members). Differences are days minus years, with the 95 % interval over patients. Loss of masked"
            " concepts in nats, on the test set; tokens a second of processor time, in training with its evaluations:",
            results.table((*KEYS, "updates", *both, "tokens a second, years", "tokens a second, days"), costs),
            "World `outcomes` without labels, incident cases only: mean AUROC over the outcomes that have a driver:",
            results.table((*KEYS[1:], objectives.BAYES, objectives.AGE, *both), ranks),
            "Groups by mechanism: AUROC of the probe on mean-pooled frozen vectors of all concepts, or of the findings alone:",
            results.table(
                ("tokens", "mechanism", *KEYS[1:], "members", *(f"{v}, untrained" for v in both[:2]), *both),
                sorted(probes),
            ),
        )
    )


def _both(found: Figures) -> tuple[str, ...]:
    """A figure of both variants, and their difference with its interval."""
    years, days = (found[variant] for variant in VARIANTS)
    low, high = found.get("difference", (np.nan, np.nan))
    return f"{years:.3f}", f"{days:.3f}", f"{days - years:+.3f} ({low:+.3f} to {high:+.3f})"


def main() -> None:
    """Measure what is asked for and not there, and write the section of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="*", choices=PLANS, default=list(PLANS))
    parser.add_argument("--patients", type=int, help=f"patients drawn for each world (default: {PATIENTS})")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--epochs", type=int, nargs="*", default=[3, 8])
    parser.add_argument("--factor", type=float, default=0.03)
    parser.add_argument("--keep", type=Path, help="folder of the figures (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        kept = (options.keep or Path(scratch)) / str(options.patients or "default")
        for world, seed, epochs in product(options.worlds, options.seeds, options.epochs):
            path = kept / f"{world}-{options.factor}-{epochs}-{seed}.json"
            if not path.is_file():
                with tempfile.TemporaryDirectory() as folder:
                    told = measured(Path(folder), world, seed, epochs, options)
                kept.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        found = [json.loads(path.read_text(encoding="utf-8")) for path in kept.glob("*.json")]
    results.write("days_and_gaps.py", "Age in days as an input of the encoder", section(found))


if __name__ == "__main__":
    main()
