"""Does a full UMLS fit? Time and memory of reading SNOMED CT's atoms out of an MRCONSO.RRF of the real size and layout.

The file is generated: 17 million rows, of which one in eleven is SNOMEDCT_US, as in the full Metathesaurus.

Usage: python benchmarks/mrconso.py [--rows 1.7e7]
"""

import argparse
import sys
import tempfile
from pathlib import Path

import polars as pl
import results
from time_and_memory import watched

READ = """
import sys, pathlib
from ehr_pipeline.terminology import rrf
print(rrf.snomed_atoms(pathlib.Path(sys.argv[1]), "SNOMEDCT_US", ("N", "O")).height, "atoms")
"""


def generate(path: Path, rows: int, block: int = 1_000_000) -> None:
    """Write MRCONSO.RRF, block by block."""
    with path.open("wb") as stream:
        for first in range(0, rows, block):
            number = pl.int_range(first, min(first + block, rows), dtype=pl.Int64)
            text = number.cast(pl.String)
            snomed = number % 11 == 0
            code = pl.when(snomed).then((number // 33 * 1000 + 1000).cast(pl.String) + "005").otherwise(text)
            fields = {
                "CUI": pl.lit("C") + (number // 4).cast(pl.String).str.zfill(7),
                "LAT": pl.lit("ENG"),
                "TS": pl.when(number % 2 == 0).then(pl.lit("P")).otherwise(pl.lit("S")),
                "LUI": pl.lit("L") + text,
                "STT": pl.lit("PF"),
                "SUI": pl.lit("S") + text,
                "ISPREF": pl.lit("Y"),
                "AUI": pl.lit("A") + text,
                "SAUI": pl.lit(""),
                "SCUI": code,
                "SDUI": pl.lit(""),
                "SAB": pl.when(snomed).then(pl.lit("SNOMEDCT_US")).otherwise(pl.lit("MSH")),
                "TTY": pl.when(number % 3 == 0).then(pl.lit("PT")).otherwise(pl.lit("SY")),
                "CODE": code,
                "STR": pl.lit("A clinical finding of some length, number ") + text,
                "SRL": pl.lit("9"),
                "SUPPRESS": pl.when(number % 7 == 0).then(pl.lit("O")).otherwise(pl.lit("N")),
                "CVF": pl.lit(""),
                "_end": pl.lit(""),
            }
            pl.select(**fields, eager=True).write_csv(stream, separator="|", include_header=False, quote_style="never")


def main() -> None:
    """Generate the file, read it, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1.7e7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "MRCONSO.RRF"
        generate(path, int(options.rows))
        size = path.stat().st_size
        seconds, peak = watched([sys.executable, "-c", READ, str(path)])
    text = (
        f"{options.rows:,.0f} rows, {size / 1e9:.1f} GB: read in **{seconds:.1f} s**, at most **{peak / 1e9:.2f} GB** of memory"
        " (whole process)."
    )
    results.write("mrconso.py", "A full MRCONSO", text)


if __name__ == "__main__":
    main()
