"""Reader of ontologies in OBO format 1.2 and 1.4, as the Disease Ontology (CC0) and MONDO (CC BY 4.0) are published."""

from dataclasses import dataclass, field
from pathlib import Path

from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology.reading import label, why

SETTING = "concepts.ontology"
UMLS, SNOMED = ("UMLS_CUI", "UMLS"), ("SNOMEDCT", "SCTID")
"""Names of the UMLS in references, and prefixes of the names of SNOMED (SNOMEDCT_US_2023_03_01, …)."""


@dataclass(frozen=True)
class Term:
    """One term. `cuis` and `codes` are the UMLS concepts and SNOMED codes that it refers to."""

    names: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    cuis: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)


def read(path: Path) -> dict[str, Term]:
    """Read the terms of a file, by id. Obsolete terms have no parents. Raises InputError if it is missing or not OBO."""
    terms: dict[str, Term] = {}
    identifier, in_term = "", False
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for line in stream:
                tag, _, value = line.strip().partition(": ")
                if line.startswith("["):
                    in_term, identifier = line.startswith("[Term]"), ""
                elif not in_term:
                    continue
                elif tag == "id":
                    identifier = value
                    terms[identifier] = Term()
                elif not identifier:
                    continue
                elif tag == "name":
                    terms[identifier].names.append(value)
                elif tag == "is_a":
                    terms[identifier].parents.append(_first(value))
                elif tag == "xref":
                    system, _, code = _first(value).partition(":")
                    if system in UMLS:
                        terms[identifier].cuis.append(code)
                    elif system.startswith(SNOMED):
                        terms[identifier].codes.append(code)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{label(path, SETTING)}: this OBO file cannot be read: {why(error)}.") from None
    if not any(term.parents for term in terms.values()):
        raise InputError(f"{label(path, SETTING)}: no term has a parent (is_a). Give an ontology in OBO format.")
    return terms


def _first(value: str) -> str:
    """Return the part of a value before any comment or qualifier."""
    return value.split(" ", 1)[0]
