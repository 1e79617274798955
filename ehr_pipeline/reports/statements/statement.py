"""The class `Statement`, and helpers to write statements: they escape values, and match nouns with numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from markupsafe import Markup

from ehr_pipeline.errors import undirected


class Rate(StrEnum):
    """Kinds of statements by their error rates. The values name the rows of `docs/error_rates.md`."""

    DESCRIPTION = "none: description"
    """It describes the data, or what was done, without a conclusion."""
    SUBGROUPS = "subgroups"
    """The cohort has subgroups, or has none."""
    CLUSTER = "cluster"
    """A cluster can be relied on, or says little or nothing beyond disease, age, sex and amount of record."""
    MARKS = "marks"
    """A concept marks a cluster."""
    ONE_GROUP = "one group"
    """Several clusters are one kind of patient."""
    CHANGE = "change over time"
    """Patients change from one cluster to another."""
    AUDIT = "audit"
    """The clusters are associated with an attribute."""
    NEIGHBOURS = "neighbours"
    """The neighbours of concepts mean something."""
    PREDICTIONS = "predictions"
    """The model predicts better, or worse, than counting."""


@dataclass(frozen=True)
class Statement:
    """A sentence of the page, or a few that belong together."""

    text: Markup
    rate: Rate

    def __html__(self) -> str:
        """Return the sentence as HTML: templates show a statement as it is."""
        return self.text

    def __str__(self) -> str:
        """Return the sentence as a reader sees it, without markup."""
        return self.text.striptags()

    def halves(self) -> tuple["Statement", "Statement"]:
        """Split the sentence into its bold beginning, which is the message, and the rest. The rest may be empty, and is so without
        bold text."""
        bold, end, rest = self.text.partition("</b>")
        if not end:
            return self, Statement(Markup(), self.rate)
        return Statement(Markup(bold + end), self.rate), Statement(Markup(rest.strip()), self.rate)  # noqa: S704  # parts of markup

    def __bool__(self) -> bool:
        """Whether the statement has any text."""
        return bool(self.text)


def say(text: str, rate: Rate = Rate.DESCRIPTION, /, **values: Any) -> Statement:
    """Write a statement. `text` is trusted HTML with `{fields}`; the values are escaped, unless they are markup.

    Characters in values that set the direction of text are shown as codes: in a name from the data, they could reverse the text
    beside it.
    """
    return Statement(markup(text, **values), rate)


def markup(text: str, **values: Any) -> Markup:
    """Fill in a part of a statement; see `say`."""
    shown = {name: undirected(value) if type(value) is str else value for name, value in values.items()}
    return Markup(text).format(**shown)  # noqa: S704  # of our own; format escapes the values


def joined(rate: Rate, parts: Iterable[Statement | Markup | None]) -> Statement:
    """Join several statements into one, leaving out empty ones."""
    return Statement(Markup(" ").join(markup("{part}", part=part) for part in parts if part), rate)


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with the word for what is counted: '1 cluster', '1,200 clusters'."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def are(number: int) -> str:
    """Return 'is' for one, otherwise 'are'."""
    return "is" if number == 1 else "are"


def listed(names: Iterable[Any], last: str = " and ") -> Markup:
    """Return names as a list in a sentence: 'a', 'a and b', 'a, b and c'; `last` stands before the last of several.

    Names of concepts can contain commas. Then semicolons separate them: 'vaccine, oral; and c'.
    """
    shown = [markup("{name}", name=name) for name in names]
    between = ", "
    if len(shown) > 1 and any(", " in name for name in shown):
        between, last = "; ", f"; {word} " if (word := last.strip(" ,;")) else "; "
    return Markup(between).join([*shown[:-2], Markup(last).join(shown[-2:])])  # noqa: S704  # our own word


def percent(share: float, digits: int = 0) -> str:
    """Return a share as a percentage: '12 %'."""
    return f"{100 * share:.{digits}f} %"


def cluster_link(number: int, text: str = "{number}") -> Markup:
    """Return a link to the card of a cluster. `text` is the link's text, with the cluster's number."""
    return markup(f'<a href="#cluster-{{number}}">{text}</a>', number=number)
