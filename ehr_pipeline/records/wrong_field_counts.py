"""Explain why lines have more or fewer fields than the header: row names, quotes missing in the settings, delimiters in fields."""

from collections import Counter
from pathlib import Path

from ehr_pipeline.records import header, lines, text
from ehr_pipeline.records.kinds import Kind
from ehr_pipeline.records.layouts import has_setting, setting
from ehr_pipeline.records.quoting import QUOTE, field_in_quotes

IN_QUOTES = "in lines with quotes"


def describe(path: Path, kind: Kind, numbers: list[int]) -> str:
    """Describe lines of a text file: their number of fields, the expected number, and a possible cause."""
    layout = kind.files
    beginning = _lines(path, kind, max(numbers))
    rows = [beginning[number - 1] for number in numbers if number <= len(beginning)]
    if not rows:
        return ""
    counts = Counter(len(header.fields(row, layout) or row.split(layout.delimiter)) for row in rows)
    count = counts.most_common(1)[0][0]
    width = len(layout.header) or len(header.names(beginning[0], layout))
    counts_text = f"mostly {count} where the header has {width}"
    quoted = sum(QUOTE in row for row in rows) > len(rows) / 2
    if not layout.quote and quoted:
        to_set = (
            f"set {setting(kind.where, 'quote')} to '{QUOTE}'"
            if has_setting(kind.where, "quote")
            else "leave the quotes out"
        )
        return f"{counts_text}, {IN_QUOTES} ({to_set})"
    if count == width + 1:
        names = f", or name all columns in {setting(kind.where, 'header')}" if has_setting(kind.where, "header") else ""
        return f"{counts_text} (row names of R? write the file with row.names = FALSE{names})"
    return counts_text


def first_in_quotes(path: Path, kind: Kind, most: int) -> int:
    """Return the number of the first line after the header with a field in quotes; 0 if none of the first `most` lines has one."""
    pattern = field_in_quotes(kind.files.delimiter)
    begin = 0 if kind.files.header else 1
    rows = enumerate(_lines(path, kind, most)[begin:most], begin + 1)
    return next((number for number, row in rows if QUOTE in row and pattern.search(row)), 0)


def _lines(path: Path, kind: Kind, most: int) -> list[str]:
    """Return the first lines of a text file, as far as they can be read."""
    layout, result = kind.files, list[str]()
    encoding = lines.encoding_of_blocks(layout.encoding)
    for block in lines.blocks(path, layout.encoding, kind.where, lines.HEAD_BYTES):
        if not isinstance(block, bytes):
            break
        result += text.utf8(block, encoding).decode().removesuffix("\n").split("\n")
        if len(result) >= most:
            break
    return result
