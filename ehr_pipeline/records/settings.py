"""Settings of the raw extract: which files, which columns, which dates count as no date."""

import codecs
import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.fields import option

# Dates that UK general practice systems write for "no date" (CPRD and OpenSAFELY documentation).
SENTINEL_DATES = ("1900-01-01", "1901-01-01", "1902-02-02", "2037-07-07", "9999-12-31")

# SNOMED identifiers have 6 to 18 digits; Read v2 and CTV3 codes have five characters, with or without a term number.
CODE_PATTERNS = {"snomed": r"^(?:\d{6,18}|[A-Za-z0-9][A-Za-z0-9.]{4}(?:\d{2})?)$"}
ANY_CODE = r"^\S{1,40}$"
PATIENT_COLUMNS = ("patient_id", "birth_date", "birth_precision", "sex", "visits")
LONGEST_ID = 100  # bytes of a patient id: what is longer is another column, or text that lost its delimiters
# What a date is written with: day, month, year; and a time of day, which is not used.
DIRECTIVES = frozenset("dembBhyYHIMSpTRfj%")


@dataclass(frozen=True, kw_only=True)
class DelimitedText:
    """How a group of text files is written. Plain and gzip files may be mixed."""

    files: str = option("Glob of the files, relative to the folder of the extract, such as 'events_*.txt*'.")
    delimiter: str = option("One character between fields.", "\t")
    quote: str = option("The quoting character, or empty where the files do not quote.", "")
    encoding: str = option("Text encoding of the files, such as 'utf-8', 'latin-1' or 'utf-16'.", "utf-8")
    header: tuple[str, ...] = option("Names of the columns, where the files have no header line.", ())
    date_formats: tuple[str, ...] = option(
        "Formats of dates (strftime), such as '%d/%m/%Y', '%d-%b-%Y' or '%Y-%m-%d %H:%M:%S'. A date that two of them read as"
        " different days is rejected as ambiguous, never guessed.",
        ("%d/%m/%Y", "%Y-%m-%d"),
    )

    def problems(self) -> Iterator[str]:
        """What is wrong with these values beyond their types."""
        try:
            next(Path("/").glob(self.files), None)
        except (ValueError, IndexError, NotImplementedError):
            yield f"files must be a glob relative to the folder of the extract, such as 'events_*.txt'. Got {self.files!r}."
        if len(self.delimiter) != 1 or not _is_mark(self.delimiter) or self.delimiter == '"':
            yield f"delimiter must be one character (ASCII, no letter or digit), such as '\\t' or ','. Got {self.delimiter!r}."
        if len(self.quote) > 1 or not _is_mark(self.quote or '"') or self.quote in ("\t", " "):
            yield f"quote must be one ASCII character that is no letter or digit, or empty. Got {self.quote!r}."
        if self.quote and self.quote == self.delimiter:
            yield f"quote and delimiter are both {self.quote!r}."
        try:
            is_text = codecs.lookup(self.encoding)._is_text_encoding
        except (LookupError, ValueError):
            is_text = False
        if not is_text or self.encoding.lower() in ("idna", "punycode", "undefined", "mbcs", "oem"):
            yield f"encoding {self.encoding!r} is not known to Python. Use for example 'utf-8', 'latin-1' or 'utf-16'."
        if len(set(self.header)) < len(self.header):
            yield "header names a column twice."
        if not self.date_formats:
            yield "date_formats must name at least one format, such as '%d/%m/%Y'."
        for form in self.date_formats:
            used = re.findall(r"%(.|$)", form)
            if not all(set(used) & set(part) for part in ("de", "mbBh", "yY")):
                yield f"date format {form!r} must hold day, month and year, such as '%d/%m/%Y' or '%d-%b-%Y'."
            unknown = [f"%{part}" for part in used if part not in DIRECTIVES]
            if unknown:
                yield f"date format {form!r} holds {', '.join(unknown)}, which no date is written with."


def _is_mark(character: str) -> bool:
    """Whether a character can stand between or around fields: ASCII, no letter or digit, no end of a line."""
    return character.isascii() and not character.isalnum() and character not in "\n\r\0"


@dataclass(frozen=True, kw_only=True)
class EventColumns:
    """Names of the columns of an event file, as its header has them."""

    patient: str = option("Column of the patient id.")
    date: str = option("Column of the date of the event.")
    code: str = option("Column of the medical code.")


