"""Read tables with names of codes, for codes that are kept as concepts of their own."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import files
from ehr_pipeline.records.sources.meds import Meds, event_code
from ehr_pipeline.terminology.reading import named, other_files, reading, why
from ehr_pipeline.terminology.spelling import one_spelling

SETTING = "events.names"
CODE, NAMES = "code", ("description", "name", "term", "label")
"""The column of the code, and columns that may hold the name, in this order, in upper or lower case."""
MOST = 0.5
"""The smallest share of a code's rows in which its name must occur."""


def look_up(table: pl.DataFrame, paths: Sequence[str]) -> pl.Series:
    """Return the name (n,) of each row's `code`, or of its SNOMED code `snomed`; null if no table has one.

    If all codes other than SNOMED's are of one system, a table may list them without the name of this system. Raises InputError for
    a file that cannot be used.
    """
    known = pl.concat([_read(Path(path)) for path in paths])
    systems = table["code"].str.extract(r"^([^:]+):").drop_nulls().unique()
    parts = [known, known.with_columns(code=event_code(Meds()))]  # as MEDS writes codes, and as they are kept
    parts += [known.with_columns(code=systems[0] + ":" + pl.col("code"))] if len(systems) == 1 else []
    own = pl.concat(parts).with_columns(one_spelling(pl.col("code"))).unique("code", keep="first", maintain_order=True)
    found = [
        key.to_frame("code").join(own, on="code", how="left", maintain_order="left")["name"]
        for key in (table["code"], table["snomed"])
    ]
    return pl.select(pl.coalesce(found)).to_series()


def look(path: Path) -> bool:
    """Return whether a table has any name. Raises InputError for a file that cannot be used."""
    scan = _scan(path)
    with reading(path, SETTING):
        return bool(scan.filter(pl.col("name") != "").head(1).collect().height)


def is_there(path: Path) -> bool:
    """Return whether a file is a table with names."""
    try:
        return path.is_file() and look(path)
    except InputError:
        return False


def _read(path: Path) -> pl.DataFrame:
    """Return the names in a table (code, name), without codes that have none.

    If a code has several names, it gets the most frequent one, provided that at least half of the code's rows have it. Otherwise it
    gets none, since the column seems to hold remarks, which may say something about patients.
    """
    scan = _scan(path).filter(pl.col("code") != "", pl.col("name") != "")
    counted = scan.group_by("code", "name").agg(rows=pl.len())
    with reading(path, SETTING):
        table = counted.collect(engine="streaming")
    most = table.sort(["code", "rows", "name"], descending=[False, True, False]).with_columns(
        share=pl.col("rows") / pl.col("rows").sum().over("code")
    )
    return most.unique("code", keep="first", maintain_order=True).filter(pl.col("share") >= MOST).select("code", "name")


def _scan(path: Path) -> pl.LazyFrame:
    """Open a table lazily: code and name, as texts."""
    if not path.is_file():
        raise InputError(f"{named(path, SETTING)}: there is no such file.{other_files(path)}")
    with reading(path, SETTING):
        if files.is_parquet(path):
            scan = pl.scan_parquet(path)
        else:
            scan = pl.scan_csv(path, infer_schema=False, separator=_delimiter(path), encoding="utf8-lossy")
        own = {column.strip().lower(): column for column in reversed(scan.collect_schema().names())}
    name = next((own[each] for each in NAMES if each in own), None)
    if CODE not in own or name is None:
        raise InputError(
            f"{named(path, SETTING)}: a table of names has the column {CODE!r} and one of {', '.join(NAMES)}. It has:"
            f" {', '.join(own.values())}."
        )
    texts = {"code": own[CODE], "name": name}
    return scan.select(
        pl.col(old).cast(pl.String).fill_null("").str.strip_chars().alias(new) for new, old in texts.items()
    )


def _delimiter(path: Path) -> str:
    """Return the delimiter that divides the header into the most columns."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            header = stream.readline(1 << 16)
    except (OSError, EOFError) as error:
        raise InputError(f"{named(path, SETTING)}: the file cannot be read: {why(error)}.") from None
    return max("\t,;|", key=lambda mark: header.count(mark.encode()))
