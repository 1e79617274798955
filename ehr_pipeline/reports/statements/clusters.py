"""Sentences about each cluster, about groups of clusters, and about how to read their cards."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ehr_pipeline.clusters.evidence import NONE_BELOW, WEAK_BELOW
from ehr_pipeline.reports.cards import ConceptRow
from ehr_pipeline.reports.cluster_reliability import jaccard, usable
from ehr_pipeline.reports.statements import marker_concepts
from ehr_pipeline.reports.statements.statement import Rate, Statement, cluster_link, counted, listed, markup, say

Card = Mapping[str, Any]
CLOUD_WORDS = 6
"""Number of names in the alternative text of a word cloud."""
DOUBTED = ("unstable", "doubtful")
"""Words for stability that are printed as a warning."""


def undivided() -> Statement:
    """Say why there are no cards."""
    return say("All patients are in one cluster, and there is no other to compare it with, so there are no cards.")


def is_folded(card: Card, verdict: str) -> bool:
    """Return whether a card is folded away, because its cluster alone cannot be relied on."""
    return verdict not in ("none", "untested") and not usable(card)


def folded(card: Card) -> Statement:
    """Return the line that is shown in place of a folded card."""
    return say(
        "{number} {title} ({size} patients): evidence {evidence}, {stability}",
        Rate.CLUSTER,
        number=card["number"],
        title=card["title"],
        size=card["size"],
        evidence=_with(evidence(card), card["excess"]),
        stability=_with(card["stability"]["words"], jaccard(card["stability"])),
    )


def title(card: Card, verdict: str) -> Statement:
    """Return the name of a cluster; empty without evidence of subgroups."""
    if verdict == "none":
        return say("division {number} (not a finding)", number=card["number"])
    return say("{title}", Rate.MARKS, title=card["title"])


def facts(card: Card, verdict: str) -> Iterator[tuple[str, Statement]]:
    """Yield the facts on a card, each with its heading."""
    yield "Who", who(card)
    yield "Age", age(card)
    if card["diseases"]:
        yield "Disease", shares(card["diseases"])
    if card["carried"] and verdict != "none":
        yield "Perhaps", carried(card)
    yield "Records", say("{concepts} concepts recorded per patient, repeats included", concepts=card["concepts"])
    yield "How sure", how_sure(card, verdict)


def who(card: Card) -> Statement:
    """Say how many patients a cluster has, and their sex."""
    return say("{size} patients ({share}) · {sex}", size=card["size"], share=card["share"], sex=card["sex"])


def age(card: Card) -> Statement:
    """Say how old a cluster's patients were: the median, the ages of the middle half if they may be shown, and the bands of age."""
    median, _, quartiles = card["age"].removesuffix(")").partition(" (")
    half = f" (the middle half: {quartiles.replace('–', ' to ')})" if quartiles else ""
    bands = (
        markup("{share} aged {name}", share=unbroken(share), name=name.replace("–", " to "))
        for name, share in card["ages"]
    )
    return say("{all}", all=Markup(" · ").join([f"median {median} at the last visit{half}", *bands]))


def unbroken(share: str) -> Markup:
    """Return a share in which a browser does not break the line behind the dash of a range."""
    return markup('<span class="whole">{share}</span>', share=share)


def shares(named: Sequence[tuple[str, str]]) -> Statement:
    """Return names with their shares."""
    parts = (markup("{name} {share}", name=name, share=unbroken(share)) for name, share in named)
    return say("{parts}", parts=Markup(" · ").join(parts))


def carried(card: Card) -> Statement:
    """Say that patients of one disease also carry the marks of another cluster."""
    other = card["carried"]
    return say(
        "{disease} patients who also have distinguishing concepts of {link}: {marks}",
        Rate.MARKS,
        disease=other.disease,
        link=cluster_link(other.other, "cluster {number}"),
        marks=", ".join(other.marks),
    )


def how_sure(card: Card, verdict: str) -> Statement:
    """Say whether half of a record identifies the cluster better than by chance, and whether other samples find it again."""
    if verdict == "untested":
        half = markup("Not tested: too few patients.")
    else:
        half = markup(
            "From half of the record, the cluster is recognised for {recognised} of its patients{tested}; by chance, it would be"
            " {by_chance}{beyond}{excess}.",
            recognised=card["recognised"],
            tested=f" ({card['tested']} were tested)" if card["tested"] else "",
            by_chance=card["by_chance"],
            beyond=_beyond(card["evidence"]),
            excess=_excess(card),
        )
    text = '<b class="over">{sureness}</b>' if card["stability"]["words"] in DOUBTED else "{sureness}"
    return say(f"{{half}} {text}", Rate.CLUSTER, half=half, sureness=card["sureness"])


def _excess(card: Card) -> str:
    """Return the excess with its interval as a part of a sentence. Where the ends of the interval fall under another word, these
    words are added."""
    if not card["excess"]:
        return ""
    words = {"lower": card["at_least"], "upper": card["at_most"]} if card["evidence"] != "too few" else {}
    ends = [f", at its {end} end “{word}”" for end, word in words.items() if word not in ("", card["evidence"])]
    return f"; excess {card['excess']}{''.join(ends)}"


