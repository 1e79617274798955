"""The files of an extract, as a practice system would land them."""

import gzip
from pathlib import Path

import polars as pl

EXTRACT = "2019-04-01"
DELIMITER = "\t"


def write_events(lines: pl.DataFrame, landing: Path, number: int) -> None:
    """Write the lines (column `line`) as event file `number`; every third file is gzipped."""
    text = (
        DELIMITER.join(("patient_id", "event_date", "snomed_code")) + "\n" + lines["line"].str.join("\n").item() + "\n"
    )
    name = f"events_{number:03d}.txt"
    if number % 3 == 1:
        with (
            (landing / (name + ".gz")).open("wb") as raw,
            gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="", compresslevel=3) as stream,
        ):
            stream.write(text.encode("latin-1"))
    else:
        (landing / name).write_bytes(text.encode("latin-1"))
