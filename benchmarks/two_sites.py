"""Two sites of the world `sites` as two studies: used by `transfer.py`."""

import gzip
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from ehr_pipeline.events.table import Mapping
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.extract import EXTRACT
from ehr_pipeline.synthetic.study import places
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import DATA_SPLIT, ENCODER_CHECKPOINT, MAPPED_EVENTS, PATIENT_DATASET, VOCABULARY
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.vocabulary.table import DROPPED, FIRST_CONCEPT, Vocabulary

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Site:
    """A site's study, and its patients in the order of its shards."""

    pipeline: Pipeline
    shards: list[Shard]
    learning: NDArray[np.bool_]
    """Whether a patient (P,) is in no test set."""
    known: Floats
    """Age at the last visit and sex (P, 2)."""
    visits: Floats
    frailty: Floats

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.read(self.pipeline.store.current(VOCABULARY).path)

    @property
    def checkpoint(self) -> Path:
        return self.pipeline.store.current(ENCODER_CHECKPOINT).file("checkpoint")


def study_in(folder: Path, site: int, seed: int, epochs: int, **transfer: Any) -> settings.Study:
    """The demo's study of one site, with 40 % of the patients kept for judging."""
    chosen = {
        "study": {"seed": seed, "store": str(folder / f"store{site}")},
        "records": {"landing": str(folder / f"landing{site}")},
        "encoder": {"max_epochs": epochs, "transfer": transfer},
        "patients": {"split": {"validation_share": 0.05, "test_share": 0.4}},
        "launcher": {"backend": "inline"},
    }
    return settings.load(shipped("demo/settings.toml"), settings.merged(places(folder), chosen))


def divide(folder: Path, site: int, without: Set[str] = frozenset()) -> None:
    """Write what the practices of a site record into a folder landing1 or landing2, except events with some codes."""
    whole = folder / "landing" / EXTRACT
    sites = dict(pl.read_csv(folder / "truth/sites.csv").iter_rows())
    heads, *lines = (whole / "patients.txt").read_text(encoding="latin-1").splitlines(keepends=True)
    practice = heads.rstrip().split("\t").index("practice")
    site_of = {line.split("\t")[0]: sites.get(line.rstrip("\n").split("\t")[practice]) for line in lines}
    out = folder / f"landing{site}" / EXTRACT
    out.mkdir(parents=True, exist_ok=True)
    for path in whole.iterdir():
        read = gzip.open if path.suffix == ".gz" else open
        with read(path, "rt", encoding="latin-1", newline="") as stream:
            head, *rest = stream
        kept = [line for line in rest if site_of.get(line.split("\t")[0]) == site]
        kept = [line for line in kept if not without or without.isdisjoint(line.rstrip().split("\t"))]
        with (out / path.name.removesuffix(".gz")).open("w", encoding="latin-1", newline="") as stream:
            stream.writelines([head, *kept])


def meaningless(folder: Path, first: Pipeline) -> set[str]:
    """The second site's own codes for what the first site's study does not use: unmapped, administrative, of a dropped type.

    A real site would know them for such. Here they look like diagnoses, since the generator takes real codes of another meaning.
    """
    concept_of = Mapping.read(first.store.current(MAPPED_EVENTS).path, "snomed", "concept").concept_of_code()
    table = pl.read_csv(first.store.current(VOCABULARY).file(DROPPED), infer_schema=False)
    unused = set(table.filter(pl.col("reason") != "rare")["concept"])
    pairs = pl.read_csv(folder / "truth/site_synonyms.csv", infer_schema=False).select("first_site", "second_site")
    return {second for first_code, second in pairs.iter_rows() if concept_of.get(first_code) in {None, *unused}}


def site_of(pipeline: Pipeline, folder: Path) -> Site:
    """The patients of a study whose artifacts are made up to the encoder."""
    people = pl.read_parquet(folder / "truth/people.parquet").select("patient_id", "frailty")
    shards, parts = [], []
    for path in pipeline.store.current(PATIENT_DATASET).files("patients"):
        shard, table = Shard.read(path), schemas.read(path, ["patient_id", "sex"])
        sides = schemas.read(pipeline.store.current(DATA_SPLIT).file(f"split/{path.name}")).column("side")
        last = shard.visit_day[shard.patient_start[1:] - 1]
        shards.append(shard)
        parts.append(
            pl.DataFrame(
                {
                    "patient_id": table.column("patient_id").to_pylist(),
                    "learning": [side != "test" for side in sides.to_pylist()],
                    "age": (last - shard.birth_day) / DAYS_IN_YEAR,
                    "female": [1.0 if sex == "F" else 0.0 for sex in table.column("sex").to_pylist()],
                    "visits": np.diff(shard.patient_start).astype(float),
                }
            )
        )
    all_of = pl.concat(parts).join(people, on="patient_id", how="left", maintain_order="left")
    assert all_of["frailty"].null_count() == 0
    columns = (all_of[name].to_numpy() for name in ("learning", "visits", "frailty"))
    learning, visits, frailty = columns
    return Site(pipeline, shards, learning, all_of.select("age", "female").to_numpy(), visits, frailty)


def meanings(folder: Path) -> dict[str, str]:
    """The concept that each concept of the second site alone stands for."""
    table = pl.read_csv(folder / "truth/site_synonyms.csv", infer_schema=False).drop_nulls()
    pairs = {second: first for first, second in table.select("first_cui", "second_cui").iter_rows()}
    return {second: first for second, first in pairs.items() if second != first}


def counts(site: Site, size: int, place: NDArray[np.int64]) -> sp.csr_matrix:
    """Log of 1 + how often each patient has each concept (P, V); `place`: a token id, or -1, for each concept of the site."""
    first = np.cumsum([0, *(len(s.birth_day) for s in site.shards)])
    owner = np.concatenate(
        [
            first[n] + np.repeat(np.arange(len(s.birth_day)), np.diff(s.patient_tokens))
            for n, s in enumerate(site.shards)
        ]
    )
    token = place[np.concatenate([s.tokens for s in site.shards]) - FIRST_CONCEPT]
    seen = token >= 0
    table = sp.csr_matrix(
        (np.ones(seen.sum()), (owner[seen], token[seen] - FIRST_CONCEPT)), (first[-1], size - FIRST_CONCEPT)
    )
    table.data = np.log1p(table.data)
    return table
