"""MEDS 0.4 (Medical Event Data Standard): Parquet with one row per measurement: subject, time, code.

A row is an event, or it describes the patient: the birth, the death, and codes with the prefixes given in the options,
such as 'GENDER//F', which need no time. Any other row without a time is rejected as `no_time`.
"""

from functools import partial

import polars as pl

from ehr_pipeline.records.kinds import EventKind, Kinds, Messages, PatientKind
from ehr_pipeline.records.layouts import EventColumns, EventFiles, PatientColumns, PatientFiles
from ehr_pipeline.records.sources import meds_codes, omop
from ehr_pipeline.typed_settings import option, settings

WHERE = "records.meds"
COLUMNS = {"patient": "subject_id", "date": "time", "code": "code"}
# What may follow a SNOMED id without changing its meaning: a fraction of zeros, and the bin of a value as MEDS-transforms has it.
AFTER_ID = r"(?:\.0+)?(?://(?:_Q_[0-9]+|value_[\[(].*))?$"
ID = rf"^([0-9]{{6,18}}){AFTER_ID}"
MODIFIED, MODIFIED_SYSTEM = r"^([0-9]{6,18})(?:\.0+)?([/|:^].+)$", "SNOMED"
# The names of SNOMED CT in FHIR, the UMLS, OMOP and local exports, followed by the separator and the id.
USUAL = (
    r"(?i)^(?:snomed(?:[-_ ]?ct)?(?:[-_](?:us|uk|core|int|intl|international))?|sct(?:id)?|http://snomed\.info/(?:sct|id))"
    r"(?://?|:|\||\^)(.*)$"
)
# A code that already names its system, as in 'ICD10CM:E11.9'.
NAMED = r"^[A-Za-z][A-Za-z0-9_.-]{0,39}:[^\s/:]+$"


@settings
class Meds:
    """MEDS 0.4. A code names its system before '//' or '/'. SNOMED codes are mapped; others keep their system's name, as in
    'LOINC:8331-1'."""

    data: str = option("Glob of the data files: Parquet or, if it contains '.csv', CSV.", "data/**/*.parquet")
    snomed_prefixes: tuple[str, ...] = option(
        "Prefixes of SNOMED codes, in addition to the usual names of SNOMED CT (SNOMED, SNOMEDCT, SNOMEDCT_US, SCT, …).",
        ("SNOMED//", "SNOMED/", "SNOMEDCT//"),
    )
    birth_codes: tuple[str, ...] = option("Codes of a birth, or their beginning before '//'.", ("MEDS_BIRTH",))
    death_codes: tuple[str, ...] = option("Codes of a death, which ends observation.", ("MEDS_DEATH",))
    sex_prefixes: tuple[str, ...] = option(
        "Prefixes of codes that give the sex, such as 'SEX_AT_BIRTH//': M, F, male, female or OMOP's concepts.",
        ("GENDER//", "SEX//"),
    )
    sex_values: dict[str, str] = option(
        "Meanings of further values after these prefixes, such as {weiblich = 'F', männlich = 'M'}.", {}, later=True
    )
    attributes: dict[str, str] = option(
        "Attributes that codes give: name in the patient data set = prefix before the value.",
        {"race": "RACE//", "ethnicity": "ETHNICITY//"},
    )
    splits: str = option(
        "Name of the attribute in which to keep the split of metadata/subject_splits.parquet; empty: it is not kept.",
        "",
    )

    def kinds(self) -> Kinds:
        """Return the kinds of files of an extract."""
        columns, csv = EventColumns(patient="subject_id", date="time", code="code"), ".csv" in self.data.lower()
        mark, quote = (",", '"') if csv else ("\t", "")
        files = EventFiles(
            files=self.data, delimiter=mark, quote=quote, columns=columns, code_system="", date_formats=("iso",)
        )
        events = EventKind(where=f"{WHERE}.data", files=files, adapt=partial(_events, self))
        told = PatientFiles(
            files=self.data,
            delimiter=mark,
            quote=quote,
            columns=PatientColumns(patient="patient", birth_date="birth_date", sex="sex", death="death"),
            sex_values=omop.SEX | self.sex_values,
            attributes={name: name for name in self.attributes},
            date_formats=("iso",),
        )
        people = [
            PatientKind(
                where=f"{WHERE}.data",
                files=told,
                adapt=partial(_patients, self),
                partial=True,
                births=_births(self.birth_codes),
                columns=COLUMNS,
                describe=partial(_messages, self),
            )
        ]
        if self.splits:
            split = PatientFiles(
                files="metadata/subject_splits.parquet",
                columns=PatientColumns(patient="subject_id"),
                attributes={self.splits: "split"},
            )
            people.append(PatientKind(where=f"{WHERE}.splits", files=split, partial=True))
        return Kinds((events,), tuple(people))


def _roles(options: Meds, code: pl.Expr) -> dict[str, pl.Expr]:
    """Return, for each fact about the patient, an expression for the codes that give it."""

    def is_code(names: tuple[str, ...]) -> pl.Expr:
        return pl.any_horizontal(
            [(code == name) | code.str.starts_with(f"{name}//") for name in names] or [pl.lit(False)]
        )

    def begins(prefixes: tuple[str, ...]) -> pl.Expr:
        return pl.any_horizontal([code.str.starts_with(prefix) for prefix in prefixes] or [pl.lit(False)])

    return {
        "birth_date": is_code(options.birth_codes),
        "death": is_code(options.death_codes),
        "sex": begins(options.sex_prefixes),
        **{f"attribute:{name}": begins((prefix,)) for name, prefix in options.attributes.items()},
    }


