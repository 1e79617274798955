"""Render figures so that they may be shown to people: in Dagster, `summary.json`, messages and released files.

The code that makes a figure declares what it counts (`kinds`); only this module renders it. Counts of patients and of their rows
are suppressed from 1 to `below` - 1 and rounded otherwise: the difference of exact counts of rows read and rows kept would reveal
how few were dropped, here or at the next stage. Numbers of codes, concepts or clusters reveal nothing about patients.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ehr_pipeline.disclosure.kinds import Events, Figure, People, Plain, Score, Share

FEWEST = 10
"""Smallest count of rows or patients shown where no setting applies: in messages, and in stages before the report."""
HIDDEN = "–"
"""Placeholder for a suppressed figure."""
DIGITS = 3
"""Maximum number of decimals of scores and shares."""


def count_text(count: int, below: int = FEWEST) -> str:
    """Return a count as text for messages: 'about 1,230', 'fewer than 10'. Rounded, as logs spread more easily than reports."""
    shown = Guard(below).count(count)
    if shown is None:
        return f"fewer than {below}"
    return f"{'about ' if count and below > 1 else ''}{shown:,}"


@dataclass(frozen=True)
class Naming:
    """Decides which names taken from the data are shown: those that enough patients have. How many are enough is above the
    threshold, and differs from name to name.

    Suppose that the threshold were enough for every name. If one patient opts out, and a name is then missing from the next page,
    this would reveal that the number of patients who still have it is one below the threshold. So a keyed hash fixes a number for
    each name once and for all (like cell keys: Fraser & Wooton 2005, 'A proposed method for confidentialising tabular output to
    protect against differencing'). A name that disappears then does not reveal how many patients have it; and after one patient has
    left, this number is not below the threshold.
    """

    below: int
    key: str
    """A secret of the study, the same for all its results."""

    def needed(self, name: str) -> int:
        """Return how many patients must have a name for it to be shown: from `below` + 1 to 2 x `below`; 1 without suppression."""
        if self.below == 1:
            return 1
        key = hashlib.sha256(self.key.encode()).digest()
        digest = hashlib.blake2b(name.encode(), digest_size=8, key=key, person=b"names shown").digest()
        return self.below + 1 + int.from_bytes(digest, "little") % self.below

    def shows(self, name: str, patients: int) -> bool:
        """Return whether a name that this many patients now have may be shown."""
        return patients >= self.needed(name)


@dataclass(frozen=True)
class Guard:
    """Renders figures: suppresses small counts; rounds other counts, shares and scores."""

    below: int
    """Counts of people and events from 1 to `below` - 1 are suppressed."""
    to: int = 1
    """Smallest allowed step for rounding other counts (see `step`)."""

    @property
    def step(self) -> int:
        """Return the step of rounding: the smallest multiple of `below` that is at least `to`.

        The page rounds to multiples of `below`. If the same number were rounded here to multiples of another step, such as 7 where
        the page uses 10, both together would narrow it down. A smaller step would show the difference of two numbers more precisely
        than a small count may be shown.
        """
        return -(-self.to // self.below) * self.below

    def count(self, value: int) -> int | None:
        """Return a count of people or events as it may be shown, or None. Halves round up, as on the page; only 0 becomes 0."""
        size = abs(value)
        if 0 < size < self.below:
            return None
        rounded = max((size + self.step // 2) // self.step, 1) * self.step if size else 0
        return rounded if value > 0 else -rounded

    def number(self, figure: Figure) -> float | None:
        """Return a figure as a number that may be shown, or None.

        A share is computed from the two rounded counts, and so reveals no more than they do: an exact share, even rounded, would
        narrow the count shown with it. The share is suppressed if the count of the part, or that of the rest, is suppressed.
        """
        match figure:
            case People(number) | Events(number):
                return None if self.hidden(figure) else self.count(number)
            case Plain(value):
                return value if isinstance(value, int) else float(f"{value:.4g}")
            case Score(value):
                return round(value, DIGITS)
            case Share(part, whole):
                return self._share(part, whole)

    def _share(self, part: People | Events, whole: People | Events) -> float | None:
        shown, of = self.number(part), self.number(whole)
        rest = self.number(replace(part, number=whole.number - part.number))
        return None if shown is None or rest is None or not of else round(min(shown / of, 1.0), DIGITS)

    def percent(self, share: Share) -> str:
        """Return a share for a message: '45.3%', or '–' where it is suppressed."""
        shown = self.number(share)
        return HIDDEN if shown is None else f"{shown:.1%}"

    def hidden(self, figure: People | Events) -> bool:
        """Return whether a count is suppressed: because it is small, because it counts the events of few patients, or because it
        would reveal the small count of a part."""
        other = figure.people if isinstance(figure, Events) else figure.smallest
        return any(0 < number < self.below for number in (abs(figure.number), other if figure.number and other else 0))

    def joined(self, counts: Mapping[Any, Figure]) -> list[tuple[tuple[Any, ...], People | Events]]:
        """Merge categories until no count has to be suppressed, since a single suppressed count could be computed from the total
        and the others.

        Each suppressed count is merged with the smallest other count, until none is suppressed or only one category is left. The
        order of the categories is kept. Counts of zero, and counts that are not about patients (`Plain`), are omitted.
        """
        groups: list[tuple[tuple[Any, ...], People | Events]] = [
            ((name,), value) for name, value in counts.items() if isinstance(value, People | Events) and value.number
        ]
        while len(groups) > 1 and any(self.hidden(value) for _, value in groups):
            ordered = sorted(range(len(groups)), key=lambda place: (groups[place][1].number, place))
            small = next(place for place in ordered if self.hidden(groups[place][1]))
            first, second = sorted((small, next(place for place in ordered if place != small)))
            (names, one), (others, other) = groups[first], groups[second]
            groups[first] = (names + others, _sum(one, other))
            del groups[second]
        return groups

    def nested(self, counts: Any) -> Any:
        """Return nested figures as numbers, None where they must not be shown; texts and truth values are unchanged.

        Where the page merges several reasons for dropping rows, the counts of all of them are None, not only the small ones.
        Otherwise a small count could be computed: it is the merged count on the page, minus the other counts shown here.
        """
        if isinstance(counts, Mapping):
            shown = {name: self.nested(value) for name, value in counts.items()}
            if isinstance(counts.get("dropped"), Mapping):
                lost: dict[tuple[str, ...], Figure] = {("collapsed",): counts.get("collapsed", Plain(0))}
                lost |= {("dropped", name): figure for name, figure in counts["dropped"].items()}
                for group, _ in self.joined(lost):
                    for place in group if len(group) > 1 else ():
                        (shown["dropped"] if len(place) > 1 else shown)[place[-1]] = None
            return shown
        if isinstance(counts, list):
            return [self.nested(value) for value in counts]
        return counts if isinstance(counts, bool | str) else self.number(counts)


def _sum(one: People | Events, other: People | Events) -> People | Events:
    """Return the sum of two counts; the number of patients is known only if it is known for both."""
    number = one.number + other.number
    if isinstance(one, People):
        return People(number)
    people = [value.people if isinstance(value, Events) else value.number for value in (one, other)]
    return Events(number, None if None in people else sum(value or 0 for value in people))
