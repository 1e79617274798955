"""Objectives of the encoder on the world `outcomes`: which encoder, asked without labels, ranks patients best by their future?

For each seed the world is drawn, and encoders that differ in their objective alone are trained on 55 % of its patients: `masked`,
`next_visit`, and `both` (the sum of the two losses: each token sees the whole record for masking, and earlier visits alone for the
next visit; in this script alone). The 40 % of the test set are judged on 1 January of several years: patients who are registered,
have a visit before, and have not had the outcome (incident cases only). Each encoder is asked by [MASK] at the middle of the year.

- Share: the odds at the mask that a concept is one of the outcome's three codes. An age counts in whole years, so the day within
  the year does not matter.
- Rate: share times the concepts that the patient's record has a year, ones more in both. A share is of what is recorded at a visit;
  who has more visits has more chances within a year.
- Probe: a logistic regression on frozen vectors (`vectors` of the prediction report: mean of the tokens and state at the mask),
  learned from the training set's patients with all their years, and the same on untrained weights.

The true risk of each patient and year is known, so that the best AUROC there is stands beside (Bayes); so does that of age alone.
Patients are the units of the intervals: they are drawn again with all their years.

Trainings and scores stay in the folder of --keep, and are not made again. The figures of each number of epochs and seed
are a part of the section.

Usage: python benchmarks/objectives.py [--patients 5000] [--seeds 0 1] [--epochs 3 8] [--beside next_visit both]
[--no-probes] [--keep FOLDER]; one to four minutes a training and one a probe
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import results
import torch
from numpy.typing import NDArray

from ehr_pipeline.assets.identity import encoder_shape
from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder import checkpoint, objectives, train
from ehr_pipeline.encoder.metrics import read as read_metrics
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.objectives.base import Draws, Part
from ehr_pipeline.encoder.objectives.masked import Masked
from ehr_pipeline.encoder.objectives.next_visit import NextVisit
from ehr_pipeline.encoder.objectives.weighted import WeightedSum
from ehr_pipeline.encoder.packing import Batch
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.encoder.training_job import TrainingJob
from ehr_pipeline.patients.histories import ALWAYS, cut
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.predictions.answers_job import mean_vectors
from ehr_pipeline.predictions.learners import Sample, Table, logistic
from ehr_pipeline.predictions.metrics import Bootstrap, auroc, interval
from ehr_pipeline.predictions.query_at_mask import answers
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.synthetic.worlds.drivers import OUTCOMES
from ehr_pipeline.synthetic.worlds.mechanism import day
from ehr_pipeline.synthetic.worlds.write import is_there, write
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import DATA_SPLIT, PATIENT_DATASET, VOCABULARY
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.vocabulary.table import Vocabulary

MASKED, NEXT_VISIT, BOTH = "masked", "next_visit", "both"
OBJECTIVES, YEARS, WINDOW, DRAWS = (MASKED, NEXT_VISIT, BOTH), tuple(range(2004, 2019, 2)), 365, 1_000
PATIENTS: Mapping[str, Any] = {"split": {"validation_share": 0.05, "test_share": 0.4}}
CPU = torch.device("cpu")
BAYES, AGE, NULL = "Bayes", "age alone", "stye"
SHARE, RATE, PROBE, UNTRAINED = "encoder", "rate", "probe", "untrained"
WAYS = (SHARE, RATE, PROBE, UNTRAINED)
Rows = dict[str, NDArray[Any]]
"""Of one outcome: person (n,), label (n,), and a score (n,) for each way to rank."""


class MaskedInAll(Masked):
    """Masking in an encoder that looks back: here every token sees the whole record, as in an encoder for masking alone."""

    def prepare(self, batch: Batch, draws: Draws) -> Part:
        """Prepare as for masking; the order of all tokens is the same."""
        part = super().prepare(batch, draws)
        *rows, chosen, targets = part.arrays
        return Part((*rows, np.ones_like(rows[0]), chosen, targets), part.count)

    def forward(self, encoder: PackedEncoder, *arrays: torch.Tensor) -> torch.Tensor:
        """Return the sum of the cross-entropy over the chosen places."""
        *rows, order, chosen, targets = arrays
        return super().forward(encoder, *rows, chosen, order, targets)

    def score(self, encoder: PackedEncoder, sums: torch.Tensor, *arrays: torch.Tensor) -> None:
        """Add the results of masking."""
        *rows, order, chosen, targets = arrays
        super().score(encoder, sums, *rows, chosen, order, targets)

    def results(self, metrics: Mapping[str, Any]) -> str:
        """Say nothing: the encoder gets no model card."""
        return ""


def both(own: EncoderSettings, vocabulary: Vocabulary) -> WeightedSum:
    """The next visit and masking, with like weights."""
    return WeightedSum(
        NEXT_VISIT, NextVisit(own, vocabulary), {MASKED: (1.0, MaskedInAll(own, vocabulary))}, own.context
    )


def study_in(
    folder: Path, seed: int, objective: str, epochs: int, patients: Mapping[str, Any] = PATIENTS
) -> settings.Study:
    """The demo's study with another objective, and with other settings of its patients: by default, 40 % are kept for judging."""
    chosen = {
        "study": {"seed": seed},
        "encoder": {"max_epochs": epochs, "objective": NEXT_VISIT if objective == BOTH else objective},
        "patients": patients,
        "launcher": {"backend": "inline"},
    }
    return settings.load(shipped("demo/settings.toml"), settings.merged(places(folder), chosen))


