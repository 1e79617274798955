"""A small study in memory, without a chain: records in which one concept is a risk, labels of two tasks, and an encoder."""

import datetime
import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.encoder.model import config_for, new_model
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.patients import training_patients
from ehr_pipeline.predictions import answers_job as jobs
from ehr_pipeline.predictions import build
from ehr_pipeline.predictions.settings import PredictionsSettings
from ehr_pipeline.predictions.table import TaskResults
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.hashing import hash_of
from ehr_pipeline.tasks import table
from ehr_pipeline.tasks.table import Definition
from ehr_pipeline.work.jobs import Job
from ehr_pipeline_tests.conftest import unpublished
from ehr_pipeline_tests.encoder.data import vocabulary_of

CONCEPTS, SHARDS, PEOPLE = 30, 2, 450
RISK, OUTCOME, NULL = 5, 6, 7
INDEX = (datetime.date(2010, 1, 1) - datetime.date(1970, 1, 1)).days
ENCODER = EncoderSettings(hidden_size=16, layers=1, heads=2, feed_forward=32, context=32)
SIDES = ("train", "validation", "test")
SMALL = PredictionsSettings(labels=(10,), bootstrap=200)


def definition(number: int, name: str, outcome: int, **changes: Any) -> Definition:
    plain = Definition(
        number,
        name,
        name.lower().replace(" ", "_"),
        (f"C{outcome}",),
        (),
        "calendar",
        False,
        False,
        {"kind": "recorded", "last": -1, "opens": 1, "closes": 365, "lookback": 0, "visit_window": 0},
    )
    return replace(plain, **changes)


@dataclass
class Planted:
    """The study's folders. Changed ones are written again, and `results` reads what the stage makes of them."""

    folder: Path
    definitions: tuple[Definition, ...] = (definition(0, "Risky", OUTCOME), definition(1, "Null", NULL))
    late: int = 0
    """Days by which histories end too late."""
    seed: int = 0
    keep: Callable[[int], bool] = lambda task: True

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.key = secret_key.of(self.folder / "store")
        vocabulary_of(CONCEPTS + 5).write(self.folder / "vocabulary")
        ids = [f"p{number}" for number in range(SHARDS * PEOPLE)]
        self.side = rng.choice(3, len(ids), p=[0.45, 0.15, 0.4])
        for shard in range(SHARDS):
            here = slice(shard * PEOPLE, (shard + 1) * PEOPLE)
            self._shard(rng, f"{shard:05d}.arrow", ids[here], self.side[here])
        self.labels()
        vocabulary = vocabulary_of(CONCEPTS + 5)
        model = new_model(config_for(ENCODER, vocabulary.size, vocabulary.hash), seed=1)
        checkpoint.save(self.folder / "encoder/checkpoint", model, vocabulary)
        self.learn_from([one for one, side in zip(ids, self.side, strict=True) if side < 2])

    def learn_from(self, ids: list[str]) -> None:
        """Note from whom the encoder learned."""
        training_patients.write(self.folder / "encoder", self.key, [hash_of(pl.Series(ids))])

    def _shard(self, rng: np.random.Generator, name: str, ids: list[str], side: np.ndarray) -> None:
        risk = rng.gamma(1, 1.5, len(ids))
        rows, self.rows = [], getattr(self, "rows", {})
        label = {0: rng.random(len(ids)) < 1 / (1 + np.exp(2.5 - 1.2 * risk)), 1: rng.random(len(ids)) < 0.4}
        for person in range(len(ids)):
            days = INDEX - 1 - rng.integers(0, 2_000, 6)
            visits = {int(day): {int(rng.integers(8, 5 + CONCEPTS))} for day in days}
            for day in INDEX - 1 - rng.integers(0, 2_000, rng.poisson(2 * risk[person])):
                visits.setdefault(int(day), set()).add(RISK)
            for task, token in ((0, OUTCOME), (1, NULL)):
                if label[task][person]:
                    visits.setdefault(INDEX + int(rng.integers(1, 365)), set()).add(token)
            rows.append([{"date": day, "concepts": sorted(visits[day])} for day in sorted(visits)])
        self.rows[name] = (ids, side, label)
        as_days = pa.list_(pa.struct([("date", pa.int32()), ("concepts", pa.list_(pa.int32()))]))
        columns = {
            "patient_id": ids,
            "birth_date": pa.array(rng.integers(-18_000, 0, len(ids)).astype(np.int32)).cast(pa.date32()),
            "birth_precision": ["day"] * len(ids),
            "sex": rng.choice(["F", "M"], len(ids)).tolist(),
            "practice": rng.choice(["a", "b"], len(ids)).tolist(),
            "visits": pa.array(rows, as_days).cast(schemas.VISITS),
        }
        schemas.write(
            self.folder / "dataset/patients" / name, pa.table(columns, schema=schemas.patient_dataset(("practice",)))
        )

    def labels(self) -> None:
        """Write the labels of both tasks."""
        for name, (ids, side, label) in self.rows.items():
            parts = [self._labels(number, ids, side, label[number % 2]) for number in range(len(self.definitions))]
            schemas.write(self.folder / "labels/rows" / name, pa.concat_tables(parts))
        table.write(self.folder / "labels", self.definitions)

    def _labels(self, task: int, ids: list[str], side: np.ndarray, label: np.ndarray) -> pa.Table:
        def date(day: int | None) -> pa.Array:
            return pa.array([day] * len(ids), pa.int32()).cast(pa.date32())

        columns = [
            pa.array([task] * len(ids), pa.int16()),
            pa.array(ids).dictionary_encode(),
            pa.array(range(len(ids)), pa.int32()),
            pa.DictionaryArray.from_arrays(pa.array(side.astype(np.int8)), pa.array(SIDES)),
            *(date(day) for day in (INDEX, None, INDEX - 1 + self.late, INDEX - 1, INDEX + 1, INDEX + 365)),
            pa.array(label),
            pa.array(["window"] * len(ids)).dictionary_encode().cast(schemas.TASK_LABELS.field("ended").type),
            pa.array([365] * len(ids), pa.int32()),
            pa.array([False] * len(ids)),
        ]
        return pa.table(columns, schema=schemas.TASK_LABELS)

    def artifacts(self) -> dict[str, Artifact]:
        folders = {
            "vocabulary": "vocabulary",
            "patient_dataset": "dataset",
            "task_labels": "labels",
            "encoder_checkpoint": "encoder",
        }
        return {asset: unpublished(self.folder / name) for asset, name in folders.items()}

    def results(
        self,
        out: Path,
        settings: PredictionsSettings = SMALL,
        key: secret_key.Key | None = None,
        *,
        shifted_dates: bool = False,
    ) -> TaskResults:
        """Run the stage."""
        out.mkdir()
        job = jobs.AnswersJob(
            checkpoint=self.folder / "encoder/checkpoint",
            vocabulary=self.folder / "vocabulary",
            dataset=self.folder / "dataset/patients",
            work=out / ".work",
            settings=Inference(ENCODER.context, ENCODER.age_unit, ENCODER.max_positions, 4096, "float32"),
            tokens_before=settings.tokens_before,
            means=True,
            seed=0,
            untrained=build.needs_untrained(settings),
            threads=1,
        )
        how = build.How(settings, ("practice",), 0, key or self.key, shifted_dates)
        build.build(self.artifacts(), how, job, out, _inline)
        return TaskResults.read(out)


def _inline(job: Job) -> None:
    importlib.import_module(job.module).run(job)