def _with(word: str, figure: str) -> str:
    """Return a word with its figure, if there is one, such as 'stable 0.83 (0.71–0.92)'."""
    return f"{word} {figure}" if figure else word


def _beyond(evidence: str) -> Markup:
    words = {
        "": "",
        "clear": ": clearly more than disease, age, sex and amount of record explain",
        "weak": ": a little more than disease, age, sex and amount of record explain",
        "none": ': <b class="over">hardly more than disease, age, sex and amount of record explain, if at all</b>',
        "too few": ': <b class="over">too few patients to show whether this is more than chance</b>',
    }
    return Markup(words[evidence])  # noqa: S704  # our own words


SIDES = {
    True: {"over": "More frequent than among similar patients", "under": "Less frequent than among similar patients"},
    False: {"over": "Recorded more often than elsewhere", "under": "Recorded less often than elsewhere"},
}
"""Headings of the tables of a card, by whether concepts passed the mark test, which compares similar patients, not all others."""


def sides(card: Card, *, is_tested: bool) -> Iterator[tuple[str, str, Sequence[ConceptRow]]]:
    """Yield the tables of concepts on a card, each as colour, heading and rows."""
    for kind, heading in SIDES[is_tested].items():
        if card[kind]:
            yield kind, heading, card[kind]


def tables(card: Card) -> str:
    """Return the label of the fold that hides a card's tables."""
    return f"{counted(len(card['over']) + len(card['under']), 'concept')} with all figures"


def cloud_alt(card: Card) -> str:
    """Describe the word cloud of a card by its first words."""
    first = ", ".join(row.name for row in (*card["over"], *card["under"])[:CLOUD_WORDS])
    return f"Word cloud of cluster {card['number']}: {first}; the tables below list all of its concepts"


def closest(card: Card, verdict: str) -> Statement | None:
    """Name the nearest cluster, and the concepts that mark only one of the two; None if there is no other."""
    near = card["nearest"]
    if not near:
        return None
    link = cluster_link(card["nearest_number"], "cluster {number}")
    first = markup("Closest cluster: {link} (cosine of the mean vectors {cosine:.2f}).", link=link, cosine=near.cosine)
    apart = [
        markup("{where} – {names}", where=where, names=", ".join(names))
        for where, names in (("here", near.here), ("there", near.there))
        if names
    ]
    if verdict == "none" or not apart:
        return say("{first}", first=first)
    return say("{first} Largest differences: {apart}.", Rate.MARKS, first=first, apart=Markup("; ").join(apart))


def small(numbers: Sequence[int], fewest: int) -> Statement:
    """Say why clusters with too few patients are not described. The sentence begins with their numbers."""
    return say(
        "fewer than {fewest} patients{each}: too few to describe without risk to them. They are left out of all comparisons"
        " above.",
        fewest=fewest,
        each=" each" if len(numbers) > 1 else "",
    )


def evidence(card: Card) -> str:
    """Return how strong the evidence of a cluster is, in a word."""
    return card["evidence"] or "untested"


def stability(card: Card) -> str:
    """Return how stable a cluster is, in a word."""
    return str(card["stability"]["words"]) if card["sureness"] else "untested"


def sure(card: Card) -> list[tuple[str, str]]:
    """Return how well a cluster is recognised and how stable it is: for each, the word, and its figure with an interval."""
    return [(evidence(card), card["excess"]), (stability(card), jaccard(card["stability"]))]


def how_sure_columns(halves: int) -> list[Statement]:
    """Explain the last two columns of the list on the first screen. `halves`: random halves of the patients."""
    return [
        say(
            "Recognised: whether half of a record shows that a patient belongs to the cluster, beyond what disease, sex, age and"
            " amount of record show (clear, weak, none; too few patients to tell); with the excess over chance (0 is chance, 1 is"
            " certain) and its 95 % interval over the patients tested."
        ),
        say(
            "Stable: whether other samples of the patients give the same cluster (stable, doubtful, unstable); with the mean"
            " Jaccard coefficient over {halves} random halves of the patients, and the range of 95 % of these halves.",
            halves=halves,
        ),
    ]


