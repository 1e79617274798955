"""The answers in short: who is in the clusters, how sure that is, what may be an artefact, and what was lost."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ehr_pipeline.reports.effects import Effect
from ehr_pipeline.reports.lists import Own
from ehr_pipeline.reports.statements.statement import (
    Rate,
    Statement,
    are,
    cluster_link,
    counted,
    listed,
    markup,
    say,
)

Cards = Sequence[Mapping[str, Any]]


def who(cards: Cards, verdict: str, sure: Sequence[int], *, profile: bool, fewest: int) -> list[Statement]:
    """Say who is in the clusters, and which can be relied on (`sure`: their numbers).

    `profile`: whether the vectors hold a concept profile. Clusters of fewer than `fewest` patients are not described.
    """
    if verdict == "none":
        return [
            say(
                "The cohort was divided into {clusters}, but there is no evidence that they mean anything.",
                Rate.SUBGROUPS,
                clusters=counted(len(cards), "cluster"),
            )
        ]
    if all(card["hidden"] for card in cards):
        return [say("No cluster has {fewest} patients, so none is described.", fewest=fewest)]
    why = (
        "their records contain the same concepts in similar shares"
        if profile
        else "the network takes their records to be alike"
    )
    told = [
        say(
            'The <a href="#glance">list of clusters</a> says what marks each one, and gives its patients, their ages and their most'
            " frequent disease. Patients were put together because {why}.",
            why=why,
        )
    ]
    described = [card for card in cards if card["number"] in sure and not card["hidden"]]
    if described:
        named = Markup("; ").join(
            markup(
                "{link} {title} ({size} patients, median age {age})",
                link=cluster_link(card["number"]),
                title=card["title"],
                size=card["size"],
                age=card["age"].split()[0],
            )
            for card in described
        )
        told.append(say("Those that can be relied on by themselves: {named}.", Rate.CLUSTER, named=named))
    return told


def subgroups(verdict: str) -> Statement:
    """Say how strong the evidence is that there are subgroups at all."""
    if verdict == "untested":
        return say("It could not be tested.")
    if verdict == "none":
        return say("There is no evidence of subgroups.", Rate.SUBGROUPS)
    return say("{word} evidence that there are subgroups at all.", Rate.SUBGROUPS, word=verdict.capitalize())


def stable(numbers: str, limits: str) -> Statement:
    """Say how many clusters other samples of the patients give again; `numbers` and `limits` from `sureness`."""
    return say(
        "Found again in other samples of the patients: {numbers} ({limits}).",
        Rate.CLUSTER,
        numbers=numbers,
        limits=limits,
    )


def relied_on(verdict: str, sure: Sequence[int], clusters: int) -> Statement | None:
    """Say which clusters can be relied on; None if there is no evidence of subgroups in the first place."""
    if verdict not in ("clear", "weak"):
        return None
    which = f"{len(sure)} (number {listed(sure)})" if len(sure) == 1 else f"{len(sure)} (numbers {listed(sure)})"
    return say(
        "Of the {clusters}, {which} {are} both stable and supported by clear evidence beyond disease, age, sex and amount of"
        " record; do not build on the others by themselves.",
        Rate.CLUSTER,
        clusters=counted(clusters, "cluster"),
        which=which if sure else "none",
        are="is" if not sure else are(len(sure)),
    )


def followed(verdict: str, strong: Sequence[Effect]) -> Statement:
    """Say what, other than disease, the clusters go with; `strong`: medium and large effects."""
    audit = Markup('<a href="#audit">bias audit</a>')
    if strong:
        names = listed(f"{effect.name} ({effect.words} effect)" for effect in strong)
        return say("The clusters are associated with {names}: see the {audit}.", Rate.AUDIT, names=names, audit=audit)
    if verdict == "untested":
        return say(
            "There are too few patients to tell: even a large effect may be chance (see the {audit}).", audit=audit
        )
    return say("Except for disease, the {audit} shows small effects at most.", Rate.AUDIT, audit=audit)


def divided(verdict: str, alike: Sequence[Any]) -> Statement | None:
    """Say how many sets of clusters may be one kind of patient each; None if there are none, or no evidence of subgroups."""
    if verdict == "none" or not alike:
        return None
    one = len(alike) == 1
    return say(
        '{sets} of clusters {have} nearly the same marks, and <a href="#alike">may be one kind of patient{each}</a>, divided by'
        " age or by how much is recorded.",
        Rate.ONE_GROUP,
        sets=counted(len(alike), "set"),
        have="has" if one else "have",
        each="" if one else " each",
    )


def mixed(verdict: str, cards: Cards) -> Statement | None:
    """Name the clusters of one disease that also carry marks of another cluster; None if there are none."""
    numbers = [card["number"] for card in cards if card["carried"]]
    if verdict == "none" or not numbers:
        return None
    text = "Clusters {numbers} each hold patients mostly of one disease who also carry the marks of another: see their cards."
    if len(numbers) == 1:
        text = (
            "Cluster {numbers} holds patients mostly of one disease who also carry the marks of another: see its card."
        )
    return say(text, Rate.MARKS, numbers=listed(numbers))


def by_construction(own: Own | None, *, ages: bool) -> Statement | None:
    """Say that clusters follow what their vectors are made of: codes of the cohort's own diseases, and (`ages`) age.

    None if they are made of neither.
    """
    if own and own.names:
        codes = markup(
            "{some} of the {pooled:,} concepts from which the patients’ vectors are made {are} of the cohort’s own diseases",
            some=len(own.names),
            pooled=own.pooled,
            are="is a code" if len(own.names) == 1 else "are codes",
        )
        if ages:
            return say(
                "That clusters follow disease and age is so by construction: {codes}, and the age at which concepts were"
                " recorded is one of the vectors’ directions.",
                codes=codes,
            )
        return say("That clusters follow disease is so by construction: {codes}.", codes=codes)
    if ages:
        return say(
            "That clusters follow age is so by construction: the age at which concepts were recorded is one of the vectors’"
            " directions."
        )
    return None


def without_concept(codes_lost: str) -> Statement | None:
    """Say that codes without a concept play no part; `codes_lost` says how many there are, and is empty if there are none."""
    return say("What was recorded in codes without a concept plays no part in the clusters.") if codes_lost else None


def never_recorded() -> Statement:
    """Say what no analysis of records can see."""
    return say('What is <a href="#methods">never recorded</a> cannot be seen.')


def see_flow() -> Statement:
    """Say where the losses are listed."""
    return say('See <a href="#flow">from raw rows to clusters</a>.')


def see_settings() -> Statement:
    """Say where the settings are listed."""
    return say(
        'The main ones are in a table under <a href="#settings">Settings</a>, with all others folded away below it.'
    )


def index_explained() -> Statement:
    """Explain the adjusted Rand index in one sentence."""
    return say("An index of 1 means the same division, 0 what chance gives.")


def suppressed(fewest: int) -> Statement:
    """Say which counts the page does not show."""
    if fewest <= 1:
        return say("All counts are shown on this page: nothing is suppressed.")
    return say("Counts of fewer than {fewest} patients are not shown on this page.", fewest=fewest)
