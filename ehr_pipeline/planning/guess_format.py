"""Guess the format of an undescribed file: delimiter, quotes, encoding, columns, dates, words for the sex.

Only the first quarter of a megabyte of a text file, or the first rows of a Parquet file, are read. No content of rows
leaves this module, except what the settings need: formats, names of columns, and common words for the sex.
"""

import datetime
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from polars import selectors

from ehr_pipeline.errors import InputError
from ehr_pipeline.planning import text_head
from ehr_pipeline.planning.text_head import ALMOST, MOST_ROWS
from ehr_pipeline.records import dates, files, parquet
from ehr_pipeline.records.header import DATA
from ehr_pipeline.records.sample import FORMATS
from ehr_pipeline.records.values import LIKELY, NO_VALUE, STANDARD, USUAL, comparable

BINARY, MOST_BINARY = "\x00\x01\x02\x03\x04\x05\x06\x07\x08", 0.01
"""Characters that text does not contain. A file with more than this share of them is not text; a few are damaged rows, which go
to the quarantine."""
NAMES = {
    "patient": "patient patientid patid personid subjectid person subject patientkey patientpseudonym pid eid",
    "date": "date eventdate obsdate recorddate recordeddate consdate consultationdate codedate clinicaldate effectivedate"
    " startdate diagnosisdate start datetime eventdatetime time",
    "code": "code snomedcode snomed snomedct snomedid snomedctcode snomedctconceptid snomedconceptid conceptid sctid concept"
    " clinicalcode eventcode diagnosiscode medcode readcode ctv3code icd10code icd10 icdcode",
    "code_system": "",
    "birth_date": "birthdate dateofbirth dob birth",
    "birth_year": "birthyear yearofbirth yob",
    "birth_month": "birthmonth monthofbirth mob",
    "sex": "sex gender patientsex",
    "observation_start": "registrationdate regstartdate regdate dateofregistration registrationstart registrationstartdate",
    "observation_ends": "deregistrationdate regenddate dateofderegistration registrationend registrationenddate transferoutdate",
    "death": "deathdate dateofdeath dod deceaseddate deceaseddatetime deathdatetime cprdddate",
}
"""Usual names of columns by role, the most usual first. Case and punctuation are ignored."""
MOST_VALUES, LONGEST_NAME = 40, 30
COMPACT = r"^(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])$"
"""Dates as YYYYMMDD, as registers have them. Of other numbers with eight digits, few are such dates."""


@dataclass(frozen=True, eq=False)
class Sniffed:
    """The guessed format of a file, from its beginning."""

    path: Path
    table: pl.DataFrame
    """Its first rows, as text."""
    bytes_a_row: float
    delimiter: str = ""
    quote: str = ""
    encoding: str = "utf-8"
    before: int = 0
    """Number of lines before its header."""
    alike: tuple[str, ...] = ()
    """Names that several columns have, which are not in the table."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Columns by role that the user named, or that were guessed."""

    @property
    def rows(self) -> int:
        """About how many rows the file has."""
        return self.table.height if self.bytes_a_row <= 0 else round(self.path.stat().st_size / self.bytes_a_row)

    def column(self, role: str) -> str:
        """Return the column of a role: as named or guessed (`roles`), otherwise a column with a usual name; or empty."""
        if role in self.roles:
            return self.roles[role]
        usual = NAMES[role].split()
        named = {plain(name): name for name in reversed(self.table.columns)}
        return next((named[name] for name in usual if name in named), "")

    def values(self, column: str) -> pl.Series:
        """Return the values of a column that are neither empty nor a word for no value; none if there is no such column."""
        if column not in self.table.columns:
            return pl.Series(dtype=pl.String)
        values = self.table[column].str.strip_chars()
        return values.filter(values.is_not_null() & ~values.is_in(["", *NO_VALUE]))

    @property
    def is_patients(self) -> bool:
        """Whether the file has a column of birth dates or years."""
        return bool(self.column("patient") and self.tells_birth)

    @property
    def tells_birth(self) -> bool:
        """Whether a column has dates or years of birth."""
        return bool(self.column("birth_date") or self.column("birth_year"))

    @property
    def is_events(self) -> bool:
        """Whether the file has a column of dates and a column of codes."""
        return bool(self.column("patient") and self.column("date") and self.column("code"))


