"""Many cohorts of known truth, each through the product's own stages: for benchmarks that count how often something is said.

Of each kind of world (`synthetic.worlds`), an extract of a few thousand patients is written, from which the chain makes vocabulary,
concept lists, encoder and concept vectors, once. Cohorts are other patients of the same world, in blocks that the extract does not
hold. Their mapped events are written directly, one shard a block, and the stages' own functions make data set, cohort and vectors
of them in this process. Everything is kept in a work folder, so that what follows can be measured again.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ehr_pipeline.clusters.build import Patients
from ehr_pipeline.cohort import build as cohort_of
from ehr_pipeline.cohort.members import Cohort as Members
from ehr_pipeline.cohort.settings import list_of
from ehr_pipeline.embeddings import build as embeddings
from ehr_pipeline.embeddings import embed
from ehr_pipeline.embeddings.embedding_job import EmbeddingJob
from ehr_pipeline.embeddings.patient_blocks import matched_blocks
from ehr_pipeline.embeddings.selection import select
from ehr_pipeline.embeddings.vectors import HALVES, WHOLE, Vectors
from ehr_pipeline.events.resolve_lists import Ladder, Rows
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.patients import dataset
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import integrity
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.people import ETHNICITIES, PRACTICES, REGIONS, patient_ids
from ehr_pipeline.synthetic.study import SMALL, places
from ehr_pipeline.synthetic.worlds import skin, write
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, Block, Events, Mechanism
from ehr_pipeline.synthetic.worlds.plan import World, make
from ehr_pipeline.tables import align, schemas
from ehr_pipeline.tables import asset_names as assets
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline.work.jobs import Job

SEED = 0
SHARE = 1.0
"""Share of the patients who are chosen for one of the five diseases."""
LEARNED_FROM = 4_000
"""Patients of the extract from which vocabulary and encoder are made."""
FIRST_BLOCK = 100
"""The block that the first cohort begins with: far behind those of the extract."""
SETTINGS: dict[str, dict[str, Any]] = {
    "records": {"buckets": 2, "workers": 1},
    "embeddings": {"pooling": {"neighbours": 0}},
    "clusters": {"truth": "", "compare": []},
    "trajectories": {"patients": 20_000},
    "reports": {"audited": ["region", "treatment", "ethnicity", "practice"]},
    "launcher": {"threads": 1},
}
"""What differs from the demo, beside the small encoder: most of a vocabulary lies among the neighbours of the shipped list."""
BY_TYPES = ("ageing", "change")
"""Plans whose planted findings are not in the shipped list: there, concepts are pooled by their types."""


@dataclass(frozen=True)
class Kind:
    """A kind of world: the plan of its generator, and a hazard ratio that replaces all those of the groups, if given."""

    name: str
    plan: str
    ratio: float | None = None
    shuffled: bool = False
    """Whether patients have the vectors of others of the same disease, sex, age and amount of record: clusters of such vectors say
    nothing else of a patient."""

    @contextlib.contextmanager
    def contrasts(self) -> Iterator[None]:
        """The groups with `ratio` in place of each of their hazard ratios; the generator's own module stays as it is."""
        groups: tuple[skin.Group, ...] = skin.GROUPS
        if self.ratio is not None:
            groups = tuple(replace(g, hazard_ratios=dict.fromkeys(g.hazard_ratios, self.ratio)) for g in groups)
        with mock.patch.object(skin, "GROUPS", groups):
            yield


@cache
def _mechanisms(kind: Kind) -> tuple[World, list[Mechanism]]:
    world = World.of(SEED, SHARE)
    return world, make(world, [kind.plan])


@lru_cache(maxsize=2)
def _block(kind: Kind, number: int) -> tuple[Block, Events]:
    with kind.contrasts():
        world, mechanisms = _mechanisms(kind)
        return write.draw(mechanisms, world, number)


@dataclass(frozen=True)
class Learned:
    """What is made once of each world: the chain up to the concept vectors."""

    pipeline: Pipeline

    @classmethod
    def of(cls, folder: Path, plan: str) -> "Learned":
        """Make it in a folder, or find it there."""
        if not write.is_there(folder, [plan], LEARNED_FROM, SEED, 1.0):
            write.write(folder, [plan], LEARNED_FROM, SEED, 1.0)
        small = {name: SMALL[name] for name in ("encoder", "launcher")}
        pooled = {"embeddings": {"pooling": {"select": "types"}}} if plan in BY_TYPES else {}
        chosen = settings.merged(places(folder), small, SETTINGS, pooled)
        pipeline = Pipeline(settings.load(shipped("demo/settings.toml"), chosen))
        if not pipeline.store.has(assets.COHORT):
            pipeline.make(EXTRACT, until=assets.COHORT)
            shutil.rmtree(folder / "landing")
        return cls(pipeline)

    def artifact(self, name: str) -> Artifact:
        """One of its artifacts."""
        return self.pipeline.store.current(name)

    @cached_property
    def concept_of_row(self) -> pl.Series:
        """The concept of each row of the code table; null for a code that the extract does not hold."""
        known = Mapping.read(self.artifact(assets.MAPPED_EVENTS).path).concept_of_code()
        codes = World.of(SEED, 1.0).book.table.codes["code"].cast(pl.String)
        return codes.replace_strict(known, default=None, return_dtype=pl.String)

    @cached_property
    def lists(self) -> tuple[Rows, ...]:
        """The concept lists of the diseases, resolved."""
        study = self.pipeline.study
        files = {list_of(number): disease.concepts for number, disease in enumerate(study.embeddings.cohort)}
        rows = Ladder(study.events, self.artifact(assets.MAPPED_EVENTS)).resolve(files)
        return tuple(rows[name] for name in files)

    @cached_property
    def pooled(self) -> frozenset[str]:
        """The concepts of the list to pool."""
        return self.pipeline.pooled_concepts()


