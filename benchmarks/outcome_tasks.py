"""Tasks of the world `outcomes` for one seed, and what is kept of it: the world, its encoder, and the scores of all models.

Nothing is learned from patients of the test set: no vocabulary, encoder or model. Rows are patients on 1 January of several years
who have been registered for a year. Tasks are of three kinds: an outcome in those who never had it (INCIDENT), an outcome again in
those who had it (AGAIN), and a finding that drives an outcome, again in those who had it (FINDING). Labels of incident tasks are
those of the truth, whatever happens to the record. Labels of the others are those of the records, among patients who stay for the
whole window; they are ranked without labels only.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from objectives import MASKED, study_in, tokens_of, trained

from ehr_pipeline.assets.identity import encoder_shape
from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder.metrics import read as read_metrics
from ehr_pipeline.patients.histories import ALWAYS
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.predictions import answers_job, metrics
from ehr_pipeline.predictions.answers_job import ANSWERS, QUERIES, TRAINED, UNTRAINED, AnswersJob
from ehr_pipeline.predictions.compare import Case, fits
from ehr_pipeline.predictions.encoder_queries import Answers
from ehr_pipeline.predictions.features import RecordedConcepts, recorded
from ehr_pipeline.predictions.rows import FIT, JUDGE, SIDES, People, Rows
from ehr_pipeline.predictions.settings import PredictionsSettings
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.worlds.drivers import FINDING_RATE, FINDING_SHAPE, FINDINGS, OUTCOMES, PAIRS, Outcome
from ehr_pipeline.synthetic.worlds.mechanism import day
from ehr_pipeline.synthetic.worlds.outcomes import DRIFTED
from ehr_pipeline.synthetic.worlds.write import is_there, write
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import DATA_SPLIT, PATIENT_DATASET, VOCABULARY
from ehr_pipeline.tables.hashing import hash_of
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline.work.threads import one_thread

Floats = NDArray[np.float64]
YEARS, WINDOW, LABELS = (2006, 2010, 2014, 2018), 365, 100
INCIDENT, AGAIN, FINDING = "incident", "again", "finding"
PATIENTS = {"min_visits": 1, "split": {"validation_share": 0.05, "test_share": 0.49}}
"""All patients with a visit; 5 % recalibrate and choose, 49 % are judged."""
WITHOUT = ("age_sex", "history", "counts", "recency", "recency_boosting")
WITH = ("masked", "vectors", "vectors_masked", "masked_recency")
BAYES, AGE, AMOUNT, RISK, RATE = "Bayes", "age alone", "amount alone", "risk concepts", "rate"
"""Scores without labels, beside those of models. Amount: concepts a year. Risk concepts: those that the plan makes a cause, counted
with a half-life of a year. Rate: the encoder's share, times the amount."""
Key = tuple[str, str, int]
"""A model, '0', '100' or 'all' labels, and the number of the sample of labels."""


@dataclass(frozen=True)
class Task:
    """A task: its rows, and the scores (n,) that need no model."""

    name: str
    kind: str
    tokens: NDArray[np.int64]
    own: NDArray[np.int64]
    """Which of all rows of the seed."""
    label: NDArray[np.bool_]
    scores: dict[str, Floats]


@dataclass(frozen=True)
class Judged:
    """What is kept of a task: the test set's patients (n,), labels (n,) and scores (n,), and AUROCs on the validation set."""

    patient: NDArray[np.uint64]
    label: NDArray[np.bool_]
    scores: dict[Key, Floats]
    tuned: dict[Key, float]
    slope: float
    """Calibration slope of `recency` with all labels, after recalibration; NaN where it was not fitted."""

    def write(self, path: Path) -> None:
        """Write to a file."""
        columns: dict[str, Any] = {f"score/{'/'.join(map(str, key))}": each for key, each in self.scores.items()}
        columns |= {f"tuned/{'/'.join(map(str, key))}": np.float64(each) for key, each in self.tuned.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".new.npz")
        np.savez_compressed(beside, patient=self.patient, label=self.label, slope=np.float64(self.slope), **columns)
        beside.rename(path)

    @classmethod
    def read(cls, path: Path) -> "Judged":
        """Read from a file."""
        scores, tuned = dict[Key, Floats](), dict[Key, float]()
        with np.load(path) as kept:
            for name, values in kept.items():
                kind, *key = name.split("/")
                if kind == "score":
                    scores[key[0], key[1], int(key[2])] = values
                elif kind == "tuned":
                    tuned[key[0], key[1], int(key[2])] = float(values)
            return cls(kept["patient"], kept["label"], scores, tuned, float(kept["slope"]))