def trained(pipeline: Pipeline, out: Path, objective: str) -> dict[str, Any]:
    """Train the encoder of the study into `out`, unless it is there. Its metrics."""
    store, study = pipeline.store, pipeline.study
    job = TrainingJob(
        dataset=store.current(PATIENT_DATASET).path / "patients",
        split=store.current(DATA_SPLIT).path / "split",
        vocabulary=store.current(VOCABULARY).path,
        settings=study.encoder,
        seed=study.study.seed,
        threads=1,
        out=out,
    )
    made = {NEXT_VISIT: both} if objective == BOTH else {}
    if not (out / "checkpoint").is_dir():
        out.mkdir(parents=True, exist_ok=True)
        with patch.dict(objectives.OBJECTIVES, made):
            train.run(job)
    return read_metrics(out)


def tokens_of(folder: Path, vocabulary: Vocabulary, lists: Sequence[Sequence[str]]) -> list[NDArray[np.int64]]:
    """The token ids of each list of codes, as far as they are in the vocabulary."""
    lines = (folder / "terminology/MRCONSO.RRF").read_text(encoding="utf-8").splitlines()
    concept_of = {parts[13]: parts[0] for parts in (line.split("|") for line in lines)}
    return [
        np.array([vocabulary.token_of[c] for code in codes if (c := concept_of.get(code)) in vocabulary.token_of], int)
        for codes in lists
    ]


