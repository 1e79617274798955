"""Read a history that somebody typed in: lines 'age,code' or 'date,code'. A name or a concept may replace the code.

    age,code
    34,24079001
    41.5,Asthma

A first line without a number is a header. Blank lines, and lines that begin with '#', are ignored. All problems are reported at
once, with their lines. For an unknown code or name, similar known ones are suggested.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from ehr_pipeline.errors import UserError, printable
from ehr_pipeline.forecasts.forecaster import shard_of
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.vocabulary.names import nearest
from ehr_pipeline.vocabulary.table import Vocabulary

OLDEST = 120
MOST_LINES = 100_000
_EPOCH = date(1970, 1, 1)
_PROBLEMS = 20


@dataclass(frozen=True)
class TypedTexts:
    """All texts that may be typed: concept ids, codes, and names in lower case, each with its token ids (several for a drug with
    several ingredients)."""

    tokens: Mapping[str, tuple[int, ...]]
    names: Mapping[str, str]
    """The text to show for each lower-case name."""

    @classmethod
    def of(cls, vocabulary: Vocabulary, shown: frozenset[str], codes: Iterable[tuple[str, str]]) -> "TypedTexts":
        """Collect them from the concepts that may be `shown`, and from pairs of a code and its concept."""
        concepts = {one.concept: (one.token_id,) for one in vocabulary.concepts if one.concept in shown}
        names = {one.name.lower(): one.name for one in vocabulary.concepts if one.concept in shown}
        by_name = {one.name.lower(): (one.token_id,) for one in vocabulary.concepts if one.concept in shown}
        by_code: dict[str, tuple[int, ...]] = {}
        for code, concept in codes:
            if concept in concepts:
                by_code[code] = by_code.get(code, ()) + concepts[concept]
        return cls({**by_code, **by_name, **concepts}, names)

    def of_text(self, what: str) -> tuple[int, ...]:
        """Return the token ids of a code, concept or name; none if it is not known."""
        return self.tokens.get(what) or self.tokens.get(what.lower()) or self.tokens.get(what.upper(), ())

    def nearest(self, what: str) -> list[str]:
        """Return up to three known names, concepts or codes that resemble a text, first names that contain all of its words."""
        if what[:1].isdigit() or what[1:].isdigit():
            return difflib.get_close_matches(
                what.upper(), [one for one in self.tokens if one not in self.names], 3, 0.6
            )
        return nearest(what, self.names.values())


def read(lines: Iterable[str], known: TypedTexts, born: str = "") -> Shard:
    """Parse a history into a shard of one row. Lines with dates need `born`, the date or year of birth.

    Raises UserError with all problems.
    """
    birth = _birth(born) if born else None
    visits: dict[int, set[int]] = {}
    problems: list[str] = []
    kinds: set[str] = set()
    for number, when, what in _split(lines):
        day, kind = _day(when, birth)
        kinds.add(kind)
        tokens = known.of_text(what)
        if isinstance(day, str):
            problems.append(f"line {number}: {day}")
        if not tokens:
            problems.append(f"line {number}: {_unknown(what, known)}")
        if not isinstance(day, str) and tokens:
            visits.setdefault(day, set()).update(tokens)
    if {"age", "date"} <= kinds:
        problems.append("some lines begin with an age, others with a date. Use only ages, or only dates")
    if problems:
        more = [f"and {len(problems) - _PROBLEMS:,} more problems"] * (len(problems) > _PROBLEMS)
        raise UserError("The history cannot be read:\n  " + "\n  ".join([*problems[:_PROBLEMS], *more]))
    if not visits:
        raise UserError(
            "The history is empty. Write lines such as '34,Asthma': an age or a date, and a code or a name."
        )
    return shard_of([(day, sorted(visits[day])) for day in sorted(visits)], 0 if "age" in kinds else birth or 0)


def _split(lines: Iterable[str]) -> Iterator[tuple[int, str, str]]:
    """Yield the number, the first cell and the rest of each line. Blank lines, comments and the header are skipped."""
    begun = False
    for number, line in enumerate(lines, 1):
        if number > MOST_LINES:
            raise UserError(f"The history has more than {MOST_LINES:,} lines.")
        text = line.strip().removeprefix("\ufeff")
        if not text or text.startswith("#"):
            continue
        when, _, what = text.replace("\t", ",", 1 if "," not in text else 0).partition(",")
        header = not begun and not any(letter.isdigit() for letter in when)
        begun = True
        if not header:
            yield number, when.strip(' "'), what.strip(' "')


def _day(when: str, birth: int | None) -> tuple[int | str, str]:
    """Return the day, or a problem with it; and whether the text is an 'age', a 'date', or neither ('')."""
    try:
        age = float(when)
    except ValueError:
        pass
    else:
        if not 0 <= age <= OLDEST:
            return f"the age {when} must be between 0 and {OLDEST} years", "age"
        return round(age * DAYS_IN_YEAR), "age"
    try:
        day = (date.fromisoformat(when) - _EPOCH).days
    except ValueError:
        return f"'{printable(when)}' is neither an age in years nor a date such as 2019-04-01", ""
    if birth is None:
        return "dates need the date of birth: add --born 1980-05-01, or only the year", "date"
    if day < birth:
        return f"{when} is before the date of birth", "date"
    if day > birth + OLDEST * DAYS_IN_YEAR:
        return f"{when} is more than {OLDEST} years after the date of birth", "date"
    return day, "date"


def _birth(born: str) -> int:
    """Return the day of birth; 1 July if only the year is given. Raises UserError."""
    text = f"{born}-07-01" if len(born) == 4 and born.isdigit() else born
    try:
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise UserError(f"--born: '{printable(born)}' is neither a date such as 1980-05-01 nor a year.") from None


def _unknown(what: str, known: TypedTexts) -> str:
    if not what:
        return "no code or name: write 'age,code'"
    near = known.nearest(what)
    hint = f"; nearest: {', '.join(map(printable, near))}" if near else ""
    return f"the encoder knows no code, concept or name '{printable(what)}'{hint}"
