"""Settings of the mapping from codes to UMLS concepts."""

from dataclasses import dataclass
from typing import Literal

from ehr_pipeline.fields import option


@dataclass(frozen=True, kw_only=True)
class CodeDictionary:
    """A table from a local code system to SNOMED, such as CPRD's medical dictionary."""

    file: str = option("Delimited text file with a header line; .gz is read too.", role="input")
    code_column: str = option("Column of the local code.")
    snomed_column: str = option("Column of the SNOMED code.")
    delimiter: str = option("One character between fields.", "\t")
    encoding: str = option("Text encoding of the file.", "utf-8")


@dataclass(frozen=True, kw_only=True)
class EventsSettings:
    """How codes become concepts."""

    mrconso: str = option("MRCONSO.RRF of the UMLS (.gz is read too).", role="input")
    source: str = option("Source vocabulary (SAB) whose atoms are read.", "SNOMEDCT_US")
    suppress: tuple[str, ...] = option(
        "Values of SUPPRESS to accept, in this order: N is current, O obsolete, where retired concepts live.",
        ("N", "O"),
    )
    unmapped: Literal["drop", "keep"] = option(
        "What happens to a code without a concept: 'drop' (as published) counts it as lost; 'keep' makes it its own concept"
        " SCT:<id>, which keeps the UK-extension codes (over half of English GP events).",
        "drop",
    )
    dictionaries: dict[str, CodeDictionary] = option("One table for each code system that is not SNOMED.", {})
    coverage_floor: float = option(
        "Smallest share of events that must be mapped; below it, nothing is built on them.",
        0.3,
        role="check",
        ge=0,
        le=1,
    )
    report_codes: int = option(
        "How many of the most frequent unmapped codes the report lists.", 100, role="tuning", ge=1
    )
    workers: int = option(
        "Buckets that are worked on side by side: 1 works inline, up to 4 on threads, more on processes.",
        1,
        role="tuning",
        ge=1,
        le=512,
    )
