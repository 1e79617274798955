"""The RECORD checklist (Benchimol et al. 2015, PLoS Med 12(10): e1001885, table 1), and where the page answers its items."""

from collections.abc import Iterator, Sequence

from ehr_pipeline.reports.statements.statement import Statement, counted, say

FLOW = "“Who was lost”"


def purpose() -> Statement:
    """Say what the checklist is."""
    return say(
        "What the guideline for studies of routinely collected health data requires (Benchimol et al. 2015), and where this page"
        " answers it. The authors of a study must answer the items in italics."
    )


def items(extracts: int, attributes: Sequence[str], sides: str) -> Iterator[tuple[str, str, Statement]]:
    """Yield each item: its number, its request, and where the page answers it or what the authors have to do.

    `sides`: patients in each set of the split, in words; empty if there is no test set.
    """
    yield (
        "RECORD 1.1",
        "Type of data, and name of the databases",
        _yours("Name the database and its version in the title."),
    )
    yield "RECORD 1.2", "Region and time frame", _yours("State the country and the years that the extracts cover.")
    yield "RECORD 1.3", "Linkage between databases", _yours("State it in the title or abstract if data were linked.")
    yield "RECORD 6.1", "Codes and algorithms that select the population", population()
    validation = "Validation of codes and algorithms"
    yield "RECORD 6.2", validation, _yours("Cite studies that validated the lists of codes.")
    linkage = "This pipeline links no data; draw any linkage done before."
    yield "RECORD 6.3", "Flow diagram of linkage", _yours(linkage)
    yield "RECORD 7.1", "Complete lists of codes for exposures, outcomes, confounders", codes(attributes)
    access = "Describe who had access to which data."
    yield "RECORD 12.1", "Access of the investigators to the database", _yours(access)
    yield "RECORD 12.2", "Cleaning of the data", cleaning(extracts)
    yield "RECORD 12.3", "Linkage at the level of persons, and its quality", _yours("Describe it if data were linked.")
    yield "RECORD 13.1", "Selection of persons, with a flow diagram", selection(sides)
    limits = "Bias audit and Methods; discuss misclassification, unmeasured confounding, missing data and changing eligibility."
    yield "RECORD 19.1", "Limits of data that were not made for research", _yours(limits)
    more = "Versions and settings are at the end of the page; add the protocol and how data can be requested."
    yield "RECORD 22.1", "Access to protocol, raw data and code", _yours(more)


def _yours(text: str) -> Statement:
    """Return an instruction to the authors of a study."""
    return say(f"<i>{text}</i>")


def population() -> Statement:
    """Say where the reader finds the codes that select the cohort."""
    return say(
        "{flow}: for each disease, the list of codes with the SHA-256 of its file, how many of its codes the extract contains,"
        " and the rule that makes a patient a case.",
        flow=FLOW,
    )


def codes(attributes: Sequence[str]) -> Statement:
    """Say where the reader finds all other codes."""
    return say(
        "Concepts, and how vectors are made from them: In short, Methods and Settings. Every code and its concept: mapping.csv."
        " Attributes: {attributes}.",
        attributes=", ".join(attributes),
    )


def cleaning(extracts: int) -> Statement:
    """Say where rejected rows are counted."""
    return say(
        "{flow}: every row of {extracts} that was set aside, with the reason.",
        flow=FLOW,
        extracts=counted(extracts, "extract"),
    )


def selection(sides: str) -> Statement:
    """Say where the flow of patients is shown."""
    more = f" Of the patients in the data set, {sides}." if sides else ""
    return say("{flow}: the flow of patients and of events.{more}", flow=FLOW, more=more)
