"""How an extract differs from the one before it: volume, code mix, ages, and share of events with a concept.

Both are looked at through the same bucket: a hash decides it, so that it is the same random part of all patients in every extract,
and the look costs the same whatever the size of the extract.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import polars as pl

from ehr_pipeline.records.deltas import WAITING
from ehr_pipeline.tables import schemas
from ehr_pipeline.work.buckets import shard_name

# What is told as a drift. Chosen to be quiet on the increments of the synthetic study, and to catch a file that was left out, a
# code system that was exchanged, a population that was cut, and a terminology that does not fit.
LIMITS = {"volume": 0.5, "codes": 0.25, "ages": 3.0, "coverage": 0.05}
SMALLEST = 50  # patients in the bucket, below which differences are chance


@dataclass(frozen=True)
class Profile:
    """One bucket of an extract."""

    patients: int
    events: int
    codes: Mapping[str, int]
    """Events by code."""
    birth_year: float | None
    """Mean over patients; None where no file tells it."""


@cache
def profile(artifact: Path) -> Profile:
    """The profile of the first bucket of some raw records."""
    events = pl.concat(
        _first(artifact / folder, ["patient_id", "code"]).cast(pl.String) for folder in ("events", WAITING)
    )
    births = _first(artifact / "patients", ["birth_date"])["birth_date"].dt.year()
    counted = events["code"].value_counts()
    codes = dict(zip(counted["code"].to_list(), counted["count"].to_list(), strict=True))
    year = births.mean()
    return Profile(
        events["patient_id"].n_unique(), events.height, codes, float(year) if isinstance(year, int | float) else None
    )


def differences(new: Profile, old: Profile, mapped: frozenset[str]) -> dict[str, float]:
    """By name of the limit: how much the new extract differs.

    volume: |1 - ratio of events per patient|; codes: half the summed difference of shares of codes, 0 (same mix) to 1 (none in
    common); ages: years between the mean years of birth; coverage: between the shares of events whose code has a concept.
    """
    found = {
        "volume": abs(1 - (new.events / max(new.patients, 1)) / (old.events / max(old.patients, 1))),
        "codes": sum(abs(_share(new, code) - _share(old, code)) for code in {*new.codes, *old.codes}) / 2,
        "coverage": abs(_mapped(new, mapped) - _mapped(old, mapped)),
    }
    if new.birth_year is not None and old.birth_year is not None:
        found["ages"] = abs(new.birth_year - old.birth_year)
    return found


def _first(folder: Path, columns: list[str]) -> pl.DataFrame:
    """The first bucket; empty where nothing of it was set aside."""
    path = folder / shard_name(0)
    if not path.is_file():
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    table = schemas.read(path, columns)
    return pl.DataFrame({name: pl.Series(name, pl.from_arrow(table.column(name))) for name in columns})


def _share(profile: Profile, code: str) -> float:
    return profile.codes.get(code, 0) / max(profile.events, 1)


def _mapped(profile: Profile, mapped: frozenset[str]) -> float:
    return sum(number for code, number in profile.codes.items() if code in mapped) / max(profile.events, 1)
