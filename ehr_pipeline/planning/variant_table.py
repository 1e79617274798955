"""Write the comparison: a table for the terminal, a CSV file, and a page."""

import csv
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.errors import printable
from ehr_pipeline.planning.making_variants import VariantResult
from ehr_pipeline.store import publishing

CSV, PAGE = "variants.csv", "variants.html"
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em}table{border-collapse:collapse}td,th{padding:.25em .9em;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}tr.other td{background:#fff6dd}"
)


def rows(made: Sequence[VariantResult]) -> list[tuple[str, ...]]:
    """Return a row for each figure: its name, then its value in each variant (empty if the variant has none)."""
    names = dict.fromkeys(name for one in made for name in one.figures)
    found = [(name, *(_text(one.figures.get(name)) for one in made)) for name in names]
    found.append(("time (s)", *(f"{one.seconds:,.1f}" for one in made)))
    found.append(("memory (GB)", *("" if one.gigabytes is None else f"{one.gigabytes:.2f}" for one in made)))
    found.append(("reused assets", *(f"{one.reused} of {one.assets}" for one in made)))
    if any(one.problem for one in made):
        found.append(("problem", *(one.problem for one in made)))
    return found


def _text(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def table(made: Sequence[VariantResult]) -> str:
    """Return the table for a terminal. Problems are listed below the table, because they are long."""
    heads = ("", *(one.name for one in made))
    lines = [heads, *(row for row in rows(made) if row[0] != "problem")]
    widths = [max(len(printable(line[place])) for line in lines) for place in range(len(heads))]
    text = [
        "  ".join(
            printable(cell).ljust(width) if not place else printable(cell).rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join(text)


def write(folder: Path, study: str, made: Sequence[VariantResult]) -> tuple[Path, Path]:
    """Write the CSV file and the page into a new folder, which appears whole, and return their paths.

    Raises UserError if the folder exists.
    """
    heads, body = ("figure", *(one.name for one in made)), rows(made)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [[spreadsheet.text(cell) for cell in row] for row in (heads, *body)]
    )
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    lines = "\n".join(
        f"<tr{' class=other' if len(set(row[1:])) > 1 else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in body
    )
    page = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Variants of {escape(study)}</title><style>{STYLE}</style>\n"
        f"<h1>Variants of {escape(study)}</h1>\n<p>Coloured rows differ. Time is that of all assets of a variant, of reused ones as"
        " when they were made. Memory is that of its largest process, and empty where everything was reused. Each variant was made"
        f" once: small differences may be chance.</p>\n<table><tr>{head}</tr>\n{lines}\n</table></html>\n"
    )
    with publishing.whole(folder) as part:
        part.mkdir()
        (part / CSV).write_text(text.getvalue(), encoding="utf-8")
        (part / PAGE).write_text(page, encoding="utf-8")
    return folder / CSV, folder / PAGE
