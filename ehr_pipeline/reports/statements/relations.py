"""Sentences about diseases that occur together."""

from ehr_pipeline.relations.table import FEWEST
from ehr_pipeline.reports.statements.statement import Statement, are, counted, say

NAMES = {
    "consensus": "Consensus",
    "jaccard_by_visit": "Same visit: Jaccard index",
    "phi_by_visit": "Same visit: phi",
    "log_odds_by_visit": "Same visit: log odds ratio",
    "jaccard_by_patient": "Same patient: Jaccard index",
    "phi_by_patient": "Same patient: phi",
    "log_odds_by_patient": "Same patient: log odds ratio",
    "odds_ratio_of_patients_alike": "Similar patients: odds ratio",
    "relative_risk_after": "Relative risk after the first",
    "model_pair": "Encoder: probability given the other",
    "model_lift": "Encoder: lift over the mean",
    "model_cosine": "Encoder: cosine of vectors",
    "names": "Names: pieces of letters",
    "names_by_sentence_encoder": "Names: sentence encoder",
    "ontology": "Ontology: similarity of Lin",
    "random": "Random graph",
}
ENOUGH_CONCEPTS = 100
"""Concepts of a vocabulary from which the median odds ratio of unrelated pairs is about 0.9 (benchmarks/relations_null.py)."""

FIND = {"search": "Only the pairs of", "example": "a disease, or click on one", "found": "Pairs shown:"}
"""The words of the choice among the pairs of the network."""