@dataclass(frozen=True, kw_only=True)
class EventFiles(DelimitedText):
    """One kind of event file: rows of patient, date, code."""

    columns: EventColumns = option("Names of the columns.")
    code_system: str = option(
        "'snomed' for SNOMED CT (Read codes among them are kept and counted). Any other name is a local system, whose"
        " dictionary to SNOMED stands under [events.dictionaries].",
        "snomed",
    )


@dataclass(frozen=True, kw_only=True)
class PatientColumns:
    """Names of the columns of a patient file. Give birth_date, or birth_year with or without birth_month."""

    patient: str = option("Column of the patient id.")
    birth_date: str = option("Column of the date of birth.", "")
    birth_year: str = option("Column of the year of birth.", "")
    birth_month: str = option("Column of the month of birth.", "")
    sex: str = option("Column of the sex.", "")

    def problems(self) -> Iterator[str]:
        """What is wrong with these values beyond their types."""
        if bool(self.birth_date) == bool(self.birth_year):
            yield "give either birth_date or birth_year, so that ages can be computed."


@dataclass(frozen=True, kw_only=True)
class PatientFiles(DelimitedText):
    """One kind of patient file: a row for each patient."""

    columns: PatientColumns = option("Names of the columns.")
    sex_values: dict[str, str] = option(
        "How each value of the sex column is to be read, such as {1 = 'M', 2 = 'F'}.", {}
    )
    attributes: dict[str, str] = option(
        "Other columns to carry: name in the patient data set = column in the file, such as region = 'rgn_name'.", {}
    )

    def problems(self) -> Iterator[str]:
        """What is wrong with these values beyond their types."""
        yield from super().problems()
        for name in self.attributes:
            if name in PATIENT_COLUMNS or not name.strip():
                taken = ", ".join(PATIENT_COLUMNS)
                yield f"attributes: {name!r} cannot name an attribute; nor can {taken}, which are columns already."


@dataclass(frozen=True, kw_only=True)
class RecordsSettings:
    """The raw extract. Each folder inside `landing` is one extract, and one Dagster partition of `raw_records`."""

    landing: str = option("Folder that holds one folder for each extract.", role="input")
    events: tuple[EventFiles, ...] = option("The kinds of event files.")
    patients: tuple[PatientFiles, ...] = option("The kinds of patient files.")
    mode: str = option(
        "'increment': every extract adds to the older ones, and events that several of them hold count once. 'snapshot': the newest"
        " extract replaces all older ones; patients who are no longer in it leave every artifact.",
        "increment",
        choices=("increment", "snapshot"),
    )
    withdrawals: str = option(
        "A text file with the ids of patients who withdrew (opted out), one a line: they leave every artifact. Empty: nobody did.",
        "",
        role="list",
    )
    sentinel_dates: tuple[str, ...] = option(
        "Dates (YYYY-MM-DD) that mean 'no date': their rows are rejected.", SENTINEL_DATES
    )
    latest_date: str = option(
        "Last day (YYYY-MM-DD) that an event may have; later ones are rejected as future. Empty: the name of the"
        " extract's folder, when that is a date.",
        "",
    )
    buckets: int = option(
        "Into how many buckets patients are hashed: a power of two. More buckets, less memory.", 32, ge=1, le=4096
    )
    block_megabytes: int = option("Size of the blocks in which text is read, in MB.", 16, role="tuning", ge=1, le=1024)
    workers: int = option(
        "Buckets that are worked on side by side: 1 works inline, up to 4 on threads, more on processes.",
        1,
        role="tuning",
        ge=1,
        le=512,
    )

    def problems(self) -> Iterator[str]:
        """What is wrong with these values beyond their types."""
        if not self.events:
            yield "at least one [[records.events]] table is needed."
        if not self.patients:
            yield "at least one [[records.patients]] table is needed."
        if self.buckets & (self.buckets - 1):
            yield f"buckets must be a power of two. Got {self.buckets}; use {1 << self.buckets.bit_length()}."
        for date in (*self.sentinel_dates, *filter(None, [self.latest_date])):
            try:
                datetime.date.fromisoformat(date)
            except ValueError:
                yield f"{date!r} is not a date of the form YYYY-MM-DD."

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attribute columns that the patient data set carries, sorted."""
        return tuple(sorted({name for files in self.patients for name in files.attributes}))