@dataclass(frozen=True)
class Cohort:
    """Cohort `number` among those of `size` patients of one kind of world."""

    work: Path
    kind: Kind
    size: int
    number: int

    @property
    def folder(self) -> Path:
        """Holds one folder for each of its artifacts."""
        return self.work / self.kind.name / str(self.size) / str(self.number)

    @property
    def learned(self) -> Learned:
        """What was made once of its world."""
        return learned(self.work / "worlds" / self.kind.plan, self.kind.plan)

    @property
    def name(self) -> str:
        """Which one it is, for messages."""
        return f"{self.kind.name}, {self.size:,} patients, number {self.number}"

    def blocks(self) -> Iterator[tuple[int, slice]]:
        """Numbers of the blocks with its patients, and which patients of each."""
        start = FIRST_BLOCK * BLOCK + self.number * self.size
        for number in range(start // BLOCK, -(-(start + self.size) // BLOCK)):
            yield number, slice(max(start - number * BLOCK, 0), min(start + self.size - number * BLOCK, BLOCK))

    def artifacts(self, *names: str) -> dict[str, Artifact]:
        """Its artifacts, and those of its world."""
        own = {name: self.made(name) for name in names if (self.folder / name).is_dir()}
        return {name: own.get(name) or self.learned.artifact(name) for name in names}

    def made(self, name: str) -> Artifact:
        """One of its own artifacts."""
        path = self.folder / name
        return Artifact(path, json.loads((path / integrity.MANIFEST).read_text(encoding="utf-8")))

    def make(self, name: str, build: Callable[[Path], Counts], used: Any = None) -> Artifact:
        """Make one of its artifacts anew; a folder appears whole or not at all."""
        beside = self.folder / f".{name}"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        counts = build(beside)
        data, notes, _ = integrity.measured(beside)
        told = {"counts": counts, "settings": used or {}, "files": data, "notes": notes, "inputs": {}}
        (beside / integrity.MANIFEST).write_text(json.dumps(told, default=str), encoding="utf-8")
        shutil.rmtree(self.folder / name, ignore_errors=True)
        beside.rename(self.folder / name)
        return self.made(name)

    def job(self, artifacts: dict[str, Artifact], work: str) -> EmbeddingJob:
        """The embedding job, with its files in a folder of the cohort."""
        return self.learned.pipeline.embedding_job(artifacts, self.folder / work)

    def choose(self) -> dict[str, Artifact]:
        """Make data set and cohort, unless they are there."""
        if not (self.folder / assets.COHORT).is_dir():
            study, vocabulary = self.learned.pipeline.study, self.learned.artifact(assets.VOCABULARY).path
            events = self.make(assets.MAPPED_EVENTS, self._write_events)
            people = self.make(
                assets.PATIENT_DATASET, lambda out: dataset.build([events], events, vocabulary, study.patients, out)
            )
            diseases = study.embeddings.cohort
            self.make(assets.COHORT, lambda out: cohort_of.build(events, people, diseases, self.learned.lists, out))
            shutil.rmtree(self.folder / assets.MAPPED_EVENTS)
        return self.artifacts(assets.PATIENT_DATASET, assets.COHORT, assets.VOCABULARY)

    def embed(self) -> None:
        """Make data set, cohort and vectors, unless they are there. Only the transform is learned from the cohort itself."""
        if (self.folder / assets.PATIENT_EMBEDDINGS).is_dir():
            return
        if self.kind.shuffled:
            self._shuffle()
            return
        study = self.learned.pipeline.study
        read = self.choose() | self.artifacts(assets.ENCODER_CHECKPOINT, assets.CONCEPT_EMBEDDINGS)
        job = self.job(read, "embedding")
        self.make(
            assets.PATIENT_EMBEDDINGS,
            lambda out: embeddings.build(
                read, study.embeddings, job, out, listed=lambda: self.learned.pooled, launch=here
            ),
        )
        shutil.rmtree(job.work)

    def people(self) -> Patients:
        """Its patients with what is pooled of their records. They need no vectors."""
        read, pooling = self.choose(), self.learned.pipeline.study.embeddings.pooling
        vocabulary = Vocabulary.read(read[assets.VOCABULARY].path)
        without_neighbours = np.zeros((vocabulary.size, 0), np.float32)
        pooled = select(pooling, vocabulary, without_neighbours, self.learned.pooled).astype(np.float32)
        members = Members.read(read[assets.COHORT].path)
        return Patients(read[assets.PATIENT_DATASET].files("patients"), members, read[assets.COHORT], pooled)

    def _shuffle(self) -> None:
        """Exchange the vectors of patients alike: whole records and both halves together."""
        source = replace(self, kind=replace(self.kind, name=self.kind.plan, shuffled=False))
        source.embed()
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (assets.PATIENT_DATASET, assets.COHORT, "truth"):
            shutil.copytree(source.folder / name, self.folder / name, dirs_exist_ok=True)
        vectors = source.made(assets.PATIENT_EMBEDDINGS)
        read = self.artifacts(assets.PATIENT_DATASET, assets.COHORT, assets.VOCABULARY)
        halves = [Vectors.read(vectors, name).ids for name in HALVES]
        ids = Vectors.read(vectors).ids
        for own in halves:
            ids = ids.filter(pc.is_in(ids, value_set=own))
        people = Patients.of(read | {assets.PATIENT_EMBEDDINGS: vectors}, ids).described()
        alike = matched_blocks(
            [np.array(people.column(name).to_pylist()) for name in ("disease", "sex")],
            [people.column(name).to_numpy() for name in ("mean_age", "concepts")],
        )
        rng = np.random.default_rng([SEED, self.number])
        grouped, mixed = np.argsort(alike, kind="stable"), np.lexsort((rng.random(len(alike)), alike))
        given = np.empty(len(alike), np.int64)
        given[grouped] = mixed

        def build(out: Path) -> Counts:
            shutil.copytree(vectors.path, out, dirs_exist_ok=True)
            for name in (WHOLE, *HALVES):
                whole = Vectors.read(vectors, name)
                moved = whole.of(ids)[given]
                for path in vectors.files(name):
                    table = schemas.read(path)
                    place = align.rows(table.column("patient_id"), ids)
                    own = schemas.matrix(table).copy()
                    own[place >= 0] = moved[place[place >= 0]]
                    schemas.write(out / name / path.name, table.set_column(1, "vector", schemas.vectors(own)))
            return vectors.counts

        self.make(assets.PATIENT_EMBEDDINGS, build)

    def _write_events(self, out: Path) -> Counts:
        """Write mapped events, patients and truth of its blocks; the mapping is that of the world's extract."""
        shutil.copy(self.learned.artifact(assets.MAPPED_EVENTS).file("mapping.csv"), out)
        truth: dict[str, list[pl.DataFrame]] = {}
        for number, mine in self.blocks():
            block, events = _block(self.kind, number)
            events = events.where((events.person >= mine.start) & (events.person < mine.stop))
            ids = pl.Series("patient_id", patient_ids(block.numbers)).cast(pl.String)
            rows = pl.DataFrame({"patient_id": ids.gather(events.person), "date": pl.Series(events.day).cast(pl.Date)})
            rows = rows.with_columns(self.learned.concept_of_row.gather(events.code).alias("concept")).drop_nulls()
            rows = rows.sort("patient_id", "date")  # as the stage writes them: later ones sort within visits alone
            table = rows.with_columns(pl.col("patient_id", "concept").cast(pl.Categorical)).to_arrow()
            schemas.write(out / f"events/{number:05d}.arrow", table.cast(schemas.MAPPED_EVENTS))
            schemas.write(out / f"patients/{number:05d}.arrow", _people(block, ids, mine))
            for name in set(block.truth) & {"patients", "changes"}:
                own = block.truth[name].filter(pl.col("person").is_between(mine.start, mine.stop - 1))
                truth.setdefault(name, []).append(own.select(ids.gather(own["person"]), pl.exclude("person")))
        (self.folder / "truth").mkdir(exist_ok=True)
        for name, parts in truth.items():
            pl.concat(parts).write_csv(self.folder / f"truth/{name}.csv")
        return {}


def _people(block: Block, ids: pl.Series, mine: slice) -> pa.Table:
    """The patients of a block as the first stage would write them."""

    def named(column: str, names: tuple[str, ...]) -> list[str]:
        return [names[place] for place in block.days(column)]

    columns = {
        "patient_id": ids,
        "birth_date": pl.Series(block.days("birth").astype(np.int32)).cast(pl.Date).dt.replace(month=7, day=1),
        "birth_precision": ["year"] * BLOCK,
        "sex": ["F" if female else "M" for female in block.people["female"]],
        "region": named("region", tuple(REGIONS)),
        "ethnicity": named("ethnicity", tuple(ETHNICITIES)),
        "practice": named("practice", PRACTICES),
        "treatment": block.people["treatment"].tolist(),
    }
    table = pl.DataFrame(columns)[mine.start : mine.stop].sort("patient_id").to_arrow()
    return table.cast(schemas.patients(tuple(columns)[4:]))


def here(job: Job) -> None:
    """Run an embedding job in this process."""
    assert isinstance(job, EmbeddingJob)
    embed.run(job)


@cache
def learned(folder: Path, plan: str) -> Learned:
    """What is made once of the world of a plan; made in a folder, or found there."""
    return Learned.of(folder, plan)