def asked(pipeline: Pipeline, folder: Path, model: PackedEncoder, *, probes: bool = False) -> dict[str, Rows]:
    """Ask an encoder about the test set; the rows of each outcome. With `probes`, those learned on the training set score too."""
    store = pipeline.store
    vocabulary = Vocabulary.read(store.current(VOCABULARY).path)
    how = Inference(**encoder_shape(pipeline.study) | {"precision": "float32"}, batch_tokens=4096)
    lists, sides = (
        tokens_of(folder, vocabulary, [one.codes for one in OUTCOMES]),
        ["test", *(["train"] if probes else [])],
    )
    seen, vectors = [], []
    for path in store.current(PATIENT_DATASET).files("patients"):
        shard = Shard.read(path)
        split = pl.from_arrow(schemas.read(store.current(DATA_SPLIT).file(f"split/{path.name}")))
        assert isinstance(split, pl.DataFrame)
        for year in YEARS:
            index, begun = day(f"{year}-01-01"), shard.visit_day[shard.patient_start[:-1]]
            rows = np.flatnonzero(split["side"].is_in(sides).to_numpy() & (begun < index))
            histories = cut(shard, rows, np.full(len(rows), ALWAYS), np.full(len(rows), index - 1))
            states, odds = answers(model, histories, np.full(len(rows), index + WINDOW // 2), how, lists=lists)
            if probes:
                vectors.append(np.hstack([mean_vectors(model, histories, how), states]))
            a_year = (np.diff(histories.patient_tokens) + 1) / ((index - begun[rows]) / DAYS_IN_YEAR + 1)
            about = {"year": np.full(len(rows), year), AGE: (index - shard.birth_day[rows]) / DAYS_IN_YEAR}
            scores = {one.name: odds[:, n].astype(float) for n, one in enumerate(OUTCOMES)}
            seen.append(split[rows].with_columns(**about, amount=np.log(a_year), **scores))
    table = pl.concat(seen).with_row_index("row")
    risk = pl.read_parquet(folder / "truth/risk.parquet").with_columns(year=pl.col("index").dt.year().cast(pl.Int64))
    return {
        one.name: _rows(
            table.join(risk.filter(outcome=one.name), on=["patient_id", "year"]).sort("patient_id", "year"),
            one.name,
            np.concatenate(vectors) if probes else None,
        )
        for one in OUTCOMES
    }


def _rows(table: pl.DataFrame, outcome: str, vectors: NDArray[Any] | None) -> Rows:
    label, test = table["happened"].to_numpy(), (table["side"] == "test").to_numpy()
    told: Rows = {
        "person": table["patient_id"].to_numpy().astype(str),
        "label": label,
        BAYES: table["risk"].to_numpy(),
        AGE: table[AGE].to_numpy(),
        SHARE: table[outcome].to_numpy(),
        RATE: (table[outcome] + table["amount"]).to_numpy(),
    }
    if vectors is not None:
        learned = np.flatnonzero(~test)
        sample = Sample(learned, label[learned], np.ones(len(learned)), float(label[learned].mean()))
        found = Table.of([vectors[table["row"].to_numpy()]], learned, free=False)
        told[PROBE], _ = logistic(found, sample, 0)
    return {name: values[test] for name, values in told.items()}


def differences(
    person: NDArray[Any], label: NDArray[np.bool_], one: NDArray[Any], other: NDArray[Any]
) -> NDArray[np.float64]:
    """AUROC of `one` minus that of `other`, in DRAWS samples of patients drawn with replacement."""
    drawn = Bootstrap(person, np.ones(len(label)), DRAWS, 0)
    found: NDArray[np.float64] = drawn.aurocs(label, one) - drawn.aurocs(label, other)
    return found


def draws(rows: dict[str, Rows], way: str) -> NDArray[np.float64]:
    """Mean AUROC over the outcomes with a driver, in DRAWS samples of patients: the same patients for all outcomes and encoders."""
    everybody = np.unique(np.concatenate([own["person"] for own in rows.values()]))
    found = []
    for own in (own for outcome, own in rows.items() if outcome != NULL):
        # A row without weight for each patient: the draws then depend on nothing but who is in the test set.
        weight = np.append(np.ones(len(own["label"])), np.zeros(len(everybody)))
        drawn = Bootstrap(np.append(own["person"], everybody), weight, DRAWS, 0)
        padded = (np.append(own[name], np.zeros(len(everybody), own[name].dtype)) for name in ("label", way))
        found.append(drawn.aurocs(*padded))
    mean: NDArray[np.float64] = np.nanmean(found, axis=0)  # a draw without a case has no AUROC
    return mean


def aurocs(rows: dict[str, Rows], way: str) -> dict[str, float]:
    """AUROC of each outcome, and the mean over those with a driver."""
    told = {name: auroc(own["label"], own[way], np.ones(len(own["label"]))) for name, own in rows.items()}
    return told | {"mean": float(np.mean([told[name] for name in told if name != NULL]))}


class Seed:
    """The world of one seed, with the trainings and scores that are there."""

    def __init__(self, folder: Path, patients: int, seed: int) -> None:
        self.folder, self.seed = folder, seed
        if not is_there(folder, ["outcomes"], patients, seed):
            write(folder, ["outcomes"], patients, seed)
        self._pipeline(MASKED, 1).make(EXTRACT, until=DATA_SPLIT)

    def _pipeline(self, objective: str, epochs: int) -> Pipeline:
        return Pipeline(study_in(self.folder, self.seed, objective, epochs))

    def rows(self, objective: str, epochs: int, *, probes: bool) -> dict[str, Rows]:
        """The rows of each outcome, as the encoder scores them; 0 epochs: untrained weights."""
        path = self.folder / f"scores/{objective}-{epochs}.npz"
        if path.is_file():
            with np.load(path) as kept:
                found: dict[str, Rows] = {one.name: {} for one in OUTCOMES}
                for name, values in kept.items():
                    found[name.split("/")[0]][name.split("/")[1]] = values
            if not probes or PROBE in found[NULL]:
                return found
        pipeline, out = self._pipeline(objective, max(epochs, 1)), self.folder / f"trained/{objective}-{epochs}"
        vocabulary = Vocabulary.read(pipeline.store.current(VOCABULARY).path)
        if epochs:
            trained(pipeline, out, objective)
            model = checkpoint.load(out / "checkpoint", vocabulary, CPU)
        else:
            config = config_for(pipeline.study.encoder, vocabulary.size, vocabulary.hash)
            model = PackedEncoder(new_model(config, self.seed)).eval()
        found = asked(pipeline, self.folder, model, probes=probes)
        path.parent.mkdir(exist_ok=True)
        flat: dict[str, Any] = {f"{name}/{key}": values for name, own in found.items() for key, values in own.items()}
        np.savez_compressed(path, **flat)
        print(self.seed, objective, epochs, {way: aurocs(found, way)["mean"] for way in WAYS if way in found[NULL]})
        return found

    def loss(self, objective: str, epochs: int) -> str:
        """The loss on the validation set after the best epoch, and what frequency alone reaches, in nats."""
        metrics = read_metrics(self.folder / f"trained/{objective}-{epochs}")
        return f"{metrics['best']['validation_loss']:.3f} ({metrics['baseline']['loss']:.3f})"


def compared(draw: NDArray[np.float64], base: NDArray[np.float64], difference: float) -> str:
    """A difference with its interval over the same draws of patients."""
    return "{:+.3f} ({:+.3f} to {:+.3f})".format(difference, *interval(draw - base))


def line(seed: Seed, objective: str, epochs: int, found: dict[str, dict[str, Rows]]) -> tuple[str, ...]:
    """The means of one encoder, beside masking and beside untrained weights."""
    own, masked = found[objective], found[MASKED]
    means = {way: aurocs(own, way)["mean"] for way in WAYS[:3] if way in own[NULL]}
    drawn = {way: draws(own, way) for way in means}
    cells = [objective, seed.loss(objective, epochs)]
    for way in (SHARE, RATE):
        cells.append(f"{means[way]:.3f}")
        if objective == MASKED:
            cells.append("")
        else:
            cells.append(compared(drawn[way], draws(masked, way), means[way] - aurocs(masked, way)["mean"]))
    cells.append(compared(drawn[RATE], drawn[SHARE], means[RATE] - means[SHARE]))
    if PROBE not in means:
        return (*cells, "", "", "")
    untrained = seed.rows(MASKED if objective == MASKED else NEXT_VISIT, 0, probes=True)
    without = aurocs(untrained, PROBE)["mean"]
    gain = compared(drawn[PROBE], draws(untrained, PROBE), means[PROBE] - without)
    return (*cells, f"{means[PROBE]:.3f}", f"{without:.3f}", gain)


def part(seed: Seed, epochs: int, options: argparse.Namespace) -> str:
    """The text of one seed and number of epochs."""
    names = (MASKED, *options.beside)
    found = {name: seed.rows(name, epochs, probes=options.probes) for name in names}
    labels = [[own["label"] for own in rows.values()] for rows in found.values()]
    assert all(map(np.array_equal, a, b) for a, b in pairwise(labels)), "all are asked about the same patients"
    bayes, age = (aurocs(found[MASKED], way) for way in (BAYES, AGE))
    columns = [bayes, age, *(aurocs(rows, way) for rows in found.values() for way in (SHARE, RATE))]
    outcomes = [
        (name, int(own["label"].sum()), *(f"{column[name]:.3f}" for column in columns))
        for name, own in found[MASKED].items()
    ]
    heads = ("share", "share: minus masked", "rate", "rate: minus masked", "rate minus share")
    probes = ("probe", "probe, untrained", "probe: trained minus untrained")
    each = (f"{name}, {way}" for name in names for way in ("share", "rate"))
    return "\n\n".join(
        (
            f"On {results.machine()}. {options.patients:,} patients drawn, 40 % of them judged; the demo's encoder; 1 January of"
            f" {', '.join(map(str, YEARS))}; incident cases only. Mean AUROC over the outcomes that have a driver, with 95 %"
            f" intervals over patients. Bayes: {bayes['mean']:.3f}, age alone: {age['mean']:.3f}. Loss: on the validation set, in"
            " nats, and by frequency alone; those of different objectives cannot be compared.",
            results.table(("objective", "loss", *heads, *probes), [line(seed, name, epochs, found) for name in names]),
            "AUROC of each outcome without labels:",
            results.table(("outcome", "cases", BAYES, AGE, *each), outcomes),
        )
    )


def main() -> None:
    """Measure what is asked for and not there, and write the part of each number of epochs and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 8])
    parser.add_argument("--beside", nargs="*", choices=OBJECTIVES[1:], default=OBJECTIVES[1:], help="than masked")
    parser.add_argument("--no-probes", dest="probes", action="store_false", help="without labels only")
    parser.add_argument("--keep", type=Path, help="folder of worlds, trainings and scores (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        kept = options.keep or Path(scratch)
        seeds = [Seed(kept / f"{options.patients}-{seed}", options.patients, seed) for seed in options.seeds]
        for epochs, seed in product(options.epochs, seeds):
            heading, text = f"{epochs} epochs, seed {seed.seed}", part(seed, epochs, options)
            results.write_part("objectives.py", "Objectives of the encoder", heading, text)


if __name__ == "__main__":
    main()
