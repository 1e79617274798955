"""Compare an extract with the one before it: volume, mix of codes, ages, and share of events with a concept.

Only one bucket is compared, the same in both: a hash assigns patients to it, so it is the same random part of the patients of every
extract. The comparison therefore takes about the same time for any size of extract.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from ehr_pipeline.records.events_without_patient import WAITING
from ehr_pipeline.tables import schemas
from ehr_pipeline.work.buckets import shard_name

# Differences above these limits are reported as drift. They are above the increments of the synthetic study, and below the effects
# of a missing file, an exchanged code system, a reduced population, and a wrong terminology.
LIMITS = {"volume": 0.5, "codes": 0.25, "ages": 3.0, "coverage": 0.05}
MIN_PATIENTS = 50  # patients in the bucket; with fewer, differences may be due to chance


@dataclass(frozen=True)
class Profile:
    """Figures of one bucket, for comparing extracts."""

    patients: int
    events: int
    codes: Mapping[str, int]
    """Events by code."""
    birth_year: float | None
    """Mean over patients; None if no file contains it."""


@lru_cache(maxsize=2)
def profile(artifact: Path) -> Profile:
    """Return the profile of the first bucket of raw records."""
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
    """Return how much the new extract differs from the old, by name of the limit.

    volume: |1 - ratio of events per patient|; codes: half the summed difference of the shares of codes, 0 (same mix) to
    1 (none in common); ages: years between the mean years of birth; coverage: difference of the shares of events whose
    code has a concept.
    """
    values = {
        "volume": abs(1 - (new.events / max(new.patients, 1)) / (old.events / max(old.patients, 1))),
        "codes": sum(abs(_share(new, code) - _share(old, code)) for code in {*new.codes, *old.codes}) / 2,
        "coverage": abs(_mapped(new, mapped) - _mapped(old, mapped)),
    }
    if new.birth_year is not None and old.birth_year is not None:
        values["ages"] = abs(new.birth_year - old.birth_year)
    return values


def _first(folder: Path, columns: list[str]) -> pl.DataFrame:
    """Return columns of the first bucket in a folder; empty if it has no shards because no events were set aside."""
    path = folder / shard_name(0)
    if not path.is_file():
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    table = schemas.read(path, columns)
    return pl.DataFrame({name: pl.Series(name, pl.from_arrow(table.column(name))) for name in columns})


def _share(profile: Profile, code: str) -> float:
    return profile.codes.get(code, 0) / max(profile.events, 1)


def _mapped(profile: Profile, mapped: frozenset[str]) -> float:
    return sum(number for code, number in profile.codes.items() if code in mapped) / max(profile.events, 1)
