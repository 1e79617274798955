"""The files of an extract, as a practice system would deliver them."""

import csv
import gzip
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic import dirt

EXTRACT = "2019-04-01"
DELIMITER = "\t"
PATIENT_COLUMNS = ("patient_id", "year_of_birth", "sex", "region", "ethnicity", "practice", "treatment")


def write_events(
    rng: np.random.Generator, events: pl.DataFrame, birth_year: NDArray[np.int64], landing: Path, number: int
) -> Counter[str]:
    """Add dirt to events (patient, day, code), and write them as event file `number`; every third file is gzipped.

    `birth_year` (n,) is that of each event's patient. Returns the counts of rows and of each kind of dirt.
    """
    date = pl.col("day").cast(pl.Int32).cast(pl.Date).dt.strftime("%d/%m/%Y")
    lines, counted = dirt.soil(rng, events.select("patient", date.alias("date"), "code"), birth_year, DELIMITER)
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
    return counted + Counter({"rows": lines.height})


def write_groups(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write the table of the planted groups."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
