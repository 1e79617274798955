"""Sentences about the concepts that mark a cluster, by the mark test or by the published ranking."""

from collections.abc import Sequence

from ehr_pipeline.clusters.marker_concepts import FEWEST, MAX_Q
from ehr_pipeline.clusters.matching import MOST
from ehr_pipeline.reports.statements.statement import Rate, Statement, counted, say


def no_marks(beyond: str, fewest: int, tests: int) -> Statement:
    """Say that no concept passes the mark test. `beyond`: the attributes in which the compared patients are similar; `tests`: the
    number of tests."""
    return say(
        "Nothing marks this cluster beyond {beyond}: of the concepts that at least {fewest} patients have, none passes the mark"
        " test (Benjamini-Hochberg value below {max_q:g} over {tests} of clusters and concepts).",
        Rate.MARKS,
        beyond=beyond,
        fewest=fewest,
        max_q=MAX_Q,
        tests=counted(tests, "test"),
    )


def none_listed(fewest: int, max_p: float) -> Statement:
    """Say that the published ranking contains no concept."""
    return say(
        "Of the concepts that at least {fewest} patients have, none has a p value below {max_p:g}.",
        fewest=fewest,
        max_p=max_p,
    )


def cloud_of_the_published_ranking() -> Statement:
    """Say what a cloud by the published ranking cannot say."""
    return say(
        "This cloud shows the published ranking. For a random division of the patients, that ranking fills the cloud as well: it"
        " does not show that a concept marks the cluster."
    )


def tested(beyond: str, tests: int) -> list[Statement]:
    """Explain cards of the concepts that pass the mark test. `tests`: how many tests of a concept and a cluster there are."""
    return [
        say(
            "Mark test: the cluster of one half of a patient’s visits is compared with the concepts of the other half, among"
            " similar patients ({beyond}). A card shows a concept only if it passes, with a Benjamini-Hochberg (BH) value below"
            " {max_q:g} over all concepts and clusters ({tests}). If the division means nothing, at most one cohort in twenty"
            " would show any concept. p is the tail of a distribution fitted to all permutations (see the methods). A concept is"
            " called less frequent only if fewer patients have it as well.",
            Rate.MARKS,
            beyond=beyond,
            max_q=MAX_Q,
            tests=counted(tests, "test"),
        ),
        say(
            "Test and lift answer two questions: the test compares with similar patients, the lift with all other patients. So a"
            " concept can pass the test although the interval of its lift includes 1. Such a concept is listed only in the"
            " tables. Clusters are named by, and compared by, concepts that pass the test and whose whole lift interval is above"
            " 1. If the smallest p belongs to a less frequent concept, the name begins with the less frequent concepts.",
            Rate.MARKS,
        ),
        say(
            "The concepts that mark a cluster are those that its patients have more often than similar patients. They need not be"
            " the reason why the patients are in the cluster, and a cluster with marks need not be a kind of disease."
        ),
        say(
            "Ratio: the concept’s share of all recorded concepts here, divided by its share elsewhere, in whole records and"
            " without matching; 2 is twice as often, 1 is no difference."
        ),
    ]


def published() -> list[Statement]:
    """Explain cards by the published ranking, and what they cannot say."""
    return [
        say(
            "How often it is recorded: the ratio is the concept’s share of all recorded concepts here, divided by its share"
            " elsewhere; 2 is twice as often, 1 is no difference. The ratio determines whether the table of “more often” or of"
            " “less often” lists the concept, as in the published study (Scienta Lab, January 2026)."
        ),
        say(
            "None of these p values is an error rate. The p values for “how often it is recorded” treat every visit with the"
            " concept as independent, even visits of the same patient, so they are far too small; so are the Benjamini-Hochberg"
            " (BH) values computed from them. The p values for patients depend on the amount of record: if records are long, more"
            " patients have any concept at least once. And the clusters were made from the same records, so even a random"
            " division of the patients would give a table like these. The p values rank concepts; they prove nothing."
            " reports.ranking = “tested” shows the concepts that pass a test with error control."
        ),
        say(
            "The split-half test examines whether the cluster of one half of a record is recognised from the other half. It tests"
            " the cluster as a whole, not single concepts."
        ),
    ]


def methods(beyond: str, count: int, max_p: float, tests: tuple[int, int], *, is_tested: bool) -> list[Statement]:
    """Say how the concepts on the cards were chosen, by which test, and what the published ranking is.

    `tests`: how many tests the mark test and the published ranking make.
    """
    mark_test = say(
        "Marks of clusters (mark test): visits are divided at random into halves. The cluster of one half is compared with the"
        " square roots of the shares of concepts in the other half, in both directions; patients are the units. They are compared"
        " within blocks of at most {most} similar patients ({beyond}). If practices are known, a second test uses blocks within"
        " practices, and a mark must pass both tests. Shares add up to one, so less of one concept gives more of all others: a"
        " difference counts only beyond the median change of the cluster’s concepts."
        " p values are fitted tails, not shares of random permutations: the mean,"
        " variance and skewness over all permutations within blocks are known exactly, and p is the tail of the Pearson type III"
        " (gamma) distribution with these values. BH over all clusters and all concepts that at least {fewest} patients have:"
        " {tests}.",
        fewest=FEWEST,
        tests=counted(tests[0], "test"),
        most=MOST,
        beyond=beyond,
    )
    ranking = say(
        "Published ranking: chi-square test of independence, with Yates’ continuity correction, for each concept. One test uses"
        " the 2 × 2 table of its occurrences (this concept or others, this cluster or the rest); a second uses patients. Concepts"
        " are ranked by log p; the first {count} with p below {max_p:g} are shown. Occurrences are visits, and repeated records"
        " of one patient count as independent: these values rank the concepts and control no error, and a random division of the"
        " patients gives as many. Their BH values are over {tests}. {where}",
        tests=counted(tests[1], "test"),
        count=count,
        max_p=max_p,
        where="It is only in enrichment.csv." if is_tested else "The cards of this page show it.",
    )
    return [mark_test, ranking]


def companions(own: Sequence[int], others: Sequence[int]) -> Statement:
    """Say how many planted companions mark their group's main cluster, and how many companions of other groups do.

    Both arguments are pairs: how many, and out of how many. If `others` is out of 0, all groups have the same main cluster.
    """
    if not others[1]:
        return say(
            "All groups have the same main cluster, so its marks do not show which group a companion concept belongs to."
        )
    return say(
        "{here} of {own} companion concepts mark the main cluster of their group (more frequent there by the test on the cards)."
        " So do {there} of {others} companion concepts of groups with another main cluster.",
        here=own[0],
        own=own[1],
        there=others[0],
        others=others[1],
    )