def sniff(path: Path) -> Sniffed:
    """Guess the format of a file. Raises InputError if it is neither delimited text nor Parquet."""
    if not path.is_file():
        raise InputError(f"{path}: this file does not exist.")
    if files.is_parquet(path):
        parquet.names(path)  # a damaged file is reported here
        scan = pl.scan_parquet(path)
        rows = int(scan.select(pl.len()).collect().item())
        head = scan.head(MOST_ROWS).select(~(selectors.nested() | selectors.binary())).collect()
        head = head.select(pl.all().cast(pl.String, strict=False))
        return Sniffed(path, head, path.stat().st_size / max(rows, 1))
    raw = text_head.read(path)
    if raw[:4] in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        raise InputError(f"{path}: a zip archive or an Excel workbook. Unpack it, or save the sheet as CSV (UTF-8).")
    encoding, text = text_head.decoded(raw)
    if sum(map(text.count, BINARY)) > MOST_BINARY * len(text):
        raise InputError(f"{path}: neither a text file nor a Parquet file. Give text with a header line, or Parquet.")
    lines = text.splitlines(keepends=True)
    if not lines or not text.strip():
        raise InputError(f"{path}: the file is empty.")
    before = text_head.lines_before_header(lines)
    lines, text = lines[before:], "".join(lines[before:])
    if lines[0].lstrip().startswith(("{", "[{")):
        raise InputError(f"{path}: JSON, which is not read. Convert it to CSV with a header line, or to Parquet.")
    delimiter = text_head.delimiter(lines)
    if not delimiter:
        raise InputError(
            f"{path}: the first line has no tab, comma, semicolon or '|' as a delimiter. The file needs a header line with the"
            " names of its columns."
        )
    quoted = delimiter in ",;" or bool(re.search(f'(^|{re.escape(delimiter)})"', text, re.MULTILINE))
    table, rows, alike = text_head.table(text, delimiter, quoted)
    if _is_row(table.columns):  # a message that lists these columns would show data of a patient
        raise InputError(
            f"{path}: the first line looks like a row of data, but init needs a header line with the names of the columns. Write"
            " one above the rows, or set records.events[0].header (or of the patients) in a settings file of your own."
        )
    size = len(text.encode(encoding if encoding != "utf-16" else "utf-16-le")) * text_head.share_of_packed(path)
    return Sniffed(path, table, size / max(rows, 1), delimiter, '"' if quoted else "", encoding, before, alike)


def _is_row(names: Sequence[str]) -> bool:
    """Return whether a first line is data: most of its cells have digits as data have, and none is the usual name of a column."""
    usual = {word for words in NAMES.values() for word in words.split()}
    like_data = sum(bool(DATA.search(name)) for name in names)
    return 2 * like_data > len(names) and not any(plain(name) in usual for name in names)


def date_format(values: pl.Series, today: datetime.date) -> tuple[str, bool]:
    """Return the format that reads the most values, and whether this choice is doubtful.

    It is doubtful if another format reads as many values, but as other days. Of formats that read equally many values,
    the earliest in the list is returned; ('', False) if no format reads half of the values. Dates after `today` count only if
    hardly any others can be read, as where de-identified records have shifted dates.
    """
    sample = values.head(MOST_ROWS)
    read = {form: sample.to_frame("v").select(d=dates.parse(pl.col("v"), (form,), today))["d"] for form in FORMATS}
    for latest in (today, datetime.date.max):
        known = {form: int((days <= latest).sum()) for form, days in read.items()}
        best = max(FORMATS, key=lambda form: known[form])
        if len(sample) and known[best] >= len(sample) / 2:
            break
    else:
        return "", False
    same = [form for form in FORMATS if form != best and known[form] == known[best]]
    return best, any(not read[form].equals(read[best]) for form in same)


def share(values: pl.Series, pattern: str) -> float:
    """Return the share of values that match a pattern."""
    return float(values.str.contains(pattern).sum()) / max(len(values), 1)


def sexes(values: pl.Series) -> tuple[dict[str, str], bool]:
    """Return the meanings of 1 and 2, or of words in other languages, among the values; and whether all others are understood."""
    words = set(values.unique())
    meant = {"1": "M", "2": "F"} if words & {"1", "2"} else {}
    meant |= {
        word: LIKELY[comparable(word)] for word in sorted(words) if comparable(word) in LIKELY and word not in STANDARD
    }
    unclear = {word for word in words - meant.keys() if comparable(word) not in USUAL and word not in ("0", "9", "3")}
    more = dict.fromkeys(sorted(words & {"0", "3", "9"}), "") if "1" in meant else {}
    return meant | more, not unclear


def attributes(found: Sniffed, taken: Sequence[str], today: datetime.date) -> dict[str, str]:
    """Return the other columns with few different values, such as the region: columns by their names in the data set.

    Columns of dates are left out, and columns that differ between the rows of a patient.
    """
    chosen: dict[str, str] = {}
    patient = found.column("patient")
    for column in found.table.columns:
        values = found.values(column)
        if column in taken or is_date(values, today) or not is_of_patients(found.table, patient, column):
            continue
        name = re.sub(r"\W+", "_", column.strip().lower()).strip("_")
        few = 1 < values.n_unique() <= min(MOST_VALUES, max(len(values) / 3, 2))
        if few and name.isidentifier() and len(name) <= LONGEST_NAME:
            chosen[name] = column
    return chosen


def is_of_patients(table: pl.DataFrame, patient: str, column: str) -> bool:
    """Return whether nearly every patient has one value in a column."""
    if patient not in table.columns:
        return True
    differ = table.group_by(patient).agg(pl.col(column).n_unique())[column] > 1
    return bool(differ.mean() <= 1 - ALMOST)  # type: ignore[operator]


def is_date(values: pl.Series, today: datetime.date) -> bool:
    """Return whether values are dates. Of digits alone, only YYYYMMDD counts, since ids and codes read as other dates too."""
    digits = share(values, r"^[0-9]+$") >= ALMOST and share(values, COMPACT) < ALMOST
    return not digits and bool(date_format(values, today)[0])


def plain(name: str) -> str:
    """Return a column's name in lower case, without marks and accents: 'Term.from.EMIS' and 'term from EMIS' are the same."""
    return re.sub(r"[^a-z0-9]", "", without_accents(name).lower())


def without_accents(name: str) -> str:
    """Return a name with its accented letters replaced by plain ones."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
