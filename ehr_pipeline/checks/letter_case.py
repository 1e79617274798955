"""Check whether one meaning silently became two concepts: by codes that differ only in upper and lower case or in a dot, or by two
editions of the ICD."""

from pathlib import Path

import polars as pl

from ehr_pipeline.checks import lists
from ehr_pipeline.checks.model import Result, check
from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.disclosure.kinds import Events, Figure, Plain
from ehr_pipeline.errors import InputError
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.terminology import code_lists

READ = "(?i)read|ctv|rcd"
"""Systems whose names match this contain Read codes, in which upper and lower case, and dots, differ in meaning."""
DOTTED = r"^[0-9]?[A-Za-z][0-9A-Za-z]{2,3}\.?[0-9A-Za-z]{1,4}$|^[0-9]{3}\.?[0-9]{1,2}$"
"""Codes that a system may write with or without a dot. In others, such as doses, 1.5 and 15 differ in meaning."""


SMALL_EDITION = 0.01
"""An edition of the ICD with a smaller share of the ICD's events is not warned of."""


@check(blocking=False)
def one_edition_of_icd(artifact: Artifact, store: Store, study: Study) -> Result:
    """Diagnoses are not recorded partly in ICD-9 and partly in ICD-10."""
    mapping = Mapping.read(artifact.path, "concept", "events").mapped
    system = pl.col("concept").str.extract(r"(?i)^([^:]*icd[-_ ]?(?:9|10)[^:]*):", 1)
    diagnoses = mapping.with_columns(system=system).filter(~pl.col("system").str.contains("(?i)proc|pcs"))
    edition = diagnoses.group_by(pl.col("system").str.extract(r"(?i)icd[-_ ]?(9|10)")).agg(pl.col("events").sum())
    events = dict(edition.drop_nulls().iter_rows())
    figures: dict[str, Figure] = {f"events_in_icd_{name}": Events(number) for name, number in sorted(events.items())}
    if len(events) < 2 or min(events.values()) < SMALL_EDITION * sum(events.values()):
        return True, "diagnoses are in one edition of the ICD, or in none", figures
    below = study.reports.suppress_below
    return (
        False,
        f"{count_text(events['9'], below)} events have a diagnosis in ICD-9, and {count_text(events['10'], below)} in"
        " ICD-10. A diagnosis in both is two concepts, so clusters, pairs of concepts and tasks may follow the edition that was in"
        " use, and a list with codes of one edition misses patients with the other. Name both in lists, or map one edition to the"
        " other in events.overrides",
        figures,
    )


@check(blocking=False)
def one_spelling_of_codes(artifact: Artifact, store: Store, study: Study) -> Result:
    """No two codes of a system differ only in upper and lower case, or in a dot, unless they are one concept, or Read codes."""
    below = study.reports.suppress_below
    spellings = _spellings(Mapping.read(artifact.path, "code", "concept", "events", "patients").table)
    if spellings.is_empty():
        return True, "no two codes for different concepts differ only in upper and lower case, or in a dot", {}
    # The most frequent spelling of each code is taken for the usual one.
    by_code = spellings.group_by("system", "plain").agg(others=pl.col("events").sum() - pl.col("events").max())
    # In a MEDS extract the name of a system is read from the data, so it is shown only if many patients have it.
    common = (
        spellings.group_by("system").agg(pl.col("patients").max()).filter(pl.col("patients") >= 2 * below)["system"]
    )
    named = pl.when(pl.col("system").is_in(common.implode())).then("system").otherwise(pl.lit(""))
    by_system = (
        by_code.group_by(named).agg(pl.len(), pl.col("others").sum()).sort("others", "system", descending=[True, False])
    )
    told = ", ".join(
        f"{codes:,} of {f'the system {system!r}' if system else 'rare systems'}"
        f" ({count_text(others, below)} events in less frequent spellings)"
        for system, codes, others in by_system.iter_rows()
    )
    halves = ", ".join(
        f"{where} ({codes:,} code{'s' if codes > 1 else ''})" for where, codes in _met_by_half(spellings, study).items()
    )
    message = (
        "some codes are recorded in spellings that differ only in upper and lower case, or in a dot, and each spelling is a"
        f" separate concept: {told}. If this has no meaning in the system, export its codes in one spelling, or map all spellings"
        " to one concept in events.overrides"
    )
    if halves:
        message += f". These lists contain only one spelling, so they miss patients with the other: {halves}"
    figures: dict[str, Figure] = {
        "codes_in_two_spellings": Plain(by_code.height),
        "events_in_rarer_spelling": Events(int(by_code["others"].sum())),
    }
    return False, message, figures


def _spellings(mapping: pl.DataFrame) -> pl.DataFrame:
    """Return the codes that equal another code except for case or a dot, if the two are not one concept. Columns: those of
    `mapping`, `plain` (the code in lower case, without a dot that another code lacks) and `system`. Codes of SNOMED and Read codes
    are left out."""
    own = pl.col("code").str.replace(r"^[^:]+:", "")
    without = pl.when(own.str.contains(DOTTED)).then(own.str.replace(".", "", literal=True)).otherwise(own)
    found = (
        mapping.filter(pl.col("code").str.contains(":", literal=True))  # at once: SNOMED's codes are most
        .unique("code", keep="first", maintain_order=True)  # a drug has a row for each of its ingredients
        .with_columns(system=pl.col("code").str.extract(r"^([^:]+):"))
        .filter(pl.col("system").is_not_null(), ~pl.col("system").str.contains(READ))
        .with_columns(own=own.str.to_lowercase(), plain=without.str.to_lowercase())
        .with_columns(
            plain=pl.when((pl.col("own") == pl.col("plain")).any().over("system", "plain"))
            .then("plain")
            .otherwise("own"),
            concept=pl.col("concept").fill_null(""),  # a spelling that no table has is lost
        )
        .drop("own")
        .filter(pl.col("events") > 0)
    )
    return found.filter(pl.col("concept").n_unique().over("system", "plain") > 1)


def _met_by_half(spellings: pl.DataFrame, study: Study) -> dict[str, int]:
    """Return, by setting, how many codes each concept list contains in only some of their spellings; lists without such codes are
    left out."""
    found = {}
    for where, path in lists.named(study).items():
        try:
            rows = code_lists.read(Path(path), where)
        except InputError:
            continue  # reported where the list is used
        listed = pl.Series(sorted({row.code for row in rows} | {row.cui for row in rows} - {""}), dtype=pl.String)
        is_listed = pl.col("code").is_in(listed.implode()) | pl.col("concept").is_in(listed.implode())
        met = spellings.group_by("system", "plain").agg(some=is_listed.any(), all=is_listed.all())
        found[where] = met.filter(pl.col("some"), ~pl.col("all")).height
    return {where: number for where, number in found.items() if number}