@dataclass(frozen=True)
class Leak:
    """A task with the window in its histories."""

    rows: Rows
    recorded: RecordedConcepts
    late: RecordedConcepts
    auroc: float
    """Of counts and recency with all labels."""


class Seed:
    """The world of one seed. Whatever is in its folder is not made again."""

    def __init__(self, folder: Path, patients: int, seed: int, epochs: int) -> None:
        self.folder, self.seed, self.epochs = folder, seed, epochs
        if not is_there(folder, ["outcomes"], patients, seed):
            write(folder, ["outcomes"], patients, seed)
        self.pipeline = Pipeline(study_in(folder, seed, MASKED, epochs, PATIENTS))
        self.pipeline.make(EXTRACT, until=DATA_SPLIT)
        store = self.pipeline.store
        self.dataset = store.current(PATIENT_DATASET).files("patients")
        self.vocabulary = Vocabulary.read(store.current(VOCABULARY).path)

    @property
    def trained(self) -> Path:
        """Folder of the encoder."""
        return self.folder / f"trained/{MASKED}-{self.epochs}"

    @cached_property
    def people(self) -> pl.DataFrame:
        """A line for each row: shard, row, id, side, year, and first and last day of registration (days from 1970)."""
        parts = []
        for number, path in enumerate(self.dataset):
            split = pl.from_arrow(schemas.read(self.pipeline.store.current(DATA_SPLIT).file(f"split/{path.name}")))
            shard = Shard.read(path)
            assert isinstance(split, pl.DataFrame)
            begun = pl.Series("begun", shard.visit_day[shard.patient_start[:-1]].astype(np.int64))
            shown = split.select(pl.col("patient_id").cast(pl.String), pl.col("side").cast(pl.String), begun)
            parts.append(shown.with_columns(shard=pl.lit(number)).with_row_index("row"))
        stays = pl.read_parquet(self.folder / "truth/people.parquet").select(
            pl.col("patient_id").cast(pl.String),
            *(pl.col(name).cast(pl.Date).cast(pl.Int32).cast(pl.Int64) for name in ("registered", "until")),
        )
        indices = pl.DataFrame({"year": YEARS, "index": [day(f"{year}-01-01") for year in YEARS]})
        found = pl.concat(parts).join(stays, on="patient_id").join(indices, how="cross")
        there = (pl.col("registered") + WINDOW <= pl.col("index")) & (pl.col("until") >= pl.col("index"))
        return found.filter(there & (pl.col("begun") < pl.col("index"))).sort("shard", "row", "year")

    @cached_property
    def rows(self) -> Rows:
        """All rows, without labels."""
        table = self.people
        index = table["index"].to_numpy().astype(np.int64)
        return Rows(
            shard=table["shard"].to_numpy().astype(np.int32),
            row=table["row"].to_numpy().astype(np.int64),
            side=table["side"]
            .replace_strict({name: place for place, name in enumerate(SIDES)})
            .to_numpy()
            .astype(np.int8),
            patient=hash_of(table["patient_id"]),
            index=index,
            first=np.full(len(index), ALWAYS),
            last=index - 1,
            known=index - 1,
            opens=index,
            query_day=index + WINDOW // 2,
            label=np.zeros(len(index), bool),
            weight=np.ones(len(index)),
            prevalence=0.0,
        )

    @cached_property
    def recorded(self) -> RecordedConcepts:
        """The histories of all rows."""
        return recorded(self.dataset, self.rows, self.vocabulary.size)

    @cached_property
    def window(self) -> Any:
        """Visits with each concept within the window (n, V)."""
        last = self.rows.index + WINDOW - 1
        return recorded(self.dataset, self.window_rows(last), self.vocabulary.size).counts

    def window_rows(self, last: NDArray[np.int64]) -> Rows:
        """The rows with the window in place of the history."""
        return replace(self.rows, first=self.rows.index, last=last, known=last)

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """All tasks, by name."""
        return {task.name: task for task in (*self._of_outcomes(), *self._of_findings())}

    def tokens(self, *codes: str) -> NDArray[np.int64]:
        """Token ids of codes."""
        return tokens_of(self.folder, self.vocabulary, [codes])[0]

    def had(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Who of all rows has a concept in the history (n,)."""
        return np.asarray(self.recorded.counts[:, tokens].sum(1)).ravel() > 0

    def within(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Who of all rows has a concept in the window (n,)."""
        return np.asarray(self.window[:, tokens].sum(1)).ravel() > 0

    @cached_property
    def stays(self) -> NDArray[np.bool_]:
        """Who of all rows is registered for the whole window (n,)."""
        return (self.people["until"] >= self.people["index"] + WINDOW - 1).to_numpy()

    @cached_property
    def amount(self) -> Floats:
        """Logarithm of the concepts a year in the record (n,), one more of both."""
        years = (np.expm1(self.recorded.amounts[:, 2:4]).sum(1) + 1) / DAYS_IN_YEAR
        found: Floats = np.log((np.expm1(self.recorded.amounts[:, 1]) + 1) / (years + 1))
        return found

    def _plain(self, own: NDArray[np.int64], causes: NDArray[np.int64]) -> dict[str, Floats]:
        """The scores that know nothing but age, amount and causes."""
        counted = (
            np.asarray(self.recorded.decayed[:, causes].sum(1)).ravel() if len(causes) else np.zeros(len(self.rows))
        )
        return {AGE: self.recorded.age[own], AMOUNT: self.amount[own], RISK: counted[own]}

    def _of_outcomes(self) -> Iterator[Task]:
        risk = pl.read_parquet(self.folder / "truth/risk.parquet").with_columns(
            pl.col("patient_id").cast(pl.String), index=pl.col("index").cast(pl.Int32).cast(pl.Int64)
        )
        people = self.people.with_row_index("place")
        for outcome in OUTCOMES:
            tokens = self.outcome_tokens(outcome)
            causes = self.tokens(*PAIRS.get(outcome.pair, ()), *filter(None, [FINDINGS.get(outcome.finding)]))
            own = people.join(risk.filter(outcome=outcome.name), on=["patient_id", "index"]).sort("place")
            place = own["place"].to_numpy().astype(np.int64)
            scores = {BAYES: own["risk"].to_numpy()} | self._plain(place, causes)
            yield Task(f"{INCIDENT}: {outcome.name}", INCIDENT, tokens, place, own["happened"].to_numpy(), scores)
            yield self._again(AGAIN, outcome.name, tokens, {})

    def outcome_tokens(self, outcome: Outcome) -> NDArray[np.int64]:
        """Token ids of an outcome's codes, with the one that replaces the first in later years."""
        return self.tokens(*outcome.codes, *(DRIFTED[1:] if outcome.codes[0] == DRIFTED[0] else ()))

    def _of_findings(self) -> Iterator[Task]:
        for name, code in FINDINGS.items():
            tokens = self.tokens(code)
            times = np.asarray(self.recorded.counts[:, tokens].sum(1)).ravel()
            years = (self.people["index"] - self.people["registered"]).to_numpy() / DAYS_IN_YEAR
            # The mean of a patient's rate, given the records: rates are gamma distributed, events of a patient a Poisson process.
            mean = (times + FINDING_SHAPE) / (years + FINDING_SHAPE / FINDING_RATE)
            yield self._again(FINDING, name, tokens, {BAYES: mean})

    def _again(self, kind: str, name: str, tokens: NDArray[np.int64], scores: dict[str, Floats]) -> Task:
        own = np.flatnonzero(self.had(tokens) & self.stays)
        shown = {key: values[own] for key, values in scores.items()} | self._plain(own, np.zeros(0, np.int64))
        return Task(f"{kind}: {name}", kind, tokens, own, self.within(tokens)[own], shown)

    def labels_apart(self) -> tuple[int, int]:
        """In how many rows of patients who stay for the window truth and records do not agree, and the number of rows."""
        apart = rows = 0
        for outcome in OUTCOMES:
            task = self.tasks[f"{INCIDENT}: {outcome.name}"]
            here = self.stays[task.own]
            apart += int((self.within(task.tokens)[task.own] != task.label)[here].sum())
            rows += int(here.sum())
        return apart, rows

    @cached_property
    def answers(self) -> dict[str, tuple[NDArray[np.float32], Floats]]:
        """The vectors (n, 2 D) of all rows, and the log-odds (n, t) of all tasks, of trained and of untrained weights."""
        job, names = self.questions()
        if not all((job.work / ANSWERS / name).is_file() for name in names):
            answers_job.run(job)
        tables = [job.answers(name) for name in names]

        def matrix(name: str) -> NDArray[np.float32]:
            return np.concatenate([schemas.matrix(table, name) for table in tables])

        return {
            ending: (
                np.hstack([matrix(f"mean{ending}"), matrix(f"state{ending}")]),
                matrix(f"odds{ending}").astype(float),
            )
            for ending in (TRAINED, UNTRAINED)
        }

    def questions(self) -> tuple[AnswersJob, list[str]]:
        """Train the encoder, and write what it is asked. The job that answers, and the files of its answers."""
        trained(self.pipeline, self.trained, MASKED)
        store, study = self.pipeline.store, self.pipeline.study
        job = AnswersJob(
            checkpoint=self.trained / "checkpoint",
            vocabulary=store.current(VOCABULARY).path,
            dataset=store.current(PATIENT_DATASET).path / "patients",
            work=self.folder / f"answers-{self.epochs}",
            settings=Inference(**encoder_shape(study), batch_tokens=16_384),
            seed=self.seed,
            threads=1,
            tokens_before=0,
            means=True,
            untrained=True,
        )
        questions = np.stack([getattr(self.rows, name) for name in QUERIES.names], axis=1)
        here = {path.name: questions[self.rows.shard == number].T for number, path in enumerate(self.dataset)}
        asked = {name: pa.table(list(columns), schema=QUERIES) for name, columns in here.items()}
        job.lay_out(asked, [task.tokens.tolist() for task in self.tasks.values()])
        return job, list(here)

    def judged(self, name: str, *, encoder: bool = True) -> Judged:
        """The scores of all models for a task, or of those without an encoder."""
        counted = self._kept("counts", name, self.counted)
        if not encoder:
            return counted
        asked = self._kept(f"{MASKED}-{self.epochs}", name, self.asked)
        return replace(counted, scores=counted.scores | asked.scores, tuned=counted.tuned | asked.tuned)

    def _kept(self, kind: str, name: str, made: Callable[[Task], Judged]) -> Judged:
        path = self.folder / f"scores/{kind}/{name.replace(': ', '-').replace(' ', '_')}.npz"
        if not path.is_file():
            made(self.tasks[name]).write(path)
            print(f"seed {self.seed}, {kind}: {name}", flush=True)
        return Judged.read(path)

    def counted(self, task: Task) -> Judged:
        """Score without an encoder."""
        case = self.case(task, WITHOUT if task.kind == INCIDENT else ("history",), {})
        return _fitted(case, task.scores)

    def asked(self, task: Task) -> Judged:
        """Score with the encoder."""
        number = list(self.tasks).index(task.name)
        answers = {
            ending: Answers(vectors[task.own], odds[task.own, number])
            for ending, (vectors, odds) in self.answers.items()
        }
        case = self.case(task, (*WITH, "vectors_untrained") if task.kind == INCIDENT else ("masked",), answers)
        return _fitted(case, {RATE: answers[TRAINED].odds + self.amount[task.own]})

    def case(self, task: Task, models: tuple[str, ...], answers: dict[str, Answers]) -> Case:
        """The task with all inputs of some models."""
        rows = self.rows.take(task.own)
        rows = replace(rows, label=task.label, prevalence=float(task.label[rows.side == FIT].mean()))
        told = RecordedConcepts(
            **{each.name: getattr(self.recorded, each.name)[task.own] for each in fields(RecordedConcepts)}
        )
        settings = PredictionsSettings(models=models, labels=(LABELS,), concepts=1_000, boosted_concepts=100)
        return Case(rows, told, People.read(self.dataset, rows, ()), task.tokens, answers, settings, self.seed)

    def leak(self, name: str) -> Leak:
        """Fit counts and recency on histories that hold the window too."""
        case = self.case(self.tasks[name], ("recency",), {})
        late = recorded(self.dataset, replace(case.rows, last=case.rows.index + WINDOW), self.vocabulary.size)
        settings = replace(case.settings, labels=())
        (fit,) = fits(replace(case, recorded=late, settings=settings))
        label = case.rows.label[case.rows.on(JUDGE)]
        return Leak(case.rows, case.recorded, late, metrics.auroc(label, fit.probability, np.ones(len(label))))

    def loss(self) -> str:
        """The loss on the validation set after the best epoch, and that of frequency alone, in nats."""
        found = read_metrics(self.trained)
        return f"{found['best']['validation_loss']:.3f} ({found['baseline']['loss']:.3f})"


def _fitted(case: Case, further: Mapping[str, Floats]) -> Judged:
    """Fit the models of a case. `further` are scores (n,) that need no model."""
    test = case.rows.on(JUDGE)
    scores: dict[Key, Floats] = {(name, "0", 0): values[test] for name, values in further.items()}
    tuned, slope, label = dict[Key, float](), float("nan"), case.rows.label[test]
    with one_thread():
        for fit in fits(case):
            key = fit.model.name, "all" if fit.labels is None else str(fit.labels), fit.replicate
            scores[key], tuned[key] = fit.probability, fit.tuned
            if key[:2] == ("recency", "all"):
                found = metrics.recalibration(label, fit.recalibrated, np.ones(len(label)))
                slope = found.slope if found else slope
    return Judged(case.rows.patient[test], label, scores, tuned, slope)