def _by_code(options: Meds, rows: pl.DataFrame) -> pl.DataFrame:
    """Add `role` to rows: the fact about the patient that the code gives, or null. Each distinct code is examined once."""
    codes = rows.select(pl.col("code").unique(maintain_order=True))
    roles = _roles(options, pl.col("code"))
    role = pl.coalesce([pl.when(is_it).then(pl.lit(name)) for name, is_it in roles.items()])
    table = codes.with_columns(role=role, event_code=event_code(options)).with_columns(told=_after_prefix(options))
    return rows.join(table, on="code", how="left", maintain_order="left")


def _after_prefix(options: Meds) -> pl.Expr:
    """Return the part of a code that follows the prefix of a sex or of an attribute."""
    prefixes = {"sex": options.sex_prefixes} | {f"attribute:{name}": (one,) for name, one in options.attributes.items()}
    code = pl.col("code")
    told = [
        pl.when((pl.col("role") == role) & code.str.starts_with(prefix)).then(code.str.strip_prefix(prefix))
        for role, own in prefixes.items()
        for prefix in sorted(own, key=len, reverse=True)
    ]
    return pl.coalesce([*told, code]).str.strip_chars_start("/")


def _messages(options: Meds, rows: pl.DataFrame, below: int) -> Messages:
    """Return messages about codes in the first rows of a file that may describe the subject but are not read in this way.

    Codes that fewer than `below` subjects have are not shown.
    """
    read = _by_code(options, rows.filter(pl.col("patient") != ""))
    warnings, facts = [], []
    others = read.filter(pl.col("role").is_null())
    common = others.group_by("code").agg(pl.col("patient").n_unique(), timeless=(pl.col("date") == "").any())
    found = meds_codes.proposed(common["code"], common.filter("timeless")["code"])
    holders = {
        prefix: others.filter(pl.col("code").str.starts_with(prefix))["patient"].n_unique()
        for prefix in (*found.sex_prefixes, *found.attributes.values())
    }
    sexes = [prefix for prefix in found.sex_prefixes if holders[prefix] >= below]
    if sexes and not (read["role"] == "sex").any():
        listed = ", ".join(f'"{prefix}"' for prefix in (*options.sex_prefixes, *sexes))
        warnings.append(
            f"codes that begin with {', '.join(sexes)} seem to give the sex: set {WHERE}.sex_prefixes = [{listed}]."
        )
    known = {name: prefix for name, prefix in found.attributes.items() if holders[prefix] >= below}
    if known:
        listed = ", ".join(f'{name} = "{prefix}"' for name, prefix in known.items())
        facts.append(
            f"some codes that describe the subject are not read: to keep them, add to {WHERE}.attributes {{ {listed} }}."
        )
    return tuple(warnings), tuple(facts)


def _births(codes: tuple[str, ...]) -> str:
    """Return a sentence on the setting for the rows that give births."""
    return (
        f"{WHERE}.birth_codes is {', '.join(codes) or 'empty'}. Add the code of a birth; if each subject's first"
        " row is the birth under a SNOMED code, as in older exports, this is 'SNOMED/3950001'."
    )


def _snomed_id(text: pl.Expr) -> pl.Expr:
    """Return the SNOMED id, without a fraction of zeros and without the bin of a value; null if the text does not begin with an id.

    An id with another modifier is a separate code, since a modifier may change the meaning: 'SNOMED:22298006//NEGATED'.
    """
    parts = [text.str.extract(MODIFIED, number).str.replace_all(r"\s+", "_") for number in (1, 2)]
    return pl.coalesce(text.str.extract(ID), pl.lit(f"{MODIFIED_SYSTEM}:") + parts[0] + parts[1])


def event_code(options: Meds) -> pl.Expr:
    """Return SNOMED codes as they are, and others as 'SYSTEM:code'. The system ends at '//', '/' or ':'; without one it is
    'meds'."""
    code = pl.col("code")
    snomed: list[pl.Expr] = [
        pl.when(code.str.starts_with(prefix)).then(pl.coalesce(_snomed_id(own), own))
        for prefix in sorted(options.snomed_prefixes, key=len, reverse=True)
        for own in (code.str.strip_prefix(prefix),)
    ]
    snomed.append(_snomed_id(code.str.extract(USUAL)))
    parts = code.str.extract_groups(r"^([^/\s:]{1,40})//?(.*)$").struct
    value = pl.coalesce(parts.field("2"), code).str.replace_all(r"\s+", "_")
    local = pl.coalesce(parts.field("1"), pl.lit("meds")) + ":" + value
    local = pl.when(code.str.contains(NAMED)).then(code).otherwise(local)
    return pl.coalesce([*snomed, pl.when(code != "").then(local).otherwise(pl.lit(""))])


def _events(options: Meds, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return rows of events (line, patient, date, code), and rejected rows: those that have no time and do not describe the
    patient."""
    others = _by_code(options, rows).filter(pl.col("role").is_null())
    timed = others.filter(pl.col("date") != "")
    timeless = others.filter(pl.col("date") == "").select("line", reason=pl.lit("no_time"))
    return timed.select("line", "patient", "date", code="event_code"), timeless


def _patients(options: Meds, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return rows about patients, each with one known fact; births and deaths without a time are rejected."""
    told = _by_code(options, rows).filter(pl.col("role").is_not_null())
    dated = pl.col("role").is_in(["birth_date", "death"])
    timeless = told.filter(dated & (pl.col("date") == "")).select("line", reason=pl.lit("no_time"))
    told = told.filter(~dated | (pl.col("date") != ""))
    value = pl.when(dated).then("date").otherwise("told")
    names = list(_roles(options, pl.col("code")))
    known = [pl.when(pl.col("role") == name).then(value).otherwise(pl.lit("")).alias(name) for name in names]
    return told.select("line", "patient", *known), timeless
