"""Settings of the patient data set and of its split."""

from dataclasses import dataclass
from typing import Literal

from ehr_pipeline.fields import option

PUBLIC_KEY = "ehr-pipeline-split-1"
"""The key of the demo, and of studies that set none before stores had keys of their own: it is no secret."""


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """Which patients are held out. A patient keeps its side when new extracts land."""

    validation_share: float = option(
        "Share of the patients held out. Source: 0.02 in the published run.", 0.02, gt=0, lt=0.5
    )
    key: str = option(
        "Key of the hash of the patient id (BLAKE2b). Another key gives another split. Empty: the key of the split that is in the"
        " store; a new store gets a random one. Set it to have the same split in another store.",
        "",
    )


@dataclass(frozen=True, kw_only=True)
class DerivedAttribute:
    """An attribute that is read off a patient's recorded codes, such as ethnicity. What a patient file says comes first."""

    codes: str = option("A table of codes as they are recorded (columns code,value).", role="list")
    rule: Literal["most_recent", "most_frequent"] = option(
        "Which value counts, of several: 'most_recent' (of two on one day, the one on more days) or 'most_frequent' (the one on the"
        " most days; of two, the more recent); then the first in order of the alphabet.",
        "most_recent",
    )


@dataclass(frozen=True, kw_only=True)
class PatientsSettings:
    """Which visits and patients stay."""

    max_concepts_per_visit: int = option("Larger visits are removed. Source: 512 in the published run.", 512, ge=1)
    min_visits: int = option("Patients with fewer visits are removed. Source: 3 in the published run.", 3, ge=1)
    derived: dict[str, DerivedAttribute] = option(
        "Attributes that are derived from recorded codes: name in the data set = how, such as [patients.derived.ethnicity].",
        {},
    )
    visit_window_days: int = option(
        "An event within so many days of a visit's first day joins that visit; 0: a visit is a day. For records in which"
        " events of one visit bear several dates.",
        0,
        ge=0,
        le=366,
    )
    split: SplitSettings = option("Training and validation patients.", SplitSettings())
    workers: int = option(
        "Buckets that are worked on side by side: 1 works inline, up to 4 on threads, more on processes.",
        1,
        role="tuning",
        ge=1,
        le=512,
    )
