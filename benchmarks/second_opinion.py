"""Well-formed random CSV files with quotes and line breaks: the same rows by our reader and by DuckDB's own."""

import csv
import gzip
import io
import random
from pathlib import Path
from typing import Literal

import polars as pl

from ehr_pipeline.records import text
from ehr_pipeline.records.layouts import DelimitedText
from ehr_pipeline.work.progress import Progress

COLUMNS = ("patid", "obsdate", "code", "note")
CHARACTERS = 'abc é1,;|\t\'""\n\n'
FORMS = ((",", '"'), ("\t", '"'), (";", "'"), ("|", '"'))
ENCODINGS = ("utf-8", "utf-8", "latin-1", "utf-16-le")
Row = tuple[str, ...]


def compare(case: random.Random, folder: Path) -> int:
    """Write one file, read it both ways, and raise AssertionError unless the rows are the same. Returns how many there are."""
    (delimiter, quote), encoding = case.choice(FORMS), case.choice(ENCODINGS)
    path = folder / ("rows.csv.gz" if case.random() < 0.2 else "rows.csv")
    data = _content(case, delimiter, quote).encode(encoding)
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    ours = _ours(path, case, DelimitedText(files="*", delimiter=delimiter, quote=quote, encoding=encoding))
    theirs = _duckdb(path, delimiter, quote, encoding)
    assert ours == theirs, f"{len(ours)} rows of ours, {len(theirs)} of DuckDB's"
    return len(ours)


def _content(case: random.Random, delimiter: str, quote: str) -> str:
    written = io.StringIO(newline="")
    every: Literal[0, 1] = csv.QUOTE_ALL if case.random() < 0.3 else csv.QUOTE_MINIMAL
    writer = csv.writer(
        written, delimiter=delimiter, quotechar=quote, quoting=every, lineterminator=case.choice(("\n", "\r\n"))
    )
    writer.writerow(COLUMNS)
    busy = case.choice((0.0, 0.02, 0.5))
    for _ in range(case.choice((1, 20, 3000))):
        length = case.choice((3, 40)) if case.random() < busy else 0
        note = "".join(case.choices(CHARACTERS, k=length))
        writer.writerow((case.randint(1, 10**9), "01/02/2003", case.randint(10**5, 10**9), note))
    return written.getvalue()


def _ours(path: Path, case: random.Random, layout: DelimitedText) -> list[Row]:
    columns, rows = {name: name for name in COLUMNS}, []
    block = case.choice((100, 1 << 12, 1 << 24))
    for split in text.read(
        path,
        layout,
        columns,
        "",
        block_bytes=block,
        progress=Progress("", 1),
        numbers=case.choice(((), ("patid", "code"))),
    ):
        found = split()
        assert not found.rejected.height, found.rejected["reason"].unique().to_list()
        for part in [found.rows] if found.plain is None else [found.rows, found.plain]:
            rows += part.select("line", pl.col(*COLUMNS).cast(pl.String).str.strip_chars()).rows()
    # Blocks come in the order of the file, and lines count anew in each: the order of rows is not compared.
    return sorted(row[1:] for row in rows)


def _duckdb(path: Path, delimiter: str, quote: str, encoding: str) -> list[Row]:
    import duckdb

    columns = ", ".join(f"'{name}': 'VARCHAR'" for name in COLUMNS)
    values = ", ".join(f"coalesce({name}, '')" for name in COLUMNS)
    marks = {"delim": delimiter, "quote": quote, "escape": quote, "encoding": encoding.removesuffix("-le")}
    told = ", ".join(f"{name} = '{mark.replace(chr(39), 2 * chr(39))}'" for name, mark in marks.items())
    source = f"read_csv('{path}', auto_detect = false, header = true, columns = {{{columns}}}, {told})"
    rows = duckdb.connect().execute(f"SELECT {values} FROM {source}").fetchall()  # noqa: S608 (names of ours alone)
    return sorted(tuple(value.replace("\r\n", "\n").strip() for value in row) for row in rows)
