"""OMOP Common Data Model 5.4 (OHDSI): one table per file, CSV or Parquet, with column names in upper or lower case.

An event's code is its standard concept or, where that is 0 ("no matching concept"), its source concept, if the table has one.
The mapping stage translates concept ids with the vocabulary tables named in events.omop_vocabulary.
"""

from dataclasses import replace
from typing import Any, Literal

import polars as pl

from ehr_pipeline.records import dates
from ehr_pipeline.records.ids import whole
from ehr_pipeline.records.kinds import EventKind, Kinds, PatientKind
from ehr_pipeline.records.layouts import EventColumns, EventFiles, PatientColumns, PatientFiles
from ehr_pipeline.terminology.omop import CODE_SYSTEM
from ehr_pipeline.typed_settings import option, settings

WHERE = "records.omop"
NO_CONCEPT = ("0", "0.0")
# Concepts of the Gender vocabulary. Only the first two give a sex; the others mean unknown, other or ambiguous.
SEX = {"8507": "M", "8532": "F", "0": "", "8551": "", "8521": "", "8570": ""}
DATES = ("iso",)
DATETIME = "birth_datetime"
PARTS = ("birth_month", "birth_day", DATETIME)
"""Columns of a birth that an export may lack."""
# Columns of date, concept and source concept in each table of events (OMOP CDM 5.4 specification).
EVENTS = {
    "condition_occurrence": ("condition_start_date", "condition_concept_id", "condition_source_concept_id"),
    "procedure_occurrence": ("procedure_date", "procedure_concept_id", "procedure_source_concept_id"),
    "drug_exposure": ("drug_exposure_start_date", "drug_concept_id", "drug_source_concept_id"),
    "measurement": ("measurement_date", "measurement_concept_id", "measurement_source_concept_id"),
    "observation": ("observation_date", "observation_concept_id", "observation_source_concept_id"),
}


@settings
class Omop:
    """OMOP CDM 5.4. A table is a file TABLE.csv, TABLE.csv.gz or TABLE.parquet, numbered parts such as TABLE_1.csv, or a folder of
    parts named TABLE, TABLE.csv or TABLE.parquet, in upper or lower case. A patient is observed from the start of the first period
    of `observation_period` to the end of the last one, or to death. The vocabulary is set in events.omop_vocabulary."""

    tables: tuple[
        Literal["condition_occurrence", "procedure_occurrence", "drug_exposure", "measurement", "observation"], ...
    ] = option("Tables of events to read; missing ones are skipped.", tuple(EVENTS))
    delimiter: str = option("One character between fields of CSV files.", ",")
    quote: str = option("The quoting character of CSV files, or empty if they do not quote.", '"')
    attributes: dict[str, str] = option(
        "Columns of `person` to keep: name in the patient data set = column.",
        {"race": "race_source_value", "ethnicity": "ethnicity_source_value"},
    )
    sex_values: dict[str, str] = option(
        "Meanings of further concept ids of the sex, such as {2000000001 = 'F'}.", {}, later=True
    )

    def kinds(self) -> Kinds:
        """Return the kinds of files of an extract."""
        text: dict[str, Any] = {"delimiter": self.delimiter, "quote": self.quote, "date_formats": DATES}
        events = []
        for table in self.tables:
            date, code, source = EVENTS[table]
            columns = EventColumns(patient="person_id", date=date, code=code, code_fallback=source)
            layout = EventFiles(
                files=files_of(table), columns=columns, code_system=CODE_SYSTEM, no_code=NO_CONCEPT, **text
            )
            events.append(
                EventKind(
                    where=f"{WHERE}.tables: {table}",
                    files=layout,
                    required=False,
                    any_case=True,
                    optional=frozenset({"code_fallback"}),
                )
            )
        person = PatientFiles(
            files=files_of("person"),
            columns=PatientColumns(
                patient="person_id",
                birth_year="year_of_birth",
                birth_month="month_of_birth",
                birth_day="day_of_birth",
                sex="gender_concept_id",
            ),
            sex_values=SEX | self.sex_values,
            attributes=self.attributes,
            **text,
        )
        death = PatientFiles(
            files=files_of("death"), columns=PatientColumns(patient="person_id", death="death_date"), **text
        )
        periods = PatientFiles(
            files=files_of("observation_period"),
            columns=PatientColumns(
                patient="person_id",
                observation_start="observation_period_start_date",
                observation_ends=("observation_period_end_date",),
            ),
            **text,
        )
        of_person = PatientKind(where=f"{WHERE}: person", files=person, any_case=True)
        people = (
            replace(
                of_person,
                columns=of_person.wanted | {DATETIME: DATETIME},
                optional=frozenset(PARTS),
                adapt=_full_births,
            ),
            *(
                PatientKind(where=f"{WHERE}: {name}", files=files, any_case=True, required=False, partial=True)
                for name, files in (("death", death), ("observation_period", periods))
            ),
        )
        return Kinds(tuple(events), people)


def _full_births(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Fill empty parts of a birth (year, month, day) from birth_datetime, as far as it does not contradict the given parts.

    If the month is empty, a birth_datetime of January 1st gives only the year, because this day is written when no more
    is known.
    """
    present = [name for name in ("birth_year", *PARTS) if name in rows.columns]
    rows = rows.with_columns(pl.lit("").alias(name) for name in PARTS if name not in present)
    date = dates.parse(pl.col(DATETIME), DATES)
    year, month, day = (whole(pl.col(name)) for name in ("birth_year", "birth_month", "birth_day"))
    same_year = (year == "") | (year == date.dt.year().cast(pl.String))
    no_more = (month == "") & (date.dt.month() == 1) & (date.dt.day() == 1)
    finer = same_year & ~no_more & date.is_not_null()
    same_month = finer & ((month == "") | (month.str.zfill(2) == date.dt.to_string("%m")))
    filled = rows.with_columns(
        birth_year=pl.when((year == "") & date.is_not_null()).then(date.dt.to_string("%Y")).otherwise("birth_year"),
        birth_month=pl.when(finer & (month == "")).then(date.dt.to_string("%m")).otherwise("birth_month"),
        birth_day=pl.when(same_month & (day == "")).then(date.dt.to_string("%d")).otherwise("birth_day"),
    )
    return filled, pl.DataFrame(schema={"line": rows.schema["line"], "reason": pl.String})


def files_of(table: str) -> str:
    """Return globs for the files of a table, in upper or lower case. Spark and BigQuery write folders of parts."""
    shapes = []
    for ending, files in ((".csv", "*.csv*"), (".parquet", "*.parquet")):
        own = f"{table}{ending}*" if ending == ".csv" else f"{table}{ending}"
        shapes += [own, f"{table}_[0-9]*{files[1:]}", f"{table}/**/{files}", f"{table}{ending}/**/{files}"]
    return "|".join(shapes)
