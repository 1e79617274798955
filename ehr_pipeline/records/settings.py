"""Settings of the raw extract: its folder, files, columns, and dates that mean 'no date'."""

import datetime
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from ehr_pipeline.records.bulk_entry import BulkEntry
from ehr_pipeline.records.dates import Partial
from ehr_pipeline.records.kinds import Kinds
from ehr_pipeline.records.layouts import EventFiles, PatientFiles
from ehr_pipeline.records.sources import delimited
from ehr_pipeline.records.sources.cprd_aurum import CprdAurum
from ehr_pipeline.records.sources.meds import Meds
from ehr_pipeline.records.sources.omop import Omop
from ehr_pipeline.records.values import NO_VALUE
from ehr_pipeline.tables.schemas import DEATH, OBSERVATION
from ehr_pipeline.typed_settings import option, settings

# Dates that UK general practice systems write for "no date" (CPRD and OpenSAFELY documentation).
SENTINEL_DATES = ("1900-01-01", "1901-01-01", "1902-02-02", "2037-07-07", "9999-12-31")


@settings
class Limits:
    """How much of an extract may be lost before a check warns, and before nothing is built on it."""

    rejected_warning: float = option(
        "The check `rejected_rows` warns if at least this share of the rows is rejected, in event files or in patient files."
        " Empty lines, and rows that the study itself leaves out, are not included.",
        0.01,
        role="check",
        ge=0,
        le=1,
    )
    rejected_error: float = option(
        "Nothing is built on the extract if at least this share of the rows is rejected, in event files or in patient files.",
        0.2,
        role="check",
        ge=0,
        le=1,
    )

    not_understood_error: float = option(
        "Nothing is built on the extract if at least this share of the patients have a sex or a date of observation that cannot"
        " be read. Below this share, the check `values_understood` warns.",
        0.01,
        role="check",
        ge=0,
        le=1,
    )

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        if self.rejected_warning > self.rejected_error:
            yield (
                f"rejected_warning is {self.rejected_warning}, above rejected_error, which is {self.rejected_error}: swap them."
            )


@settings
class RecordsSettings:
    """The raw extract. Each folder inside `landing` is one extract, and one Dagster partition of `raw_records`."""

    landing: str = option("Folder with one folder for each extract.", role="input")
    follow_links: bool = option(
        "Whether symbolic links to files and folders in the landing folder are followed; the manifest lists links that lead"
        " outside the landing folder. false: an extract that contains links is refused.",
        True,
        role="check",
    )
    mode: Literal["increment", "snapshot"] = option(
        "'increment': every extract adds to the older ones, and an event that is in several extracts is used once. 'snapshot':"
        " the newest extract replaces all older ones; patients who are no longer in it are removed from every artifact.",
        "increment",
    )
    withdrawals: str = option(
        "A text file with the ids of patients who withdrew (opted out), one on each line. They are removed from every artifact."
        " Empty: no patient withdrew.",
        "",
        role="list",
    )
    source: Literal["delimited", "cprd_aurum", "omop", "meds"] = option(
        "Layout of the extract. 'delimited': [[records.events]] and [[records.patients]] describe the files and their columns."
        " The other values are known layouts; the few options of each are in the table of that name, such as [records.omop].",
        "delimited",
    )
    events: tuple[EventFiles, ...] = option("The kinds of event files.", ())
    patients: tuple[PatientFiles, ...] = option("The kinds of patient files.", ())
    cprd_aurum: CprdAurum = option("Options of the source 'cprd_aurum'.", CprdAurum())
    omop: Omop = option("Options of the source 'omop'.", Omop())
    meds: Meds = option("Options of the source 'meds'.", Meds())
    outside_observation: Literal["keep", "reject"] = option(
        "What to do with events outside their patient's observation window, if the window is known. 'keep' them, because a new"
        " practice may enter a patient's earlier history; or 'reject' them, counted as before_observation and"
        " after_observation.",
        "keep",
    )
    bulk_entry: BulkEntry = option(
        "Which events count as entered in bulk, if the files have dates of entry.", BulkEntry()
    )
    entered_in_bulk: Literal["keep", "reject"] = option(
        "What to do with events that were entered in bulk: 'keep' them and list them in `bulk_entered`, or 'reject' them.",
        "keep",
    )
    no_value: tuple[str, ...] = option(
        "Words that mean 'no value' in every column of an extract's files. The whole value must match exactly. In terminology"
        " files and lists they are ordinary text.",
        NO_VALUE,
    )
    sentinel_dates: tuple[str, ...] = option(
        "Dates (YYYY-MM-DD) that mean 'no date': events and births on them are rejected.", SENTINEL_DATES
    )
    partial_dates: Partial = option(
        "What to do with dates of events and births that lack a day, such as 03/2001 or 2001: 'reject' them, or read them as"
        " the 'middle' of the month or year. Either way they are counted.",
        "reject",
    )
    latest_date: str = option(
        "Last day (YYYY-MM-DD) that an event or a birth may have; later ones are rejected as future. Empty: the name of the"
        " extract's folder, when that is a date.",
        "",
    )
    limits: Limits = option("How much of an extract may be lost.", Limits(), role="check")
    buckets: int = option(
        "Number of buckets into which patients are hashed, a power of two. More buckets need less memory. 0: chosen by the size"
        " of the extract, or as in the extracts read before.",
        0,
        ge=0,
        le=4096,
    )
    block_megabytes: int = option("Size of the blocks in which text is read, in MB.", 8, role="tuning", ge=1, le=1024)
    workers: int = option(
        "Number of buckets processed in parallel: 1 works in the process of the run, 2 to 4 use threads, more use processes.",
        1,
        role="tuning",
        ge=1,
        le=512,
    )

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        if self.source == "delimited":
            yield from delimited.problems(self.events, self.patients)
        elif self.events or self.patients:
            yield (
                "[[records.events]] and [[records.patients]] belong to the source 'delimited', but records.source is"
                f" {self.source!r}: remove them, or the source."
            )
        if self.buckets & (self.buckets - 1):
            yield f"buckets must be a power of two. Got {self.buckets}; use {1 << self.buckets.bit_length()}."
        for date in (*self.sentinel_dates, *filter(None, [self.latest_date])):
            try:
                datetime.date.fromisoformat(date)
            except ValueError:
                yield f"{date!r} is not a date of the form YYYY-MM-DD."

    @property
    def kinds(self) -> Kinds:
        """The kinds of files of an extract."""
        if self.source == "delimited":
            kinds = delimited.kinds(self.events, self.patients)
        else:
            source: CprdAurum | Omop | Meds = getattr(self, self.source)
            kinds = source.kinds()
        return Kinds(
            tuple(replace(kind, no_value=self.no_value) for kind in kinds.events),
            tuple(replace(kind, no_value=self.no_value) for kind in kinds.patients),
        )

    @property
    def sex_values(self) -> tuple[str, str]:
        """Name of the setting for the meanings of the sex, and where it is (in words) if there may be several such settings."""
        if self.source == "delimited":
            return "sex_values", " (of the patient files)"
        return f"records.{self.source}.sex_values", ""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Sorted names of the columns of patients other than id, birth and sex."""
        return self.kinds.attributes

    @property
    def implied_columns(self) -> frozenset[str]:
        """Columns of patients that come from the layout's defaults rather than from the settings."""
        if self.source not in ("omop", "meds"):
            return frozenset()
        ours, usual = (each.attributes for each in (getattr(self, self.source), type(getattr(self, self.source))()))
        return frozenset([DEATH, *OBSERVATION, *(name for name, told in ours.items() if usual.get(name) == told)])
