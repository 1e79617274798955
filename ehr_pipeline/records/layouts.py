"""Settings for the layout of an extract's files: their names, format, and columns."""

import codecs
import re
from collections.abc import Iterator

from ehr_pipeline.records.dates import ISO
from ehr_pipeline.store.file_listing import glob
from ehr_pipeline.tables.schemas import DATED, DEATH, OBSERVATION
from ehr_pipeline.typed_settings import option, settings

# SNOMED identifiers have 6 to 18 digits; Read v2 and CTV3 codes have five characters, with or without a term number.
# [0-9] and not \d, which is any digit of Unicode, Arabic ones among them.
CODE_PATTERNS = {"snomed": r"^(?:[0-9]{6,18}|[A-Za-z0-9][A-Za-z0-9.]{4}(?:[0-9]{2})?)$"}
ANY_CODE = r"^\S(?:.{0,98}\S)?$"  # blanks inside are part of it, as in 'Diabetes mellitus'
ANY_LOCAL_CODE = r"^[^\s:]{1,40}:\S(?:.{0,198}\S)?$"  # a system and its code
LONGEST_ID = 100  # bytes of a patient id: a longer value is another column, or text that lost its delimiters
# Directives for day, month and year in formats of dates, and for a time of day, which is not used.
DIRECTIVES = frozenset("dembBhyYHIMSpTRfjz%")
UNNAMED = "?"
"""Placeholder in the settings for a column that `init` could not identify."""
RESERVED = ("patient_id", "birth_date", "birth_precision", "sex", "visits", "line", *DATED)


_KNOWN_LAYOUT = re.compile(r"records\.(cprd_aurum|omop|meds)\b")
_DESCRIBED = re.compile(r"records\.(events|patients)\[\d+\](\.linked\[\d+\])?")


def setting(where: str, name: str) -> str:
    """Return a setting's name for messages: the section `where`, then `name`; only `where` if a known layout lacks the setting."""
    if _DESCRIBED.fullmatch(where):
        return f"{where}.{name}"
    if where.startswith("events."):  # a dictionary
        role = name.removeprefix("columns.")
        return f"{where}.{role}_column" if role != name else f"{where}.where" if "." in name else f"{where}.{name}"
    if known := _KNOWN_LAYOUT.match(where):
        has = name == "sex_values" or (known[0] == "records.omop" and name in ("delimiter", "quote"))
        return f"{known[0]}.{name}" if has else where
    return where


def has_setting(where: str, name: str) -> bool:
    """Return whether the section `where` has this setting; sections of known layouts have few."""
    return setting(where, name) != where


@settings
class DelimitedText:
    """How a group of files is written. Plain, gzip and Parquet files (by their ending .parquet) may be mixed."""

    files: str = option(
        "Glob of the files, relative to the extract's folder, such as 'events_*.txt*'. Separate several globs by '|'."
    )
    delimiter: str = option("One character between fields.", "\t")
    quote: str = option(
        "The quoting character, or empty if the files do not quote. A line break inside quotes is part of the field.",
        "",
    )
    encoding: str = option("Text encoding of the files, such as 'utf-8', 'latin-1' or 'utf-16'.", "utf-8")
    header: tuple[str, ...] = option("Names of the columns, if the files have no header line.", ())
    lines_before_header: int = option(
        "Number of lines before the header that are not rows, such as a title or comments.", 0, later=True, ge=0
    )
    date_formats: tuple[str, ...] = option(
        "Date formats (strftime), such as '%d/%m/%Y', '%d-%b-%Y' or '%d/%m/%Y %H:%M:%S'; or 'iso' for any ISO 8601 date, with"
        " or without time of day, fraction and zone. If two formats read a date as different days, the date is rejected as"
        " ambiguous, never guessed. A two-digit year ('%y') is never read as a future year.",
        ("%d/%m/%Y", ISO),
    )

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        try:
            for pattern in self.files.split("|"):
                glob(pattern.strip())
        except ValueError:
            yield f"files must be a glob relative to the folder of the extract, such as 'events_*.txt'. Got {self.files!r}."
        if len(self.delimiter) != 1 or not _is_mark(self.delimiter) or self.delimiter == '"':
            yield f"delimiter must be one character (ASCII, no letter or digit), such as '\\t' or ','. Got {self.delimiter!r}."
        if len(self.quote) > 1 or not _is_mark(self.quote or '"') or self.quote in ("\t", " "):
            yield f"quote must be one ASCII character other than a letter or digit, or empty. Got {self.quote!r}."
        if self.quote and self.quote == self.delimiter:
            yield f"quote and delimiter are both {self.quote!r}."
        try:
            is_text = codecs.lookup(self.encoding)._is_text_encoding
        except (LookupError, ValueError):
            is_text = False
        if not is_text or self.encoding.lower() in ("idna", "punycode", "undefined", "mbcs", "oem"):
            yield f"encoding {self.encoding!r} is not known to Python. Use for example 'utf-8', 'latin-1' or 'utf-16'."
        if len(set(self.header)) < len(self.header):
            yield "header lists a column twice: remove one."
        if not self.date_formats:
            yield "date_formats must have at least one format, such as '%d/%m/%Y'."
        for form in self.date_formats:
            if form == ISO:
                continue
            used = re.findall(r"%(.|$)", form)
            if not all(set(used) & set(part) for part in ("de", "mbBh", "yY")):
                yield (
                    f"date format {form!r} must contain day, month and year, such as '%d/%m/%Y' or '%d-%b-%Y', or be 'iso'"
                    " for any date of ISO 8601."
                )
            unknown = [f"%{part}" for part in used if part not in DIRECTIVES]
            if unknown:
                yield f"date format {form!r} contains {', '.join(unknown)}, which is not part of a date."
            if "z" in used[:-1] or (used and used[-1] == "z" and not form.endswith("%z")):
                yield f"date format {form!r}: %z, the zone, must be at the end."


