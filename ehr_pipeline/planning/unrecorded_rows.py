"""Report the rows of concept lists whose codes are in no extract. Some are misspelt, and would silently match no patient.

But most of these rows hold rare codes: clinical lists name every code of a disease, and even in the demo, most SNOMED codes of the
shipped lists are recorded nowhere. So a list is warned of only if too many codes are unrecorded among those that no file explains,
such as codes of other systems without a dictionary.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from ehr_pipeline.events.resolve_lists import ResolvedRow, Rows

MOST_UNRECORDED = 0.5
"""If more than this share of a list's unexplained codes is not recorded, the message is a warning."""
SHOWN = 3
"""How many line numbers a message lists."""
Note = tuple[str, str]
"""A level ('facts' or 'warnings') and a text."""


def notes(place: str, rows: Rows, recorded: AbstractSet[str], known: AbstractSet[str]) -> Iterator[Note]:
    """Yield messages about the rows of a list that are not recorded.

    `recorded` holds the codes in the extracts; `known` holds the same codes, and the concepts that they stand for.
    """
    absent = [row for row in rows if known.isdisjoint({row.row.code, *row.concepts})]
    wrong = miswritten(absent, recorded)
    if len(wrong) < len(absent):
        others = [row for row in absent if _unexplained(row)]
        much = len(others) > MOST_UNRECORDED * sum(map(_unexplained, rows))
        yield (
            "warnings" if much else "facts",
            f"{place}: {len(absent):,} of its {len(rows):,} rows do not occur in the extracts ({_lines(absent)})"
            + (". Compare their codes with those of the event files." if much else ""),
        )
    if wrong:
        yield "warnings", warning(place, rows, wrong)


def miswritten(absent: Iterable[ResolvedRow], recorded: AbstractSet[str]) -> list[ResolvedRow]:
    """Return the unrecorded rows whose code is recorded, but written in another way."""
    alike = {form for code in recorded if not code.isdigit() for form in _forms(code)}
    return [row for row in absent if _unexplained(row) and _plain(row.row.code) in alike]


def warning(place: str, rows: Rows, wrong: list[ResolvedRow]) -> str:
    """Return a message about miswritten rows of a list."""
    return (
        f"{place}: {len(wrong):,} of its {len(rows):,} rows do not occur in the extracts, but a similar code does. The codes"
        " differ only in upper and lower case, in a letter O for a zero, in dots, or in the name of the system before a colon"
        f" ({_lines(wrong)}). Write them as in the event files."
    )


def _unexplained(row: ResolvedRow) -> bool:
    """Return whether the row's code is not SNOMED's, and no file says what concept it stands for."""
    return bool(row.row.code) and not row.row.code.isdigit() and not row.concepts - {row.row.code}


def _forms(code: str) -> set[str]:
    """Return what a person may write for a recorded code: the whole code, or only the part after the name of its system."""
    return {_plain(code), _plain(code.partition(":")[2] or code)}


def _plain(code: str) -> str:
    return code.casefold().replace("o", "0").replace(".", "").replace(" ", "")


def _lines(rows: list[ResolvedRow]) -> str:
    lines = ", ".join(str(row.row.line) for row in rows[:SHOWN])
    first = "first in lines" if len(rows) > SHOWN else "line" if len(rows) == 1 else "lines"
    return f"{first} {lines}"
