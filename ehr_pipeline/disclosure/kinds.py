"""What each figure counts: people, what people have, things, a share of one of the first two, or a score.

A figure says so where it is made: a check makes it as one of these types, and the package of a stage declares the counts of its
artifacts beside the code that counts (`COUNTED`), so that manifests stay plain JSON and those made before stay readable.
`figures.Guard` renders figures. Imports nothing, so that every stage can declare.
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
    """Of the parts that it is the sum of, where the others are shown exactly: beside them the sum would tell a small one."""


@dataclass(frozen=True)
class Events:
    """A number of things that patients have: rows, visits, tokens, windows."""

    number: int
    people: int | None = None
    """Of how many patients they are, where that is counted: those of one are the length of a record."""


@dataclass(frozen=True)
class Things:
    """A number that tells of nobody: of codes, concepts, clusters, files."""

    number: float


@dataclass(frozen=True)
class Score:
    """A measure over patients from which no count follows once it is rounded: a loss, a correlation, an agreement."""

    value: float


@dataclass(frozen=True)
class Share:
    """A part of a number of patients or events."""

    part: People | Events
    whole: People | Events

    @staticmethod
    def of(value: float, whole: People | Events) -> "Share":
        """The share that is known by its value (0 to 1) alone."""
        return Share(replace(whole, number=round(value * whole.number)), whole)


Figure = People | Events | Things | Score | Share


@dataclass(frozen=True)
class EventsOf:
    """Declares events of the patients that are counted at another place of the same counts ('patients/dropped/few_visits').

    A '*' in the path stands for the name that a '*' of the declaration matched.
    """

    people: str


@dataclass(frozen=True)
class SumOf:
    """Declares patients who are the sum of parts that are shown exactly, of which the smallest is counted at another place."""

    smallest: str


@dataclass(frozen=True)
class ShareOf:
    """Declares a share (0 to 1) of what is counted at another place of the same counts, and is of this kind."""

    whole: str
    kind: "Kind"


def size(number: int) -> Things:
    """A number of bytes, in two digits: all digits would tell the number of rows of a known width."""
    return Things(int(float(f"{number:.2g}")))


Kind = Callable[[Any], Figure] | EventsOf | SumOf | ShareOf
Declared = Mapping[str, Any]
"""The kind of each count of an asset by its name, or again a mapping. A name may hold '*', and is compared after plain ones; a kind
in the place of a mapping is that of all numbers in it. None is never shown."""


def figures(counts: Mapping[str, Any], declared: Declared) -> dict[str, Any]:
    """The counts of an artifact, nested as they are, as figures; texts and truth values stay, what is not declared is left out."""
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
    """A value as a figure; None for a fraction that is declared a count."""
    if isinstance(value, bool | str):
        return value
    if isinstance(kind, EventsOf):
        return Events(value, _at(counts, kind.people.replace("*", matched)))
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
