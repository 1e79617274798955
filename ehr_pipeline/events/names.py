"""Read tables with names of codes, for codes that are kept as separate concepts."""

import codecs
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ehr_pipeline.errors import InputError
from ehr_pipeline.events.settings import TableOfNames
from ehr_pipeline.records import files
from ehr_pipeline.records.sources.meds import Meds, event_code
from ehr_pipeline.terminology.reading import label, open_binary, other_files, reading, why
from ehr_pipeline.terminology.spelling import normalise_codes

SETTING = "events.names"
CODE, NAMES = "code", ("description", "name", "term", "label")
"""The column of the code, and columns that may contain the name, in this order, in upper or lower case."""
LONGEST_HEADER, HEAD = 1 << 16, 1 << 20
"""Bytes of the longest header, and of the text after it that shows the encoding."""
MIN_SHARE = 0.5
"""The smallest share of a code's rows in which its name must occur."""


def look_up(table: pl.DataFrame, named_in: Sequence[TableOfNames]) -> pl.Series:
    """Return the name (n,) of each row's `code`, or of its SNOMED code `snomed`; null if no table has one.

    If all codes other than SNOMED's are of one system, a table may list them without that system. Raises InputError for an unusable
    file.
    """
    systems = table["code"].str.extract(r"^([^:]+):").drop_nulls().unique()
    parts = []
    for one in named_in:
        known, system = _read(one), one.code_system or (systems[0] if len(systems) == 1 else "")
        parts += [known, known.with_columns(code=event_code(Meds()))]  # as MEDS writes codes, and as they are kept
        parts += [known.with_columns(code=system + ":" + pl.col("code"))] if system else []
    names_by_code = (
        pl.concat(parts).with_columns(normalise_codes(pl.col("code"))).unique("code", keep="first", maintain_order=True)
    )
    names = [
        key.to_frame("code").join(names_by_code, on="code", how="left", maintain_order="left")["name"]
        for key in (table["code"], table["snomed"])
    ]
    return pl.select(pl.coalesce(names)).to_series()


def has_names(table: TableOfNames) -> bool:
    """Return whether a table has any name. Raises InputError for a file that cannot be used."""
    scan = _scan(table)
    with reading(Path(table.file), SETTING):
        return bool(scan.filter(pl.col("name") != "").head(1).collect().height)


def is_names_table(path: Path) -> bool:
    """Return whether a file is a table with names."""
    try:
        return path.is_file() and has_names(TableOfNames(file=str(path)))
    except InputError:
        return False


def _read(table: TableOfNames) -> pl.DataFrame:
    """Return the names in a table (code, name), without codes that have none.

    A code with several names gets the most frequent one if at least half of its rows have it. Otherwise it gets none, as the column
    seems to contain remarks, which may describe patients.
    """
    scan = _scan(table).filter(pl.col("code") != "", pl.col("name") != "")
    counted = scan.group_by("code", "name").agg(rows=pl.len())
    with reading(Path(table.file), SETTING):
        names = counted.collect(engine="streaming")
    ordered = names.sort(["code", "rows", "name"], descending=[False, True, False]).with_columns(
        share=pl.col("rows") / pl.col("rows").sum().over("code")
    )
    return (
        ordered.unique("code", keep="first", maintain_order=True)
        .filter(pl.col("share") >= MIN_SHARE)
        .select("code", "name")
    )


def _scan(table: TableOfNames) -> pl.LazyFrame:
    """Open a table: code and name, as texts."""
    path = Path(table.file)
    if not path.is_file():
        raise InputError(f"{label(path, SETTING)}: there is no such file.{other_files(path)}")
    with reading(path, SETTING):
        scan = pl.scan_parquet(path) if files.is_parquet(path) else _text(path)
        columns = {column.strip().lower(): column for column in reversed(scan.collect_schema().names())}
    code = columns.get((table.code_column or CODE).lower())
    name = next(
        (columns[each] for each in ([table.name_column.lower()] if table.name_column else NAMES) if each in columns),
        None,
    )
    if code is None or name is None:
        wanted = repr(table.name_column) if table.name_column else f"one of {', '.join(NAMES)}"
        raise InputError(
            f"{label(path, SETTING)}: a table of names has the column {table.code_column or CODE!r} and {wanted}. It has:"
            f" {', '.join(reversed(columns.values()))}. If the columns have other names, set {SETTING} = [{{ file = …,"
            " code_column = …, name_column = … }]."
        )
    texts = {"code": code, "name": name}
    return scan.select(
        pl.col(old).cast(pl.String).fill_null("").str.strip_chars().alias(new) for new, old in texts.items()
    )


def _text(path: Path) -> pl.LazyFrame:
    """Open a delimited text, whose delimiter divides the header into the most columns. It is UTF-8, or else Latin-1."""
    try:
        with open_binary(path) as stream:
            header = stream.readline(LONGEST_HEADER)
            is_utf_8 = _is_utf_8(header + stream.read(HEAD))
    except (OSError, EOFError) as error:
        raise InputError(f"{label(path, SETTING)}: the file cannot be read: {why(error)}.") from None
    mark = max("\t,;|", key=lambda mark: header.count(mark.encode()))
    if is_utf_8:
        return pl.scan_csv(path, infer_schema=False, separator=mark, encoding="utf8-lossy")
    with open_binary(path) as stream:
        return pl.read_csv(stream.read(), infer_schema=False, separator=mark, encoding="latin-1").lazy()


def _is_utf_8(text: bytes) -> bool:
    """Return whether a text, which may end within a character, is UTF-8."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(text)
    except UnicodeDecodeError:
        return False
    return True
