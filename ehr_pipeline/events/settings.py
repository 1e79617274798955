"""Settings of the mapping from codes to UMLS concepts."""

from collections.abc import Iterator
from typing import Literal

from ehr_pipeline.typed_settings import option, settings


@settings
class CodeDictionary:
    """A table from a local code system to SNOMED, such as CPRD's medical dictionary."""

    file: str = option("Delimited text file with a header line; .gz is read too.", role="input")
    code_column: str = option("Column of the local code.")
    term_column: str = option(
        "Column of the term code (two characters) that follows a Read code of five bytes, where the table has it apart.",
        "",
        later=True,
    )
    snomed_column: str = option("Column of the SNOMED code.")
    delimiter: str = option("One character between fields.", "\t")
    encoding: str = option("Text encoding of the file.", "utf-8")
    quote: str = option("The quoting character, or empty where the file does not quote.", '"', later=True)
    where: dict[str, str] = option(
        "Which rows count: column = value, such as { MAPSTATUS = '1' } for the rows of a migration table that are not retired.",
        {},
    )
    then: str = option(
        "Name of another table of [events.dictionaries] that translates what this one gives, such as dm+d ids to"
        " ingredients; ids that it does not have stay as they are.",
        "",
    )


@settings
class EventsSettings:
    """How codes become concepts."""

    mrconso: str = option(
        "MRCONSO.RRF of the UMLS (.gz is read too). Only SNOMED codes need it; empty where there are none, or where they stay"
        " concepts of their own (unmapped).",
        "",
        role="input",
    )
    source: str = option("Source vocabulary (SAB) whose atoms are read.", "SNOMEDCT_US")
    mrsab: str = option(
        "MRSAB.RRF of the UMLS: the report then says which version of the source the concepts come from.",
        "",
        role="input",
    )
    suppress: tuple[str, ...] = option(
        "Values of SUPPRESS to accept, in this order: N is current, O obsolete, where retired concepts live.",
        ("N", "O"),
    )
    overrides: str = option(
        "Your own table (CSV with the columns code, cui, name, source): it wins over every other step.", "", role="list"
    )
    descriptions: tuple[str, ...] = option(
        "Description files of SNOMED RF2 (Snapshot or Full, plain or gzip): codes that are description ids become their concepts,"
        " and codes that are kept as concepts of their own get names.",
        (),
        role="input",
    )
    migrations: dict[str, CodeDictionary] = option(
        "Tables from Read v2 or CTV3 codes, which stand among the SNOMED codes, to SNOMED; the first that has a code counts.",
        {},
    )
    associations: tuple[str, ...] = option(
        "Association reference set files of SNOMED RF2 (Snapshot or Full, plain or gzip): retired concepts become their"
        " replacements.",
        (),
        role="input",
    )
    association_kinds: tuple[
        Literal["same_as", "replaced_by", "possibly_equivalent_to", "alternative", "was_a"], ...
    ] = option(
        "Which associations count, in this order. The first two are safe; the others may name several targets, of which the"
        " lowest id counts.",
        ("same_as", "replaced_by"),
    )
    relationships: tuple[str, ...] = option(
        "Relationship files of SNOMED RF2 (Snapshot or Full, plain or gzip): a code without a concept takes that of its nearest"
        " mapped ancestor (IS-A).",
        (),
        role="input",
    )
    ancestor_depth: int = option("How many steps up an ancestor may be; 0 asks no ancestor.", 3, ge=0, le=20)
    unmapped: Literal["drop", "keep"] = option(
        "What happens to a code without a concept: 'drop' (as published) counts it as lost; 'keep' makes it its own concept:"
        " SCT:<id> for SNOMED, which keeps the UK-extension codes (over half of English GP events), and SYSTEM:<code> for every"
        " code of another system, such as the ICD codes of a MEDS or OMOP extract, also where a dictionary lacks it.",
        "drop",
    )
    dictionaries: dict[str, CodeDictionary] = option("One table for each code system that is not SNOMED.", {})
    omop_vocabulary: str = option(
        "Folder with CONCEPT.csv, CONCEPT_RELATIONSHIP.csv and CONCEPT_ANCESTOR.csv (Athena's, or Parquet): what the concept ids of"
        " the source 'omop' mean.",
        "",
        role="input",
    )
    coverage_floor: float = option(
        "Smallest share of events that must be mapped, or kept as concepts of their own; below it, nothing is built on them. Where"
        " codes are kept and mrconso is named, it also holds for the SNOMED codes that the UMLS should know, mapped alone.",
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

    def problems(self) -> Iterator[str]:
        """What is wrong with these values beyond their types."""
        for name, table in self.dictionaries.items():
            chain = [name]
            while table.then:
                if table.then in chain or table.then not in self.dictionaries:
                    wrong = "leads in a circle" if table.then in chain else "is no table of [events.dictionaries]"
                    yield f"dictionaries.{name}: then = {table.then!r} {wrong}."
                    break
                chain.append(table.then)
                table = self.dictionaries[table.then]
        for name, table in self.migrations.items():
            if table.then:
                yield f"migrations.{name}: then is for tables of [events.dictionaries]."