def glance(fewest: int, pairs: int, halves: int, limits: str) -> list[Statement]:
    """Explain the columns of the list of clusters. `pairs`: how many pairs of clusters were compared; `halves`: random halves of
    the patients; `limits`: the limits of the words for stability (`cluster_reliability.limits`)."""
    return [
        say(
            "What marks it: a share in brackets is given if fewer than half of the patients in the cluster have the concept; the"
            " concepts listed need not occur in the same patients. Age at the last visit: median (quartiles).{ranges}",
            ranges=" A range of percentages, such as 33–35 %, contains the share and hides small counts; it is not a confidence"
            " interval."
            if fewest > 1
            else "",
        ),
        say(
            "Recognised: the share of the patients whose cluster is recognised from half of the record. In brackets (by chance):"
            " the share for whom this cluster would be recognised from the record of another patient with the same disease and"
            " sex, and of similar age and amount of record."
        ),
        say(
            "Depends most on: the concept (or the mean age) that matters most for the vectors of the cluster. Without it, the"
            " patients lose the largest part of their lead over the nearest other cluster; the percentage is this part. It"
            " brought the patients together. What marks a cluster can be something else: a concept that its patients have more"
            " often than similar patients."
        ),
        say(
            "Evidence: the excess, that is, how far the first share is above the second, as a part of the distance from chance to"
            " 100 %: clear if at least {clear}, none if below {none}. In brackets: its 95 % interval over the patients tested."
            " These are patients with both halves of a record and at least one similar patient; their number is given below that"
            " of all patients. The word depends on the excess, because its error rate was measured in this way; if the interval"
            " crosses a limit, the word on the other side is possible too. But an interval that includes 0 is no evidence. “Too"
            " few”: the interval includes 0 although the excess is not below {none}; or fewer than {fewest} patients are"
            " recognised, or not recognised, so only a bound may be shown, and the bound leaves the answer open. “None” has limits"
            " too: the cluster says little or nothing about a patient beyond these four attributes, for example because it is"
            " simply one disease or one age.",
            clear=f"{WEAK_BELOW:.2f}",
            none=f"{NONE_BELOW:.2f}",
            fewest=fewest,
        ),
        say(
            "Clusters that are parts of one group are listed together, and count once where this page says how many can be relied"
            " on. Two clusters are parts of one group if they have the same main disease, share at least half of their marks, and"
            " no concept passes the mark test between the two. {pairs}",
            Rate.ONE_GROUP,
            pairs=f"Compared here: {counted(pairs, 'pair')}; in at most one cohort in twenty, any of them is separated by mistake."
            if pairs
            else "No pair met the first two conditions here.",
        ),
        say(
            "Stability: whether other samples of the patients give the same cluster. It is the mean Jaccard coefficient between"
            " the cluster and the most similar cluster of each of {halves} random halves of the patients. In brackets: the range"
            " of 95 % of these halves. The range shows how much the halves differ; it is not a confidence interval, because"
            " halves share patients. The word depends on the mean: {limits}. Means are cut off after two decimals, and ranges are"
            " widened. Stability and evidence are different things: an age band can be found in every sample and still say no"
            " more about a patient than age does.",
            halves=halves,
            limits=limits,
        ),
    ]


def parts(cards: Sequence[Card], beyond: str) -> Statement:
    """Say that several clusters are parts of one group. `cards`: the cards of its described parts, the largest first."""
    links = (
        markup("{link} (median age {age})", link=cluster_link(card["number"]), age=card["age"].split()[0])
        for card in cards
    )
    return say(
        "One group in {n} parts, {links}: no concept distinguishes one from another beyond {beyond}.",
        Rate.ONE_GROUP,
        n=len(cards),
        links=listed(links),
        beyond=beyond,
    )


def how_to_read(fewest: int, beyond: str, tests: int) -> list[Statement]:
    """Explain the cards. `beyond`: the attributes in which patients compared by the mark test are similar; empty for the published
    ranking.

    `tests`: how many tests the mark test makes.
    """
    sentences = [
        say(
            '<span class="over">Red</span> concepts are {more}, <span class="under">blue</span> ones less {how}{cloud}. Ages and'
            " amounts of record: median (quartiles).",
            more="more frequent here than among similar patients"
            if beyond
            else "recorded more often here than elsewhere",
            how="frequent" if beyond else "often",
            cloud="" if beyond else "; in the word cloud, a larger name has a smaller p value",
        ),
        say("Disease: a patient with several diseases is counted once, under the one recorded on most days."),
        *(marker_concepts.tested(beyond, tests) if beyond else marker_concepts.published()),
        say(
            "Patients who have it at least once: their number and share here, their share elsewhere, and the lift. The lift is"
            " the share here divided by the share elsewhere: 2 means twice as many patients. Long records contain most common"
            " concepts at least once, so the two parts of the table may differ: a concept that more patients have here can still"
            " be a smaller part of their records.{alike}",
            alike=" “Elsewhere” means all other patients, similar or not." if beyond else "",
        ),
    ]
    return sentences + suppressed(fewest) if fewest > 1 else sentences


def suppressed(fewest: int) -> list[Statement]:
    """Explain the signs that replace small counts."""
    return [
        say(
            "“&lt;{fewest}” means at least one and fewer than {fewest} patients; a 0 is shown, because it concerns no patient. A"
            " share of few patients, or of none, may be a bound.",
            fewest=fewest,
        ),
        say(
            "† marks a p value that is given only as a bound, because a small count could be computed from it. The value may be"
            " far smaller, so do not compare it with the values next to it."
        ),
        say(
            "Concepts that fewer than {fewest} patients in the cluster have are left out. “&gt;”: fewer than {fewest} do not have"
            " the concept; “about”: rounded; a range such as 29–48 % contains the share; “–”: left out, because a small count"
            " could be computed from it.",
            fewest=fewest,
        ),
    ]
