"""Make `forecasts`: forecast which concepts follow randomly drawn visits, by the encoder and by counting, and compare.

The encoder needs no further training and no decoder: a visit that holds only [MASK] is appended to a history, at the age for which
a forecast is wanted. That day is the last day of the history plus the usual gap to the next visit, or the middle of the forecast
window. It is never the true day of the next visit, which is unknown when the forecast is made. For the tables see `table`; they are
empty without a test set, or with `patients = 0`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from ehr_pipeline.encoder import checkpoint, configuration
from ehr_pipeline.forecasts import cases, counting, pictures, scores
from ehr_pipeline.forecasts.cases import COUNT, DAYS, HORIZONS, JUDGE, NEXT_VISIT, TUNE, YEAR, Cases
from ehr_pipeline.forecasts.counting import Tables
from ehr_pipeline.forecasts.evaluate import Groups, Judge, judged_horizons
from ehr_pipeline.forecasts.scores import EncoderStates, Mixed
from ehr_pipeline.forecasts.settings import ForecastsSettings
from ehr_pipeline.forecasts.table import Forecasts, SavedCounting, empty
from ehr_pipeline.patients.histories import ALWAYS
from ehr_pipeline.patients.shard import Shard, ages_at
from ehr_pipeline.predictions.answers_job import QUERIES, AnswersJob
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import DATA_SPLIT, PATIENT_DATASET
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary
from ehr_pipeline.work.jobs import Launch

UNTYPED = "no semantic type"


def write_empty(out: Path) -> Counts:
    """Write empty tables, for a study without forecasts."""
    empty().write(out)
    return {"rows_in": 0, "kept": 0, "dropped": {}}


def build(
    artifacts: Mapping[str, Artifact],
    settings: ForecastsSettings,
    job: AnswersJob,
    seed: int,
    *,
    launch: Launch,
    out: Path,
) -> Counts:
    """Write the tables into `out`. Return counts of patients."""
    dataset = artifacts[PATIENT_DATASET].files("patients")
    split = [artifacts[DATA_SPLIT].file(f"split/{path.name}") for path in dataset]
    config = configuration.read(job.checkpoint)
    vocabulary = Vocabulary.read(job.vocabulary).first(config["vocab_size"])
    drawn = cases.draw(dataset, split, settings, seed)
    every = cases.read(dataset, drawn, vocabulary.size)
    counts = _counts(every, drawn.counts)
    learned = np.flatnonzero(every.side == COUNT)
    if not len(learned) or not counts["kept"]:
        empty().write(out)
        return counts
    gap = max(round(float(np.median(every.next_day[learned] - every.index[learned]))), 1)
    asked = encoder_states(every, dataset, job, gap, launch)
    job.remove()
    tables, mixed = count_and_mix(every, asked, seed)
    SavedCounting(tables, mixed, gap).write(out)
    judge = Judge(_groups(vocabulary, every), settings.bootstrap, seed)
    found = judged_horizons(judge, every, asked, tables, mixed)
    found.write(out)
    pictures.recalls(out / pictures.RECALLS, found)
    return counts | {"gap_days": gap, "recall": _recalls(found)}


def count_and_mix(
    every: Cases, states: dict[str, EncoderStates], seed: int
) -> tuple[dict[str, Tables], dict[str, Mixed]]:
    """Count on the training set, and fit on the validation set how counts and encoder are combined; both by horizon."""
    tables, mixed = {}, {}
    for name in HORIZONS:
        counted = counting.count(every, name, every.on(COUNT, name), seed)
        if counted is None:
            continue
        tables[name] = Tables.of(counted)
        joined = scores.mix(every, name, states[name], tables[name], seed)
        if joined is not None:
            mixed[name] = joined
    return tables, mixed


def query_days(index: NDArray[np.int64], gap: int) -> dict[str, NDArray[np.int64]]:
    """Return the day (P,) for which the encoder forecasts, by horizon."""
    middle = {name: index + (many + 1) // 2 for name, many in DAYS.items()}
    return {NEXT_VISIT: index + gap} | middle


def encoder_states(
    every: Cases, dataset: list[Path], job: AnswersJob, gap: int, launch: Launch
) -> dict[str, EncoderStates]:
    """Query the encoder about all cases outside the training set. Horizons that ask about the same day share an answer."""
    some = np.flatnonzero(every.side != COUNT)
    days = query_days(every.index, gap)
    layout, number, questions = {}, np.full((len(HORIZONS), len(every)), -1), 0
    for place, path in enumerate(dataset):
        rows = some[every.shard[some] == place]
        if not len(rows):
            continue
        shard = Shard.read(path)
        birth = shard.birth_day[every.row[rows]], shard.birth_year_only[every.row[rows]]
        ages = [ages_at(days[name][rows], *birth, job.settings.age_unit) for name in HORIZONS]
        keys = np.concatenate([np.arange(len(rows)) * 10_000 + age for age in ages])
        _, first, answer = np.unique(keys, return_index=True, return_inverse=True)
        asked = np.concatenate([days[name][rows] for name in HORIZONS])[first]
        own = rows[first % len(rows)]
        always = np.full(len(own), ALWAYS, np.int64)
        layout[path.name] = pa.table([every.row[own], always, every.index[own], asked], schema=QUERIES)
        number[:, rows] = questions + answer.reshape(len(HORIZONS), len(rows))
        questions += len(first)
    job.lay_out(layout)
    launch(job)
    states = np.concatenate([schemas.matrix(job.answers(name), "state") for name in layout])
    model = checkpoint.load(job.checkpoint, Vocabulary.read(job.vocabulary), torch.device("cpu"))
    return {name: EncoderStates(model, states, number[place]) for place, name in enumerate(HORIZONS)}


def _groups(vocabulary: Vocabulary, every: Cases) -> Groups:
    types: list[tuple[str, ...]] = [()] * FIRST_CONCEPT
    types += [tuple(TYPE_NAMES.get(t, t) for t in one.semantic_types) or (UNTYPED,) for one in vocabulary.concepts]
    recorded = np.asarray(every.targets[YEAR][np.flatnonzero(every.side == COUNT)].sum(0)).ravel()
    return Groups.of(types, recorded)


def _counts(every: Cases, drawn: dict[str, int]) -> Counts:
    sides = np.bincount(every.side, minlength=3).tolist()
    return {
        "rows_in": drawn["rows_in"],
        "kept": sides[JUDGE],
        "dropped": {name: drawn[name] for name in ("few_visits", "not_drawn")},
        "counted": sides[COUNT],
        "tuned": sides[TUNE],
        "followed": {name: len(every.on(JUDGE, name)) for name in DAYS},
    }


def _recalls(found: Forecasts) -> dict[str, Any]:
    """Return recall at ten for the next year, by list and model."""
    recalls: dict[str, Any] = {}
    for row in found.forecasts:
        if (row["horizon"], row["measure"]) == (YEAR, "recall"):
            recalls.setdefault(row["list"], {})[row["model"]] = round(row["value"], 4)
    return recalls