def _is_mark(character: str) -> bool:
    """Return whether a character can separate or enclose fields: ASCII, but not a letter, digit, line end or NUL."""
    return character.isascii() and not character.isalnum() and character not in "\n\r\0"


@settings
class EventColumns:
    """Names of the columns of an event file, as in its header."""

    patient: str = option("Column of the patient id.")
    date: str = option("Column of the date of the event.")
    code: str = option("Column of the medical code.")
    further_codes: tuple[str, ...] = option(
        "Columns of further codes of the same row, as in claims (icd2, icd3). Each code that is not empty is an event of its own.",
        (),
        later=True,
    )
    code_system: str = option(
        "Column of the system of each code, such as 'ICD10CM'. Codes are then kept as 'ICD10CM:E11.9', those of SNOMED CT without"
        " their system; where the column is empty, as 'unnamed:E11.9'. If `code_system` is set next to the columns, it comes before"
        " the value: 'icd' and 10 give 'icd10'.",
        "",
        later=True,
    )
    code_fallback: str = option("Column of the code for rows whose `code` column is empty.", "")
    entered: str = option(
        "Column of the date on which the event was entered; it shows which events were entered in bulk.", ""
    )

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        if self.code_fallback and self.further_codes:
            yield "give either code_fallback or further_codes, not both."


@settings
class EventFiles(DelimitedText):
    """One kind of event file: rows of patient, date, code."""

    columns: EventColumns = option("Names of the columns.")
    code_system: str = option(
        "'snomed' for SNOMED CT (Read codes among the codes are kept and counted). Any other name is a local code system;"
        " [events.dictionaries] has its translation to SNOMED. Empty: each code begins with the name of its system, as in"
        " 'LOINC:8331-1'.",
        "snomed",
    )
    no_code: tuple[str, ...] = option("Values of the code column that mean 'no code', such as '0' in OMOP.", ())


@settings
class PatientColumns:
    """Names of the columns of a patient file. Give birth_date, or birth_year with or without month and day.

    A file without births, such as a file of deaths, only adds to patients who are in other files. If it has an observation_start,
    its rows are periods: a patient is observed from the start of the first to the end of the last.
    """

    patient: str = option("Column of the patient id.")
    birth_date: str = option("Column of the date of birth.", "")
    birth_year: str = option("Column of the year of birth.", "")
    birth_month: str = option("Column of the month of birth.", "")
    birth_day: str = option("Column of the day of birth in its month.", "")
    sex: str = option("Column of the sex.", "")
    observation_start: str = option("Column of the date from which the patient was observed (registration).", "")
    observation_ends: tuple[str, ...] = option(
        "Columns of dates on which observation may have ended, such as the end of registration. The earliest is used, and death"
        " ends observation too.",
        (),
    )
    death: str = option(
        "Column of the date of death. Death ends observation, and tasks can use it as an outcome.", "", later=True
    )

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        if self.birth_date and self.birth_year:
            yield "give either birth_date or birth_year, not both."
        if (self.birth_month and not self.birth_year) or (self.birth_day and not self.birth_month):
            yield "birth_month needs birth_year, and birth_day needs birth_month."

    @property
    def has_birth(self) -> bool:
        """Whether the file contains births, and so defines the patients."""
        return bool(self.birth_date or self.birth_year)


@settings
class LinkedFiles(DelimitedText):
    """A small table with rows that many patients share, such as practices; it is kept in memory."""

    key: str = option("Column of the key, such as the id of the practice.")
    patient_key: str = option("Column of the key in the patient file.")
    attributes: dict[str, str] = option("Columns to keep: name in the patient data set = column in the file.", {})
    observation_ends: tuple[str, ...] = option(
        "Columns of dates on which observation ended for all patients who share a row, such as a practice's last collection.",
        (),
    )


@settings
class PatientFiles(DelimitedText):
    """One kind of patient file: one row per patient."""

    columns: PatientColumns = option("Names of the columns.")
    sex_values: dict[str, str] = option(
        "Meanings of the values in the sex column, such as {1 = 'M', 2 = 'F'}. The usual words (M, female, unknown) need not be"
        " listed.",
        {},
    )
    attributes: dict[str, str] = option(
        "Other columns to keep: name in the patient data set = column in the file, such as region = 'rgn_name'.", {}
    )
    linked: tuple[LinkedFiles, ...] = option("Tables that are joined to the patients, such as practices.", ())

    @property
    def columns_kept(self) -> set[str]:
        """Names of the columns of patients that come from these files, other than id, birth and sex."""
        names = {OBSERVATION[0]} if self.columns.observation_start else set()
        if self.columns.death:
            names.add(DEATH)
        if self.columns.death or self.columns.observation_ends or any(table.observation_ends for table in self.linked):
            names.add(OBSERVATION[1])
        return names.union(self.attributes, *(table.attributes for table in self.linked))

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        yield from super().problems()
        for attributes in (self.attributes, *(table.attributes for table in self.linked)):
            for name in attributes:
                if name in RESERVED or not name.isidentifier():
                    yield f"attributes: {name!r} cannot be the name of an attribute; choose another one."
