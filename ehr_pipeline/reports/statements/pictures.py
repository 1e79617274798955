"""Texts for the page's drawings: captions, alternative texts that give the content, and hints under the pointer."""

from collections.abc import Sequence

from ehr_pipeline.reports.cards import ConceptRow
from ehr_pipeline.reports.statements.statement import Statement, counted, listed, say

FIRST = 12
"""Clusters of the list that the first screen shows (a browser test counts them)."""
NAMED_IN_ALT = 4
"""Number of names that an alternative text lists before it refers to the table."""

FIND = {
    "search": "Search",
    "example": "a concept or a disease",
    "only": "only clusters that can be relied on",
    "found": "Clusters shown:",
}
"""The words of the search."""


def map_alt(groups: Sequence[tuple[str, str]], colours: int) -> str:
    """Describe the map: the clusters on it with their shares, and how many colourings there are."""
    named = "; ".join(f"cluster {name}, {share}" for name, share in groups)
    return f"Map of patients by cluster: {named}. {counted(colours, 'colouring')} to choose from."


def map_hint(title: str, name: str, share: str) -> str:
    """Describe a mark of the map: its group and the group's rounded share."""
    return f"{title}: {name}, {share} of the patients"


def map_caption(fewest: int) -> Statement:
    """Say what a mark of the map is."""
    if fewest == 1:
        return say("Map of patients: patients close together have similar records. Each dot is a patient.")
    return say(
        "Map of patients: patients close together have similar records. Each dot stands for at least {fewest} patients of one"
        " colour; in a ring, they are far apart.",
        fewest=fewest,
    )


def choose(clusters: int) -> str:
    """Say how to choose a cluster, and whether the list continues below the first screen."""
    more = f" The list contains {clusters}: scroll to see all." if clusters > FIRST else ""
    return f"Choose a cluster in the list or on the map.{more}"


def lift_hint(row: ConceptRow) -> str:
    """Describe a dot, with the same figures as the table."""
    shares = f"{row.name}: {row.share} here, {row.elsewhere} elsewhere"
    return f"{shares}; lift {row.lift} ({row.interval})" if row.interval else f"{shares}; lift not shown"


def lifts_alt(number: int, rows: Sequence[ConceptRow]) -> str:
    """Describe the dot plot of a cluster: its first concepts with their lifts."""
    first = "; ".join(f"{row.name} {row.lift}" for row in rows[:NAMED_IN_ALT])
    return f"Lift of concepts in cluster {number}: {first}. The tables below contain all figures."


def _colours(*, is_tested: bool) -> str:
    """Explain red and blue. Concepts that passed the mark test were compared among similar patients, not with all others."""
    if is_tested:
        return "Red: more frequent here than among similar patients; blue: less frequent"
    return "Red: recorded more often here than elsewhere; blue: less often"


def lifts_caption(rows: Sequence[ConceptRow], of: int, *, is_tested: bool) -> Statement:
    """Say what the dots are, and how many of the concepts are drawn."""
    which = f" The picture shows the first {len(rows)} of {of} concepts." if len(rows) < of else ""
    if not any(row.interval for row in rows):
        return say(
            "Share of patients with the concept. The lift would reveal a small count, so it is not shown.{which}",
            which=which,
        )
    return say(
        "Lift: the share of patients with the concept here, divided by the share of all others, with 95 % interval."
        " {colours}.{which}",
        colours=_colours(is_tested=is_tested),
        which=which,
    )


def pyramid_hint(sex: str, band: str, share: float) -> str:
    """Say how many of a cluster's patients have a sex and an age."""
    who = f"{'women' if sex == 'F' else 'men'}, {band}"
    return f"{who}: about {100 * share:.0f} %" if share else f"{who}: none or too few to show"


def pyramid_alt(number: int, hints: Sequence[str]) -> str:
    """Describe the ages and sexes of a cluster."""
    shown = [hint for hint in hints if "too few" not in hint]
    return f"Age at the last visit and sex in cluster {number}: {'; '.join(shown)}."


def strips_alt(titles: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Describe the clusters side by side: the numbers of the first ones."""
    first = "; ".join(
        f"{name}: " + ", ".join(f"{title.lower()} {text}" for title, text in zip(titles, texts, strict=True) if text)
        for name, texts in rows[:NAMED_IN_ALT]
    )
    return f"Comparison of clusters, medians and quartiles. {first}. The table below contains all figures."


def strips_caption(at_start: str) -> Statement:
    """Say what the strips show. `at_start`: how many patients have the disease on the first day of their record; empty if few."""
    return say(
        "Dots are medians; bars reach from the lower to the upper quartile if there are enough patients.{first}",
        first=f" For {at_start} of all patients in clusters, the first record of a disease is on the first day of their record:"
        " this age shows when the record began, not when the disease did."
        if at_start
        else "",
    )


def heat_caption(*, is_tested: bool) -> Statement:
    """Say what the table of clusters and concepts shows."""
    return say(
        "The first marks of each cluster, and other clusters for which a card lists them. Numbers are lifts: the share of"
        " patients with the concept in the cluster, divided by the share elsewhere, with the 95 % interval. If too few patients"
        " here or elsewhere have the concept to show the lift, the share of the cluster’s patients is given instead, or “less” or"
        " “more” if that cannot be shown either. {colours}; grey: the test says so, but the lift’s interval includes 1 or is on"
        " the other side; empty: not on the card.",
        colours=_colours(is_tested=is_tested),
    )


def coverage(share: float) -> str:
    """Say which events the `share` of events with a concept refers to. Codes that are kept as they are count as concepts."""
    others = "; the others are not used" if share < 1 else ""
    return f"of events have a code that stands for a concept{others}"


def largest_effect(names: Sequence[str]) -> str:
    """Name the attributes, other than disease, that the clusters follow most: two, or one and the number of the others."""
    listed_names = names if len(names) < 3 else (names[0], f"{len(names) - 1} other attributes")
    return f"association of the clusters with {listed(listed_names)}"
