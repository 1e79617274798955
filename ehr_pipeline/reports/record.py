"""The RECORD checklist for studies of routinely collected health data (Benchimol et al. 2015, PLoS Med 12(10): e1001885, table 1).

Each item with where the page answers it, or what the authors of a study still have to write themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """One item of the checklist."""

    number: str
    asks: str
    answer: str
    by_authors: bool
    """Whether the authors must write it: a program cannot know it."""


def checklist(facts: Mapping[str, str]) -> list[Item]:
    """The items that RECORD adds to STROBE. `facts` has `extracts`, `attributes` and `sides` (all str)."""
    told = [
        (
            "RECORD 1.1",
            "Type of data, and name of the databases",
            "Name the database and its version in the title.",
            True,
        ),
        ("RECORD 1.2", "Region and time frame", "State the country and the years that the extracts cover.", True),
        ("RECORD 1.3", "Linkage between databases", "State it in title or abstract where data were linked.", True),
        (
            "RECORD 6.1",
            "Codes and algorithms that select the population",
            "“From raw rows to clusters”: the list of codes of each disease, with the SHA-256 of its file, how many of its"
            " codes the extract holds, and the rule that makes a patient a case.",
            False,
        ),
        ("RECORD 6.2", "Validation of codes and algorithms", "Cite studies that validated the lists of codes.", True),
        (
            "RECORD 6.3",
            "Flow diagram of linkage",
            "No data are linked by this pipeline; draw what was linked before.",
            True,
        ),
        (
            "RECORD 7.1",
            "Complete lists of codes for exposures, outcomes, confounders",
            "Concepts and how vectors are made from them: In short, Methods and Settings; every code with its concept is in"
            f" mapping.csv. Attributes: {facts['attributes']}.",
            False,
        ),
        ("RECORD 12.1", "Access of the investigators to the database", "Describe who had access to which data.", True),
        (
            "RECORD 12.2",
            "Cleaning of the data",
            f"“From raw rows to clusters”: every row of {facts['extracts']} that was set aside, with the reason.",
            False,
        ),
        (
            "RECORD 12.3",
            "Linkage at the level of persons, and its quality",
            "Describe it where data were linked.",
            True,
        ),
        (
            "RECORD 13.1",
            "Selection of persons, with a flow diagram",
            "“From raw rows to clusters”: the flow of patients and of events."
            + (f" Of the patients in the data set {facts['sides']}." if facts["sides"] else ""),
            False,
        ),
        (
            "RECORD 19.1",
            "Limits of data that were not made for research",
            "Bias audit and Methods; discuss misclassification, unmeasured confounding, missing data and changing eligibility.",
            True,
        ),
        (
            "RECORD 22.1",
            "Access to protocol, raw data and code",
            "Versions and settings are at the end of the page; add the protocol and how data can be requested.",
            True,
        ),
    ]
    return [Item(*row) for row in told]
