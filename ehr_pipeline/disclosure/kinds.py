"""Types that say what a figure counts: people, events (things that people have), things, a share of people or events, or a score.

The code that makes a figure states its kind: checks create figures of these types, and the package of each stage declares the kinds
of its artifacts' counts (`COUNTED`), so that manifests stay plain JSON and older ones stay readable. `figures.Guard` renders
figures. This module imports no other module of the project, so that every stage can use it.
"""

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class People:
    """A number of patients."""

    number: int
    smallest: int | None = None
    """The smallest part, if this is a sum whose other parts are shown exactly: the sum would then reveal it."""


@dataclass(frozen=True)
class Events:
    """A number of things that patients have: rows, visits, tokens, windows."""

    number: int
    people: int | None = None
    """Number of patients who have the events, if known; the events of a single patient would reveal the length of a record."""


@dataclass(frozen=True)
class Plain:
    """A number that reveals nothing about patients: of codes, concepts, clusters, files."""

    number: float


@dataclass(frozen=True)
class Score:
    """A measure over patients that, once rounded, reveals no count: a loss, a correlation, an agreement."""

    value: float


@dataclass(frozen=True)
class Share:
    """A part of a number of patients or events."""

    part: People | Events
    whole: People | Events

    @staticmethod
    def of(value: float, whole: People | Events) -> "Share":
        """Return a share of `whole` of which only the value (0 to 1) is known."""
        return Share(replace(whole, number=round(value * whole.number)), whole)


Figure = People | Events | Plain | Score | Share


@dataclass(frozen=True)
class EventsOf:
    """Declares a count of events. The number of patients who have them is at a path in the same counts, such as
    'patients/dropped/few_visits'.

    A '*' in the path stands for the name that matched a '*' of the declaration.
    """

    people: str


def below_for_events(below: int, most: int) -> int:
    """Return the threshold for counts of events, of which a patient has at most `most`, from the threshold `below` for patients.

    A count that reaches it belongs to enough patients. Nothing is suppressed with thresholds up to 1."""
    return below * most if below > 1 else below


@dataclass(frozen=True)
class EventsOfAtMost:
    """Declares a count of events, of which a patient has at most the number at a path in the same counts (1 if it is missing)."""

    each: str


@dataclass(frozen=True)
class SumOf:
    """Declares a sum of patients whose parts are shown exactly. The smallest part is at a path in the same counts."""

    smallest: str


@dataclass(frozen=True)
class ShareOf:
    """Declares a share (0 to 1). The count that it is a share of is at a path in the same counts, and is of this kind."""

    whole: str
    kind: "Kind"


def size(number: int) -> Plain:
    """Return a number of bytes rounded to two digits: as the width of a row is known, all digits would reveal the row count."""
    return Plain(int(float(f"{number:.2g}")))


Kind = Callable[[Any], Figure] | EventsOf | EventsOfAtMost | SumOf | ShareOf
Declared = Mapping[str, Any]
"""The kind of each count of an asset by name, or a nested mapping. Names with '*' are patterns, tried after plain names. A kind
given for a nested mapping applies to all numbers in it. Counts declared None are never shown."""


def figures(counts: Mapping[str, Any], declared: Declared) -> dict[str, Any]:
    """Return counts as figures, with the same nesting. Texts and truth values are unchanged; undeclared counts are omitted."""
    return dict(_named(counts, declared, counts, ""))


def _named(here: Mapping[str, Any], kinds: Any, counts: Mapping[str, Any], matched: str) -> Iterator[tuple[str, Any]]:
    for name, value in here.items():
        kind, star = kinds, matched
        if isinstance(kinds, Mapping):
            pattern = name if name in kinds else next((p for p in kinds if fnmatch.fnmatchcase(name, p)), None)
            kind, star = kinds.get(pattern), name if pattern != name else matched
        if kind is None or value is None:
            continue
        if isinstance(value, Mapping):
            yield name, dict(_named(value, kind, counts, star))
        elif isinstance(value, list):
            yield name, [_figure(each, kind, counts, star) for each in value]
        elif (figure := _figure(value, kind, counts, star)) is not None:
            yield name, figure


def _figure(value: Any, kind: Any, counts: Mapping[str, Any], matched: str) -> Any:
    """Return a value as a figure; None for a fraction that is declared to be a count."""
    if isinstance(value, bool | str):
        return value
    if isinstance(kind, EventsOf):
        return Events(value, _at(counts, kind.people.replace("*", matched)))
    if isinstance(kind, EventsOfAtMost):
        return Events(value, -(-value // (_at(counts, kind.each) or 1)))
    if isinstance(kind, SumOf):
        return People(value, _at(counts, kind.smallest))
    if isinstance(kind, ShareOf):
        return Share.of(value, _figure(_at(counts, kind.whole) or 0, kind.kind, counts, matched))
    if kind in (People, Events) and not isinstance(value, int):
        return None
    return kind(value) if callable(kind) else None


def _at(counts: Mapping[str, Any], path: str) -> int | None:
    found: Any = counts
    for name in path.split("/"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, int) else None
