"""The short answers: who is in the clusters, how reliable they are, what may be an artefact, and which data were lost."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ehr_pipeline.reports.bias_audit import Effect
from ehr_pipeline.reports.cluster_reliability import Standing, usable, varies
from ehr_pipeline.reports.cohort_lists import DiseaseConcepts
from ehr_pipeline.reports.statements.statement import Rate, Statement, are, cluster_link, counted, listed, markup, say

Cards = Sequence[Mapping[str, Any]]
Groups = Sequence[Sequence[int]]
"""For each group, the numbers of its clusters."""


def who(cards: Cards, verdict: str, sure: Groups, *, made: str, fewest: int) -> list[Statement]:
    """Say who is in the clusters, and which groups of them can be relied on (`sure`: the cluster numbers of each such group).

    `made`: why patients are in one cluster (from `why_clustered`). Clusters of fewer than `fewest` patients are not described.
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
        return [say("No cluster has {fewest} patients, so no cluster is described.", fewest=fewest)]
    sentences = [
        say(
            'The <a href="#glance">table of all clusters</a> shows what marks each one, and gives {what}. Patients were put'
            " together because {why}.",
            what="its patients, their ages and their most frequent disease"
            if any(card.get("diseases") for card in cards)
            else "its patients and their ages",
            why=made,
        )
    ]
    described = [
        some for group in sure if (some := [card for card in cards if card["number"] in group and not card["hidden"]])
    ]
    if described:
        named = Markup("; ").join(map(_named, described))
        differ = verdict == "differ"
        which = (
            "Stable, and clearly recognised from half a record"
            if differ
            else "Those that can be relied on by themselves"
        )
        sentences.append(say("{which}: {named}.", Rate.CLUSTER, which=which, named=named))
    return sentences


def why_clustered(*, profile: bool, ages: bool) -> str:
    """Return, in words, why patients are in the same cluster. `profile` and `ages`: whether vectors contain a profile, and mean
    ages."""
    if not profile:
        return "the encoder finds their records similar"
    shares = "their records contain similar concepts in similar shares"
    return f"{shares}, recorded at similar ages" if ages else shares


def undivided() -> Statement:
    """Say that there is only one cluster."""
    return say("All patients are in one cluster: none is set apart from the others.")


def _named(parts: Cards) -> Markup:
    """Name a group by its first cluster, and list its clusters."""
    links = Markup(" and ").join(cluster_link(card["number"]) for card in parts)
    first = parts[0]
    text = "{links} {title} ({size} patients, median age {age})" if len(parts) == 1 else "{links} {title} ({n} parts)"
    return markup(
        text, links=links, title=first["title"], size=first["size"], age=first["age"].split()[0], n=len(parts)
    )


def subgroups(verdict: str, *, told: bool) -> Statement:
    """Say whether patients differ and their conditions go together. `told`: whether the test of conditions was conclusive."""
    if verdict == "untested":
        return say("This could not be tested.")
    if verdict == "none":
        return say("There is no evidence of subgroups.", Rate.SUBGROUPS)
    if verdict == "differ" and not told:
        return say("Patients differ persistently; the records do not tell whether there are subgroups.")
    if verdict == "differ":
        return say("Patients differ persistently, but there is no evidence of subgroups.", Rate.SUBGROUPS)
    return say(
        "{word} evidence of lasting differences between patients. Their conditions go together beyond chance, as with subgroups"
        " or with one gradient such as severity; the test cannot distinguish these two.",
        Rate.SUBGROUPS,
        word=verdict.capitalize(),
    )


def stable(numbers: str) -> Statement:
    """Say how many clusters are found again in other samples. `numbers` comes from `cluster_reliability`."""
    return say("Found again in other samples of the patients: {numbers}.", Rate.CLUSTER, numbers=numbers)


def relied_on(verdict: str, sure: Groups, clusters: int, groups: int) -> Statement | None:
    """Say which groups of clusters can be relied on (`sure`, out of so many `groups`); None without evidence of subgroups."""
    if verdict not in ("clear", "weak", "differ"):
        return None
    names = listed(" + ".join(map(str, group)) for group in sure)
    which = f"{len(sure)} ({'number' if len(sure) == 1 else 'numbers'} {names})"
    total = counted(clusters, "cluster")
    of = (
        total
        if groups == clusters
        else f"{counted(groups, 'group')} that {total} {'makes' if clusters == 1 else 'make'}"
    )
    if verdict == "differ":
        return (
            _shared(which, of, len(sure))
            if sure
            else say(
                "None of the {of} is both stable and clearly recognised from half a"
                " record, beyond disease, age, sex and amount of record.",
                Rate.CLUSTER,
                of=of,
            )
        )
    return say(
        "Of the {of}, {which} {are} both stable and supported by clear evidence beyond disease, age, sex and amount of record; do"
        " not rely on any of the others alone.",
        Rate.CLUSTER,
        of=of,
        which=which if sure else "none",
        are="is" if not sure else are(len(sure)),
    )


