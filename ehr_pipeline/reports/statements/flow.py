"""From raw rows to clusters: how losses are counted, who is in the cohort, and how codes were mapped."""

from collections.abc import Mapping, Sequence
from typing import Any

from ehr_pipeline.reports.statements.statement import Statement, percent, say


def sides() -> Statement:
    """Say where the diagrams show patients, events and losses."""
    return say(
        "The drawing follows the patients, with those lost beside the arrows; the drawing of events is folded below it."
    )


def rounding(fewest: int, *, rounded: bool) -> list[Statement]:
    """Explain how numbers of patients are shown."""
    sentences = []
    if rounded:
        sentences.append(
            say(
                "Numbers of patients are rounded to a multiple of {fewest}, because two of them differ by fewer than {fewest}"
                " patients. A number that is hardly larger than that of the patients in clusters, whose sizes are exact, is"
                " shown as a bound (“&gt;”); what was lost between rounded numbers is a range that follows from them; “–”"
                " stands for what would, together with these, reveal small numbers.",
                fewest=fewest,
            )
        )
    sentences.append(say("Reasons with fewer than {fewest} rows are joined with the next (“a or b”).", fewest=fewest))
    return sentences


def cohort(by_disease: Sequence[tuple[str, str]], not_embedded: str) -> Statement:
    """Say how many patients of each disease are in the cohort, and how many of them have no vector."""
    return say(
        "Cohort by disease: {diseases}. Patients of the cohort without a chosen concept, who therefore have no vector:"
        " {not_embedded}.",
        diseases=" · ".join(f"{name} {number}" for name, number in by_disease),
        not_embedded=not_embedded,
    )


def cases(*, everybody: bool) -> list[Statement]:
    """Say who is a case; `everybody`: whether a disease has no list, so that all patients are cases of it."""
    sentences = [
        say(
            "A patient is a case of a disease when a concept of its list was recorded on as many days as the table says. A"
            " patient can have several of the diseases, but is counted once: under the one recorded on most days, or, if that"
            " is a tie, under the one that comes first in the table. So the diseases of the cohort add up to all of its patients."
        ),
        say(
            "Each code of a list was mapped as the codes of the records were, so a retired code, or the id of a description,"
            " finds the same patients as the current code."
        ),
    ]
    if everybody:
        sentences.append(say("For a disease without a list, every patient of the data set is a case."))
    return sentences


def codes(listed: Mapping[str, Any]) -> str:
    """Return the codes of a disease; an ellipsis stands for those that the page leaves out."""
    more = "" if listed["codes"] == str(len(listed["rows"])) else " · …"
    return " · ".join(listed["rows"]) + more


def mapped(coverage: Mapping[str, Any]) -> list[Statement]:
    """Say which share of events and codes has a UMLS concept, and what became of the others."""
    sentences = [
        say(
            "{events} of events and {codes} of codes were mapped to the UMLS by way of {source}.",
            events=percent(coverage["events_share"], 1),
            codes=percent(coverage["codes_share"], 1),
            source=coverage["source"],
        )
    ]
    if coverage["kept_events"]:
        sentences.append(
            say(
                "{kept} of events were kept as concepts of their own, one for each code (events.unmapped): they have no UMLS"
                " concept and no semantic type, and are named as the extract, a table of names or SNOMED’s description files name"
                " them, if at all.",
                kept=percent(coverage["kept_events"] / coverage["events"], 1),
            )
        )
    if coverage["events_share"]:
        joined = "The UMLS joins the terminologies of medicine by concept: codes of the same meaning become one."
        sentences.append(say(joined))
    return sentences


def mapped_so_far(coverage: Mapping[str, Any]) -> str:
    """Return the head of the column with the cumulative share of events."""
    return f"Events {'mapped or kept' if coverage['kept_events'] else 'mapped'} so far"
