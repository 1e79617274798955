"""Sentences about the concepts that mark a cluster, by the half test or by the published ranking."""

from collections.abc import Sequence

from ehr_pipeline.clusters.marker_concepts import FEWEST, MAX_Q
from ehr_pipeline.clusters.matching import MOST
from ehr_pipeline.reports.statements.statement import Rate, Statement, counted, say


def no_marks(beyond: str, fewest: int, tests: int) -> Statement:
    """Say that no concept passes the half test. `beyond`: in what the compared patients are alike; `tests`: the number of tests."""
    return say(
        "Nothing marks this cluster beyond {beyond}: no concept that at least {fewest} patients have passes the half test"
        " (Benjamini-Hochberg value below {max_q:g} over {tests} of clusters and concepts).",
        Rate.MARKS,
        beyond=beyond,
        fewest=fewest,
        max_q=MAX_Q,
        tests=counted(tests, "test"),
    )


def none_listed(fewest: int, max_p: float) -> Statement:
    """Say that the published ranking holds no concept."""
    return say(
        "No concept that at least {fewest} patients have has a p value below {max_p:g}.", fewest=fewest, max_p=max_p
    )


def cloud_of_the_published_ranking() -> Statement:
    """Say what a cloud by the published ranking cannot say."""
    return say(
        "This cloud shows the published ranking, which fills such a cloud for a random division of the patients as well: it cannot"
        " say that a concept marks the cluster."
    )


def tested(beyond: str, tests: int) -> list[Statement]:
    """Explain cards of the concepts that pass the half test. `tests`: how many tests of a concept and a cluster there are."""
    return [
        say(
            "Half test: the cluster that one half of a patient’s visits gets is compared with the concepts of the other half,"
            " among patients alike in {beyond}. A concept stands on a card only if it passes, with a Benjamini-Hochberg (BH) value"
            " below {max_q:g} over all concepts and clusters ({tests}): in a division that means nothing, at most one cohort in"
            " twenty would show any concept. p is the tail of a distribution fitted to all permutations (see the methods). A"
            " concept is called less frequent only where also fewer patients have it.",
            Rate.MARKS,
            beyond=beyond,
            max_q=MAX_Q,
            tests=counted(tests, "test"),
        ),
        say(
            "Test and lift answer two questions: the test compares patients alike, the lift compares with everybody else, alike or"
            " not. So a concept can pass the test although the interval of its lift includes 1. Such a concept stands in the tables"
            " only: clusters are named by, and compared by, concepts that pass the test and whose lift is above 1 with its whole"
            " interval. Where the smallest p is that of a less frequent concept, the name begins with what is less frequent.",
            Rate.MARKS,
        ),
        say(
            "What marks a cluster is what its patients have more of than others alike. It need not be the reason why they are in"
            " the cluster, and a cluster that a concept marks need not be a kind of disease."
        ),
        say(
            "Ratio: the concept’s share of all recorded concepts here and elsewhere, in the whole records and without matching; 2"
            " means twice as often, 1 no difference."
        ),
    ]


def published() -> list[Statement]:
    """Explain cards by the published ranking, and what they cannot say."""
    return [
        say(
            "How often it is recorded: the ratio compares the concept’s share of all recorded concepts here and elsewhere; 2 means"
            " twice as often, 1 no difference. It decides whether a concept stands in the table of “more often” or of “less often”,"
            " as in the published study (Scienta Lab, January 2026)."
        ),
        say(
            "None of these p values is an error rate. Those of “how often it is recorded” count every visit with the concept as if"
            " it were independent, even visits of one patient, so they are far too small, and the Benjamini-Hochberg (BH) values"
            " computed from them are too small as well. Those on patients follow the amount of record: where records are long,"
            " more patients have any concept at least once. And the clusters were made from the same records, so even a random"
            " division of the patients would get a table like these. The p values put concepts in order; they prove nothing."
            " reports.ranking = “tested” shows the concepts that pass a test with error control."
        ),
        say(
            "The split-half test asks whether the cluster of one half of a record is recognised from the other half. It tests the"
            " cluster as a whole, not single concepts."
        ),
    ]


def methods(beyond: str, count: int, max_p: float, tests: tuple[int, int], *, is_tested: bool) -> list[Statement]:
    """Say how the concepts on the cards were chosen, by which test, and what the published ranking is.

    `tests`: how many tests the half test and the published ranking make.
    """
    half_test = say(
        "Marks of clusters (half test): visits are divided at random into halves. The cluster of one half is compared with the"
        " square roots of the shares of concepts in the other half, in both directions; patients are the units. They are compared"
        " within blocks of at most {most} patients alike ({beyond}); practices have blocks of their own, and both tests have to be"
        " passed."
        " p values are fitted tails, not shares of drawn permutations: mean, variance and skewness over all permutations within"
        " blocks are known exactly, and p is the tail of the Pearson type III (gamma) distribution that has them. BH over all"
        " clusters and all concepts that at least {fewest} patients have: {tests}.",
        fewest=FEWEST,
        tests=counted(tests[0], "test"),
        most=MOST,
        beyond=beyond,
    )
    ranking = say(
        "Published ranking: chi-square test of independence of each concept on the 2 × 2 table of its occurrences (this concept or"
        " others, this cluster or the rest), and on patients beside it, with Yates’ continuity correction; ranked by log p; the"
        " top {count} with p below {max_p:g}. Occurrences are visits, and repeated records of one patient count as independent:"
        " these values order the concepts and control no error, and a random division of the patients has as many. Their BH values"
        " are over {tests}. {where}",
        tests=counted(tests[1], "test"),
        count=count,
        max_p=max_p,
        where="It is in enrichment.csv alone." if is_tested else "The cards of this page show it.",
    )
    return [half_test, ranking]


def companions(own: Sequence[int], others: Sequence[int]) -> Statement:
    """Say how many planted companions mark their group's main cluster, and how many companions of other groups do.

    Both arguments are pairs: how many, and out of how many. If `others` is out of 0, all groups have the same main cluster.
    """
    if not others[1]:
        return say("All groups have the same main cluster, so its marks cannot tell whose companions they are.")
    return say(
        "{here} of {own} companions mark their own group’s main cluster, being more frequent there by the test of the cards; so do"
        " {there} of {others} companions of groups with another main cluster.",
        here=own[0],
        own=own[1],
        there=others[0],
        others=others[1],
    )
