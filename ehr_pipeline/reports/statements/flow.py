"""From raw rows to clusters: how losses are counted, who is in the cohort, and how codes were mapped."""

from collections.abc import Mapping, Sequence
from typing import Any

from ehr_pipeline.reports.statements.statement import Statement, percent, say


def sides() -> Statement:
    """Say where the diagrams show patients, events and losses."""
    return say(
        "The diagram follows the patients; those left out are next to the arrows. The diagram of events is folded below it."
    )


def rounding(fewest: int, *, rounded: bool) -> list[Statement]:
    """Explain how numbers of patients are shown."""
    sentences = []
    if rounded:
        sentences.append(
            say(
                "Numbers of patients are rounded to a multiple of {fewest}, because two of them differ by fewer than {fewest}"
                " patients. Three signs hide small counts. “&gt;” is a bound, for a number hardly larger than the number of"
                " patients in clusters (cluster sizes are exact). A range is the loss between two rounded numbers. “–” replaces a"
                " number from which, together with these, a small count could be computed.",
                fewest=fewest,
            )
        )
    sentences.append(say("Reasons with fewer than {fewest} rows are combined with the next (“a or b”).", fewest=fewest))
    return sentences


def cohort(by_disease: Sequence[tuple[str, str]], not_embedded: str) -> Statement:
    """Say how many patients of each disease are in the cohort, and how many of them have no vector."""
    return say(
        "Cohort by disease: {diseases}. Patients of the cohort without a chosen concept, and so without a vector: {not_embedded}.",
        diseases=" · ".join(f"{name} {number}" for name, number in by_disease),
        not_embedded=not_embedded,
    )


def cases(*, everybody: bool) -> list[Statement]:
    """Say who is a case; `everybody`: whether a disease has no list, so that all patients are cases of it."""
    sentences = [
        say(
            "A patient is a case of a disease if a concept of its list was recorded on at least the number of days in the table."
            " A patient can have several of the diseases, but is counted once: under the disease recorded on most days or, in a"
            " tie, under the one that comes first in the table. So the diseases of the cohort add up to all of its patients."
        ),
        say(
            "Each code of a list was mapped in the same way as the codes of the records, so a retired code or a description id"
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
            "{events} of events and {codes} of codes were mapped to the UMLS, using {source}.",
            events=percent(coverage["events_share"], 1),
            codes=percent(coverage["codes_share"], 1),
            source=coverage["source"],
        )
    ]
    if coverage["kept_events"]:
        sentences.append(
            say(
                "{kept} of events were kept unmapped, each code as a separate concept (events.unmapped). These concepts have no"
                " UMLS concept and no semantic type. Their names come from the extract, a table of names or SNOMED’s description"
                " files, if any of these has one.",
                kept=percent(coverage["kept_events"] / coverage["events"], 1),
            )
        )
    if coverage["events_share"]:
        joined = "The UMLS joins medical terminologies by concept: codes with the same meaning become one concept."
        sentences.append(say(joined))
    return sentences


def mapped_so_far(coverage: Mapping[str, Any]) -> str:
    """Return the head of the column with the cumulative share of events."""
    return f"Events {'mapped or kept' if coverage['kept_events'] else 'mapped'} so far"
