"""Settings of the mapping from codes to UMLS concepts."""

from collections.abc import Iterator
from typing import Any, Literal

import pydantic

from ehr_pipeline.typed_settings import option, settings


@settings
class CodeDictionary:
    """A table from a local code system to SNOMED, such as CPRD's medical dictionary."""

    file: str = option("Delimited text file with a header line; .gz is read too.", role="input")
    code_column: str = option("Column of the local code.")
    term_column: str = option(
        "Column of the two-character term code that follows a five-byte Read code, if the table has a separate column for it.",
        "",
        later=True,
    )
    snomed_column: str = option(
        "Column of the SNOMED code. A table that only names codes, such as those of ICD-10, belongs under events.names."
    )
    name_column: str = option(
        "Column of the code's name, such as Term. It is used for concepts without a name in the UMLS, and find-codes searches"
        " it.",
        "",
        later=True,
    )
    delimiter: str = option("One character between fields.", "\t")
    encoding: str = option("Text encoding of the file.", "utf-8")
    quote: str = option("The quoting character, or empty if the file does not quote.", '"', later=True)
    where: dict[str, str] = option(
        "Which rows to use: column = value, such as { MAPSTATUS = '1' } for those rows of a migration table that are not"
        " retired.",
        {},
    )
    then: str = option(
        "Name of another table in [events.dictionaries] that translates the codes from this table further, such as dm+d ids to"
        " ingredients. Ids that the other table lacks stay unchanged.",
        "",
    )


@settings
class TableOfNames:
    """A table with names of codes. It may be a file of events that has a column of names. If only a path is given, the columns have
    the usual names."""

    file: str = option("Parquet or delimited text with a header line; .gz is read too.", role="input")
    code_column: str = option("Column of the code, as it is recorded; empty: `code`.", "", later=True)
    name_column: str = option(
        "Column of the name; empty: the first of `description`, `term`, `name` and `label`.", "", later=True
    )
    code_system: str = option(
        "The `code_system` of the codes, if the table does not write it and the extract has codes of several systems.",
        "",
        later=True,
    )


@settings
class EventsSettings:
    """How codes become concepts."""

    mrconso: str = option(
        "MRCONSO.RRF of the UMLS (.gz is read too). Needed only for SNOMED codes. Empty: there are no such codes, or each"
        " becomes a separate concept (`unmapped`).",
        "",
        role="input",
    )
    source: str = option("Source vocabulary (SAB) whose rows of MRCONSO are read.", "SNOMEDCT_US")
    mrsab: str = option(
        "MRSAB.RRF of the UMLS. If given, the report names the version of the source vocabulary.", "", role="input"
    )
    suppress: tuple[str, ...] = option(
        "Values of SUPPRESS to accept, in order of preference: N is current, O is obsolete (retired concepts).",
        ("N", "O"),
    )
    overrides: str = option(
        "Your own table (CSV with the columns code, cui, name, source). It overrides every other step.", "", role="list"
    )
    descriptions: tuple[str, ...] = option(
        "Description files of SNOMED RF2 (Snapshot or Full, plain or gzip): with these, description ids are replaced by their"
        " concepts, and codes that are kept as separate concepts get names.",
        (),
        role="input",
    )
    migrations: dict[str, CodeDictionary] = option(
        "Tables that translate Read v2 or CTV3 codes, found among the SNOMED codes, to SNOMED. If several contain a code, the"
        " first counts.",
        {},
    )
    associations: tuple[str, ...] = option(
        "Association reference set files of SNOMED RF2 (Snapshot or Full, plain or gzip): with these, retired concepts are"
        " replaced by their successors.",
        (),
        role="input",
    )
    association_kinds: tuple[
        Literal["same_as", "replaced_by", "possibly_equivalent_to", "alternative", "was_a"], ...
    ] = option(
        "Which associations to follow, in this order. The first two are safe; the others may have several targets, of which the"
        " one with the lowest id is used.",
        ("same_as", "replaced_by"),
    )
    relationships: tuple[str, ...] = option(
        "Relationship files of SNOMED RF2 (Snapshot or Full, plain or gzip): a code without a concept takes that of its nearest"
        " mapped ancestor (IS-A).",
        (),
        role="input",
    )
    ancestor_depth: int = option(
        "How many IS-A steps away an ancestor may be; 0: ancestors are not used.", 3, ge=0, le=20
    )
    unmapped: Literal["drop", "keep"] = option(
        "What to do with a code that has no concept. 'drop' (as published) counts it as lost. 'keep' makes the code a separate"
        " concept: SCT:<id> for SNOMED, which keeps the UK extension (over half of English GP events), and SYSTEM:<code> for"
        " any other system, such as ICD codes in a MEDS or OMOP extract, even if its dictionary lacks the code.",
        "drop",
    )
    names: tuple[TableOfNames, ...] = option(
        "Tables with names of codes, for codes that are kept as separate concepts: the path of a table with the usual names of"
        " columns, such as metadata/codes.parquet of a MEDS data set, or { file = …, code_column = …, name_column = … }. If several"
        " tables have a name for a code, the first is used.",
        (),
        later=True,
    )
    dictionaries: dict[str, CodeDictionary] = option("One table for each code system that is not SNOMED.", {})
    omop_vocabulary: str = option(
        "Folder with CONCEPT.csv, CONCEPT_RELATIONSHIP.csv and CONCEPT_ANCESTOR.csv (Athena's, or Parquet): the meanings of the"
        " concept ids in an extract of the source 'omop'.",
        "",
        role="input",
    )
    coverage_floor: float = option(
        "At least this share of the events must be mapped, or kept as separate concepts; otherwise nothing is built on them. If"
        " codes are kept and mrconso is set, the same share of the SNOMED codes that the UMLS should know must also be mapped.",
        0.3,
        role="check",
        ge=0,
        le=1,
    )
    report_codes: int = option(
        "How many of the most frequent unmapped codes the report lists.", 100, role="tuning", ge=1
    )
    workers: int = option(
        "Number of buckets processed in parallel: 1 works in the process of the run, 2 to 4 use threads, more use processes.",
        1,
        role="tuning",
        ge=1,
        le=512,
    )

    @pydantic.field_validator("names", mode="before")
    @classmethod
    def _paths(cls, names: Any) -> Any:
        """Read a path as a table with the usual names of columns."""
        return (
            tuple({"file": one} if isinstance(one, str) else one for one in names)
            if isinstance(names, list | tuple)
            else names
        )

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        for name, table in self.dictionaries.items():
            chain = [name]
            while table.then:
                if table.then in chain or table.then not in self.dictionaries:
                    wrong = "leads in a circle" if table.then in chain else "is not a table of [events.dictionaries]"
                    yield f"dictionaries.{name}: then = {table.then!r} {wrong}."
                    break
                chain.append(table.then)
                table = self.dictionaries[table.then]
        for name, table in self.migrations.items():
            for option_ in ("then", "name_column"):
                if getattr(table, option_):
                    yield f"migrations.{name}: {option_} is for tables of [events.dictionaries]."
