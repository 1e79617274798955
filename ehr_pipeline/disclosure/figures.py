"""Figures as they may be shown outside the data: in Dagster, in `summary.json`, in messages, in released files.

A figure says what it counts where it is made (`kinds`), and is rendered here alone. Counts of patients, and of their rows, from 1
to `below` - 1 are left out, others rounded: otherwise what came in less what was kept would tell the few that were left out, here
or at the next stage. How many codes, concepts or clusters there are tells of nobody.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ehr_pipeline.disclosure.kinds import Events, Figure, People, Score, Share, Things

FEWEST = 10
"""From how many on rows and patients are shown where no setting reaches: in messages, and in what is made before the report."""
HIDDEN = "–"
"""What stands for a figure that must not be shown."""
DIGITS = 3
"""So many decimals scores and shares have at most."""


def told(count: int, below: int = FEWEST) -> str:
    """A count of rows or patients in a message, since logs get about more easily than reports: 'about 1,230', 'fewer than 10'."""
    shown = Guard(below).count(count)
    if shown is None:
        return f"fewer than {below}"
    return f"{'about ' if count and below > 1 else ''}{shown:,}"


@dataclass(frozen=True)
class Naming:
    """From how many patients on a name that comes from the data is shown: of each name another number, above the threshold.

    Were it the threshold for all, a name that is gone from the next page, after one patient withdrew, would tell that one fewer
    than the threshold have it now. A keyed hash draws the number for each name once and for all (as cell keys do: Fraser & Wooton
    2005, 'A proposed method for confidentialising tabular output to protect against differencing'), so that what is gone leaves
    open how many there are, and is not below the threshold where one has left.
    """

    below: int
    key: str
    """A secret of the study, the same for all that is made of it."""

    def needed(self, name: str) -> int:
        """How many patients a name needs: from `below` + 1 to twice `below`; 1 where nothing is suppressed."""
        if self.below == 1:
            return 1
        key = hashlib.sha256(self.key.encode()).digest()
        digest = hashlib.blake2b(name.encode(), digest_size=8, key=key, person=b"names shown").digest()
        return self.below + 1 + int.from_bytes(digest, "little") % self.below

    def shows(self, name: str, patients: int) -> bool:
        """Whether a name may be shown that so many patients bear now."""
        return patients >= self.needed(name)


@dataclass(frozen=True)
class Guard:
    """Renders figures: leaves out small counts, and rounds the others, shares and scores."""

    below: int
    """Counts of people and events from 1 to `below` - 1 are left out."""
    to: int = 1
    """Others are rounded to a multiple of this at least (`step`)."""

    @property
    def step(self) -> int:
        """What counts are rounded to a multiple of: the first multiple of `below` that is `to` or more.

        The page rounds to multiples of `below`. Other steps, such as 7 beside 10, would cut its numbers into pieces, and one that
        is smaller tells the difference of two numbers closer than a small count may be told.
        """
        return -(-self.to // self.below) * self.below

    def count(self, value: int) -> int | None:
        """A count of people or events that may be shown, or None. Half is rounded up, as on the page; only nobody becomes zero."""
        size = abs(value)
        if 0 < size < self.below:
            return None
        rounded = max((size + self.step // 2) // self.step, 1) * self.step if size else 0
        return rounded if value > 0 else -rounded

    def number(self, figure: Figure) -> float | None:
        """A figure as a number that may be shown, or None.

        A share is that of the two rounded counts, and so tells no more than these: one rounded by itself narrows the count beside
        it. Where the part or the rest is left out, so is the share.
        """
        match figure:
            case People(number) | Events(number):
                return None if self.hidden(figure) else self.count(number)
            case Things(value):
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
        """A share in a message: '45.3%', or '–' where it must not be shown."""
        shown = self.number(share)
        return HIDDEN if shown is None else f"{shown:.1%}"

    def hidden(self, figure: People | Events) -> bool:
        """Whether a count must not be shown: one of few, of what few patients have, or a sum that would tell of few."""
        other = figure.people if isinstance(figure, Events) else figure.smallest
        return any(0 < number < self.below for number in (abs(figure.number), other if figure.number and other else 0))

    def joined(self, counts: Mapping[Any, Figure]) -> list[tuple[tuple[Any, ...], People | Events]]:
        """Counts by category, in their order, of which none is hidden: where a total is known, the others would tell it.

        Hidden ones join the smallest others until none is hidden, or one is all there is. Zeros are left out, and things.
        """
        groups: list[tuple[tuple[Any, ...], People | Events]] = [
            ((name,), value) for name, value in counts.items() if isinstance(value, People | Events) and value.number
        ]
        while len(groups) > 1 and any(self.hidden(value) for _, value in groups):
            ordered = sorted(range(len(groups)), key=lambda place: (groups[place][1].number, place))
            small = next(place for place in ordered if self.hidden(groups[place][1]))
            first, second = sorted((small, next(place for place in ordered if place != small)))
            (names, one), (others, other) = groups[first], groups[second]
            groups[first] = (names + others, _together(one, other))
            del groups[second]
        return groups

    def nested(self, counts: Any) -> Any:
        """Figures in mappings and lists as numbers, None where they must not be shown; texts and truth values as they are.

        Reasons that the page joins are left out as well as small ones: one of the two would tell the other.
        """
        if isinstance(counts, Mapping):
            shown = {name: self.nested(value) for name, value in counts.items()}
            if isinstance(counts.get("dropped"), Mapping):
                lost: dict[tuple[str, ...], Figure] = {("collapsed",): counts.get("collapsed", Things(0))}
                lost |= {("dropped", name): figure for name, figure in counts["dropped"].items()}
                for group, _ in self.joined(lost):
                    for place in group if len(group) > 1 else ():
                        (shown["dropped"] if len(place) > 1 else shown)[place[-1]] = None
            return shown
        if isinstance(counts, list):
            return [self.nested(value) for value in counts]
        return counts if isinstance(counts, bool | str) else self.number(counts)


def _together(one: People | Events, other: People | Events) -> People | Events:
    """Two counts as one: of how many patients, is known only where it is of both."""
    number = one.number + other.number
    if isinstance(one, People):
        return People(number)
    people = [value.people if isinstance(value, Events) else value.number for value in (one, other)]
    return Events(number, None if None in people else sum(value or 0 for value in people))
