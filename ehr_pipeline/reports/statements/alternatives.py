"""What other numbers of clusters and other methods would have given."""

from collections.abc import Mapping, Sequence

from ehr_pipeline.clusters.trust import STABLE
from ehr_pipeline.reports.statements.statement import Rate, Statement, counted, listed, say

AS_GOOD = 0.01
"""Adjusted Rand indices that differ by less are about the same."""


def how_many(agreement: Mapping[int, float], asked: int) -> Statement | None:
    """Compare the number of clusters asked for with that on which random halves of the patients agree best.

    `agreement`: mean adjusted Rand index by number of clusters. None if it was not examined.
    """
    if not agreement:
        return None
    best = max(agreement, key=lambda n: agreement[n])
    some = f"{counted(asked, 'cluster')} {'was' if asked == 1 else 'were'} asked for."
    told = f"{some} Among {min(agreement)} to {max(agreement)}, random halves of the patients"
    if best == asked:
        return say("{told} agree best on {best} as well (adjusted Rand index {index:.2f}).", told=told, best=best,
                   index=agreement[best])  # fmt: skip
    most = max(n for n, mean in agreement.items() if mean >= agreement[best] - AS_GOOD)
    alike = f"; on up to {most} about as well" if most > best else ""
    own = f"; {agreement[asked]:.2f} with {asked}" if asked in agreement and asked != most else ""
    return say(
        "{told} agree best on {best} (adjusted Rand index {index:.2f}{alike}{own}).",
        told=told,
        best=best,
        index=agreement[best],
        alike=alike,
        own=own,
    )


def a_choice() -> Statement:
    """Say that the number of clusters is a choice."""
    return say("The number is a choice of the study; the picture shows what others would have given.")


def how_tried() -> Statement:
    """Explain the agreement of halves."""
    return say(
        "The patients are divided at random into halves, each half is clustered by itself, and the two divisions are compared (mean"
        " over repetitions; bars: standard deviation). 1 is the same division, 0 what chance gives. Few clusters agree easily;"
        " where the line falls, more clusters are asked for than the records support."
    )


def columns() -> list[Statement]:
    """Explain the comparison of methods."""
    return [
        say(
            "Agreement: adjusted Rand index. Stability: mean Jaccard coefficient with the clusters of random halves of the patients"
            " (Hennig 2007). In the cards, a value below {stable:.2f} means that it is doubtful which patients belong to a cluster,"
            " and “unstable” marks clusters that other samples do not find.",
            stable=STABLE,
        ),
        say("A stable cluster need not mean anything; the split-half test above is about that."),
    ]


def steadier(methods: Sequence[tuple[str, str]]) -> Statement | None:
    """Name the methods whose clusters other samples find again clearly better, with their stability; None if none."""
    if not methods:
        return None
    return say(
        "Other samples of the patients find the clusters of {others} again clearly better: {names}. What only one method finds,"
        " above all small clusters, may come from the method.",
        Rate.CLUSTER,
        others="another method" if len(methods) == 1 else "other methods",
        names=listed(f"{name} {value}" for name, value in methods),
    )