def _shared(which: str, of: str, number: int) -> Statement:
    """Say in which clusters patients share lasting features, if these do not amount to subgroups."""
    return say(
        "Of the {of}, {which} {are} stable and clearly recognised from half a record, beyond disease, age, sex and amount of"
        " record: what is, or is not, in these records persists, as chronic conditions do. That alone does not show a subgroup of"
        " a disease.",
        Rate.CLUSTER,
        of=of,
        which=which,
        are=are(number),
    )


def wavering(verdict: str, cards: Cards) -> Statement | None:
    """Name the clusters that count as reliable although the interval of a figure reaches below its limit; None if there are
    none."""
    if verdict not in ("clear", "weak", "differ"):
        return None
    good = [card for card in cards if usable(card)]
    excess = [card["number"] for card in good if card["at_least"] not in ("", "clear")]
    halves = [card["number"] for card in good if varies(card["stability"])]
    parts = [
        markup(words, links=listed(map(cluster_link, numbers)))
        for words, numbers in (
            ("given the interval of the excess, {links} may be less than clearly recognised", excess),
            ("in some halves of the patients, {links} were less than stable", halves),
        )
        if numbers
    ]
    if not parts:
        return None
    return say("These words depend on estimates: {parts}.", Rate.CLUSTER, parts=listed(parts, "; "))


def headline(standing: Standing, verdict: str) -> str:
    """Return the words below the number of clusters."""
    kind = standing.kind
    if standing.total == 1:
        kind = kind.replace("groups", "group", 1) if kind.startswith("groups") else kind.removesuffix("s")
    if verdict == "differ" and standing.total > 1:
        return f"{kind}, none of which is shown to be a subgroup of a disease"
    if verdict in ("clear", "weak"):
        return f"{kind}, of which {standing.usable} can be relied on by themselves"
    return kind


def followed(verdict: str, strong: Sequence[Effect]) -> Statement:
    """Say which attributes, other than disease, the clusters follow. `strong`: medium and large effects."""
    audit = Markup('<a href="#audit">bias audit</a>')
    if strong:
        names = listed(f"{effect.name} ({effect.words} effect)" for effect in strong)
        return say("The clusters are associated with {names}: see the {audit}.", Rate.AUDIT, names=names, audit=audit)
    if verdict == "untested":
        return say(
            "There are too few patients to know: even a large effect may be chance (see the {audit}).", audit=audit
        )
    return say("Except for disease, the {audit} shows small effects at most.", Rate.AUDIT, audit=audit)


def divided(verdict: str, groups: Groups) -> Statement | None:
    """Say how many groups consist of several clusters; None if none does, or without evidence of subgroups."""
    several = sum(len(group) > 1 for group in groups)
    if verdict == "none" or not several:
        return None
    return say(
        '{groups} {are} divided into several clusters, by age or by amount of record: see the <a href="#glance">list</a>.',
        Rate.ONE_GROUP,
        groups=counted(several, "group"),
        are=are(several),
    )


def mixed(verdict: str, cards: Cards) -> Statement | None:
    """Name the clusters of one disease whose patients also have another cluster's marks; None if there are none."""
    numbers = [card["number"] for card in cards if card["carried"]]
    if verdict == "none" or not numbers:
        return None
    text = (
        "Each of the clusters {numbers} contains mostly patients of one disease who also have the marks of another cluster: see"
        " their cards."
    )
    if len(numbers) == 1:
        text = "Cluster {numbers} contains mostly patients of one disease who also have the marks of another cluster: see its card."
    return say(text, Rate.MARKS, numbers=listed(numbers))


