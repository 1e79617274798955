"""Settings of the raw extract: where it comes from, which files, which columns, which dates count as no date."""

import datetime
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from ehr_pipeline.records.bulk import BulkEntry
from ehr_pipeline.records.dates import Partial
from ehr_pipeline.records.kinds import Kinds
from ehr_pipeline.records.layouts import EventFiles, PatientFiles
from ehr_pipeline.records.sources import delimited
from ehr_pipeline.records.sources.cprd_aurum import CprdAurum
from ehr_pipeline.records.sources.meds import Meds
from ehr_pipeline.records.sources.omop import Omop
from ehr_pipeline.records.values import NO_VALUE
from ehr_pipeline.typed_settings import option, settings

# Dates that UK general practice systems write for "no date" (CPRD and OpenSAFELY documentation).
SENTINEL_DATES = ("1900-01-01", "1901-01-01", "1902-02-02", "2037-07-07", "9999-12-31")


@settings
class Limits:
    """How much of an extract may be lost before a check warns, and before nothing is built on it."""

    rejected_warning: float = option(
        "Share of rejected rows, of events or of patients, from which on the check `rejected_rows` warns. Empty lines, and rows"
        " that the study itself leaves out, do not count.",
        0.01,
        role="check",
        ge=0,
        le=1,
    )
    rejected_error: float = option(
        "Share of rejected rows, of events or of patients, from which on nothing is built on the extract.",
        0.2,
        role="check",
        ge=0,
        le=1,
    )

    not_understood_error: float = option(
        "Share of patients with a value that is not understood where only a few are known (sex, dates of observation), from which"
        " on nothing is built on the extract; below it, the check `values_understood` warns.",
        0.01,
        role="check",
        ge=0,
        le=1,
    )

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with these values beyond their types."""
        if self.rejected_warning > self.rejected_error:
            yield (
                f"rejected_warning is {self.rejected_warning}, above rejected_error, which is {self.rejected_error}: exchange them."
            )


@settings
class RecordsSettings:
    """The raw extract. Each folder inside `landing` is one extract, and one Dagster partition of `raw_records`."""

    landing: str = option("Folder that holds one folder for each extract.", role="input")
    follow_links: bool = option(
        "Whether symbolic links in the landing folder are followed, of files and of folders; the manifest names those that lead"
        " outside it. false: an extract that holds links is refused.",
        True,
        role="check",
    )
    mode: Literal["increment", "snapshot"] = option(
        "'increment': every extract adds to the older ones, and events that several of them hold count once. 'snapshot': the newest"
        " extract replaces all older ones; patients who are no longer in it leave every artifact.",
        "increment",
    )
    withdrawals: str = option(
        "A text file with the ids of patients who withdrew (opted out), one a line: they leave every artifact. Empty: nobody did.",
        "",
        role="list",
    )
    source: Literal["delimited", "cprd_aurum", "omop", "meds"] = option(
        "What the extract is. 'delimited': files whose columns [[records.events]] and [[records.patients]] name; the others are"
        " known layouts, whose few options stand in the table of their name.",
        "delimited",
    )
    events: tuple[EventFiles, ...] = option("The kinds of event files.", ())
    patients: tuple[PatientFiles, ...] = option("The kinds of patient files.", ())
    cprd_aurum: CprdAurum = option("Options of the source 'cprd_aurum'.", CprdAurum())
    omop: Omop = option("Options of the source 'omop'.", Omop())
    meds: Meds = option("Options of the source 'meds'.", Meds())
    outside_observation: Literal["keep", "reject"] = option(
        "What becomes of events outside their patient's observation window, where one is known: 'keep', since what a new practice"
        " enters of the past matters; or 'reject', counted as before_observation and after_observation.",
        "keep",
    )
    bulk_entry: BulkEntry = option("Which events were entered in bulk, where the files tell when.", BulkEntry())
    entered_in_bulk: Literal["keep", "reject"] = option(
        "What becomes of events that were entered in bulk: 'keep', and list them in `bulk_entered`; or 'reject'.",
        "keep",
    )
    no_value: tuple[str, ...] = option(
        "Words that mean 'no value' in every column of an extract's files, compared whole, as they stand. Terminology and lists are"
        " read as they are.",
        NO_VALUE,
    )
    sentinel_dates: tuple[str, ...] = option(
        "Dates (YYYY-MM-DD) that mean 'no date': events and births on them are rejected.", SENTINEL_DATES
    )
    partial_dates: Partial = option(
        "What becomes of dates of events and of births without a day, such as 03/2001 or 2001: 'reject', or 'middle', which"
        " reads them as the middle of their month or year. Both are counted.",
        "reject",
    )
    latest_date: str = option(
        "Last day (YYYY-MM-DD) that an event or a birth may have; later ones are rejected as future. Empty: the name of the"
        " extract's folder, when that is a date.",
        "",
    )
    limits: Limits = option("How much of an extract may be lost.", Limits(), role="check")
    buckets: int = option(
        "Into how many buckets patients are hashed: a power of two. More buckets, less memory. 0: as many as the extract's size"
        " asks for, or as the extracts that were read before have.",
        0,
        ge=0,
        le=4096,
    )
    block_megabytes: int = option("Size of the blocks in which text is read, in MB.", 8, role="tuning", ge=1, le=1024)
    workers: int = option(
        "Buckets that are worked on side by side: 1 works inline, up to 4 on threads, more on processes.",
        1,
        role="tuning",
        ge=1,
        le=512,
    )

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with these values beyond their types."""
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
    def attributes(self) -> tuple[str, ...]:
        """Sorted names of the columns that patients have besides id, birth and sex."""
        return self.kinds.attributes