def rule(max_q: float, fewest: int, concepts: int, *, within: bool) -> Statement:
    """State the rule by which two of the compared concepts are listed as occurring together. `within`: whether the habits of
    practices are taken into account."""
    return say(
        "A pair is listed if at least {fewest} patients have both concepts, and if similar patients (age, sex, amount of record)"
        " have both more often than expected by chance{habits}, at a false discovery rate of {q:g} over all {pairs} of {concepts}"
        " (binomial test over strata), with the whole interval of the odds ratio above 1. Listed pairs are ranked by three kinds"
        " of evidence together: the same visit, similar patients, and the encoder.",
        q=max_q,
        pairs=counted(concepts * (concepts - 1) // 2, "pair"),
        concepts=counted(concepts, "concept"),
        fewest=fewest,
        habits=" and by the recording habits of their practices" if within else "",
    )


def number(pairs: int, concepts: int, ordered: int) -> Statement:
    """Say how many pairs are shown."""
    if concepts < FEWEST:
        return say(
            "No pair can be compared: the vocabulary contains {number} of the concepts to compare, and a pair needs two.",
            number="one" if concepts else "none",
        )
    if not pairs:
        return say("No pair of the {concepts} compared can be shown.", concepts=counted(concepts, "concept"))
    return say(
        "{pairs} of {concepts} can be shown. The records show which concept comes first in {ordered}.",
        pairs=counted(pairs, "pair"),
        concepts=counted(concepts, "concept"),
        ordered=f"{ordered:,} of them" if ordered else "none of them",
    )


def in_order(pairs: int) -> Statement:
    """Say that there are pairs of which one concept follows the other, but that are not shown to go together."""
    return say(
        "In {pairs}, one concept follows the other although the two are not shown to go together.",
        pairs=counted(pairs, "other pair"),
    )


def few_concepts(concepts: int) -> Statement | None:
    """Say that pairs are easily missed if the vocabulary has few concepts; None if it has enough."""
    if concepts >= ENOUGH_CONCEPTS:
        return None
    return say(
        "Related pairs are easily missed, because the vocabulary has only {concepts}: among patients with equally many of few"
        " concepts, any two seem to avoid each other, so odds ratios are too low.",
        concepts=counted(concepts, "concept"),
    )


def population(patients: str) -> Statement:
    """Say in which patients pairs were counted."""
    return say("All patients of the data set ({patients}) are counted, in clusters or not.", patients=patients)


def same_disease(name: str) -> str:
    """Return the name of a partner that is on the list of the same disease."""
    return f"{name} (same disease: on its list of codes)"


def order(days: int, max_q: float, concepts: int) -> Statement:
    """Say what the order and the relative risk mean. `max_q`: the false discovery rate over pairs of the compared concepts."""
    return say(
        "Later, earlier: one of the two is first recorded after the other in more patients than in the reverse order, and in more"
        " than expected (each at a false discovery rate of {q:g} over all {pairs}). The relative risk compares two shares of"
        " patients who have the later concept for the first time within {days:,} days: after the first record of the earlier"
        " concept, and after a visit of patients without the earlier concept who are similar in age, sex, visits of the year"
        " before and time since their records began. Records of the first year are left out, because they may repeat older"
        " history.",
        days=days,
        q=max_q,
        pairs=counted(concepts * (concepts - 1) // 2, "pair"),
    )


def only_in_order(max_q: float, more: int) -> Statement:
    """Say what pairs are that are only in order. `more`: how many further ones are left out."""
    return say(
        "These pairs are not shown to go together: similar patients do not have both more often than expected by chance, or not"
        " clearly. But one of the two is recorded later, and its relative risk passes the test, too (at a false discovery rate of"
        " {q:g} over both orders of all pairs). That happens where most patients have either concept at some time, as in data on"
        " patients of one disease, or where patients have one drug or another. {more}",
        q=max_q,
        more=f"{counted(more, 'further pair')} {are(more)} left out; the command ehr-pipeline relations lists all."
        if more
        else "",
    )


def doubts(ordered: bool, *, within: bool) -> Statement:
    """Say which conclusions do not follow, and what a dash stands for. `ordered`: whether the list shows an order; `within`:
    whether the habits of practices are taken into account."""
    return say(
        "None of this shows that one causes the other: a common cause, or care for one in which the other is noticed, gives the"
        " same figures. {habits} “–” appears where {untold}a figure would reveal fewer patients than the threshold.",
        habits="A few pairs may only show which patients attend often, or which codes were in use at a time."
        if within
        else "Some pairs may only show which patients attend often, or which codes a practice or a time uses: the practices are not"
        " known.",
        untold="the records do not show which comes first, or where " if ordered else "",
    )


def hidden_partners(concepts: int, more: int) -> Statement | None:
    """Say how many concepts of interest the table leaves out: `concepts` have no row, and `more` are left out because the table
    would be too long."""
    if not concepts and not more:
        return None
    sentences = []
    if concepts:
        sentences.append(
            f"{counted(concepts, 'concept')} on the lists of the cohort’s diseases (of those that may be shown)"
            f" {'is' if concepts == 1 else 'are'} not in the table: not compared (too rare, or counted as one with another"
            " concept), or without a partner that can be shown. A disease can have several concepts on its list."
        )
    if more:
        sentences.append(
            f"{counted(more, 'further concept')} with partners {are(more)} left out to keep the table short."
        )
    return say("{sentences}", sentences=" ".join(sentences))


def further_partners(number: int) -> Statement | None:
    """Say how many further partners of a concept the table leaves out; None if there are none."""
    if not number:
        return None
    return say("and {further} with less evidence", further=counted(number, "further concept"))


def legend(drawn: int, pairs: int, *, ordered: bool) -> Statement:
    """Say what the network shows of all `pairs` that can be shown. `ordered`: whether it has arrows."""
    few = (
        "The {drawn:,} of {pairs:,} pairs with the most evidence; the command <code>ehr-pipeline relations</code> lists all."
        if drawn < pairs
        else "All pairs that can be shown."
    )
    return say(
        f"{few} {{arrows}}Colours are communities. Point at a line or a name for more.",
        drawn=drawn,
        pairs=pairs,
        arrows="An arrow points to the concept that is recorded later. " if ordered else "",
    )


def graphs(edges: int, new: bool, known: int) -> Statement:
    """Say how the ways to find pairs are compared. `new`: whether they are compared with an ontology; `known`: how many pairs are
    known from elsewhere."""
    return say(
        "Each way to find pairs is a graph of its {edges} heaviest edges, because graphs of different density cannot be compared;"
        " the consensus may have fewer. A random graph is shown for comparison: a meaningless graph has the most varied partners."
        " Hubs: the Gini coefficient of the numbers of partners. Outside: the share of partners of another semantic type. In the"
        " consensus: the share of edges in common with the consensus, out of the edges in either graph.{new}{known}",
        edges=f"{edges:,}",
        new=" New: of the edges whose concepts are in the ontology, the share with concepts more than two steps apart."
        if new
        else "",
        known=f" Known: the average precision with which a graph ranks the {known:,} pairs that the study knows from other sources."
        if known
        else "",
    )