def by_construction(concepts: DiseaseConcepts | None, *, ages: bool) -> Statement | None:
    """Say that clusters follow disease or age by construction, because the patients' vectors contain codes of the cohort's diseases
    or (`ages`) the age at recording. None if they contain neither."""
    if concepts and concepts.names:
        codes = markup(
            "{some} of the {pooled:,} concepts from which the patients’ vectors are made {are} of the cohort’s diseases",
            some=len(concepts.names),
            pooled=concepts.pooled,
            are="is a code" if len(concepts.names) == 1 else "are codes",
        )
        if ages:
            return say(
                "Clusters follow disease and age by construction: {codes}, and the age at which concepts were recorded is one of"
                " the vectors’ directions.",
                codes=codes,
            )
        return say("Clusters follow disease by construction: {codes}.", codes=codes)
    if ages:
        return say(
            "Clusters follow age by construction: the age at which concepts were recorded is one of the vectors’ directions."
        )
    return None


def without_concept(codes_lost: str) -> Statement | None:
    """Say that codes without a concept are not used. `codes_lost` is their number as text; empty if there are none."""
    return say("Records in codes without a concept are not part of the clusters.") if codes_lost else None


def never_recorded() -> Statement:
    """Say what no analysis of records can see."""
    return say('What is <a href="#methods">never recorded</a> cannot be seen.')


def came_in(extracts: Sequence[str], files: int, unread: int, usable: str) -> Statement:
    """Say which extracts were read, whether files were left unread in their folders, and which share of event rows was usable."""
    which = (
        f"extract {extracts[0]}" if len(extracts) == 1 else f"{len(extracts)} extracts, {extracts[0]} to {extracts[-1]}"
    )
    folders = "its folder" if len(extracts) == 1 else "their folders"
    rest = f"every file in {folders}"
    if unread:
        verb = are(unread)
        rest = f"{counted(unread, 'other file')} in {folders} {verb} in no setting, and {verb} not read"
    return say(
        "Read: {which} ({files}; {rest}). {usable} of the rows of events have a usable patient, date and code; the flow below"
        " shows how many of the codes have a concept.",
        which=which,
        files=counted(files, "file"),
        rest=rest,
        usable=usable,
    )


def years(span: str) -> Statement:
    """Say which calendar years the records cover; `span` is empty if that may not be shown."""
    if not span:
        return say("In no calendar year did enough patients have a visit to be shown here.")
    return say(
        "Records of the years {span} (first and last calendar year in which enough patients had a visit).", span=span
    )


def shifted_dates() -> Statement:
    """Say that the calendar is left out."""
    return say(
        "Each patient’s dates are shifted by a random number of days, so calendar years mean nothing: they are left out of this"
        " page and of its tests."
    )


def checks_passed() -> Statement:
    """Say what the checks of the stages mean for this page."""
    return say(
        "Every check that can stop a run was passed. Checks that only warn are shown in the log of the run and in Dagster, not on"
        " this page."
    )


def see_flow() -> Statement:
    """Say where the losses are listed."""
    return say('See <a href="#flow">from raw rows to clusters</a>.')


def reproduction(version: str, seed: int) -> Statement:
    """Say which version and seed made the page, where the rest is listed, and what gives the same results again."""
    return say(
        'Made by ehr_pipeline {version} with seed {seed}. <a href="#settings">Settings and versions</a> lists the settings, the'
        " versions of the libraries, and the data version of each stage. The same extracts in the same order, with the same"
        " settings (including the secret key of the split) and versions, give the same results on the same kind of CPU with the"
        " same number of threads; elsewhere, rounding differs.",
        version=version,
        seed=seed,
    )


def index_explained() -> Statement:
    """Explain the adjusted Rand index in one sentence."""
    return say("An index of 1 means the same division, 0 what is expected by chance.")


def suppressed(fewest: int) -> Statement:
    """Say which counts the page does not show."""
    if fewest <= 1:
        return say("All counts are shown on this page: nothing is suppressed, so do not share it.")
    return say(
        "This page contains no patient’s rows and no patient ids. Counts of fewer than {fewest} patients are not shown, except 0."
        " It may be released after output checking, preferably by <code>ehr-pipeline release</code>.",
        fewest=fewest,
    )


def under_terms(terms: Mapping[str, str]) -> Statement:
    """Say under which terms the data are used: licence, protocol, last day."""
    if not terms:
        return say(
            "The settings (<code>[governance]</code>) contain no licence, protocol or last day of use: ask the owner of the data."
        )
    return say("Terms: {terms}.", terms="; ".join(f"{name} {value}" for name, value in terms.items()))
