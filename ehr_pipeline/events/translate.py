"""Codes of other systems to SNOMED: by the user's dictionaries, OMOP's vocabulary, or not at all, and then by their own name."""

from pathlib import Path

import polars as pl

from ehr_pipeline.errors import InputError
from ehr_pipeline.events.settings import CodeDictionary, EventsSettings
from ehr_pipeline.terminology import omop
from ehr_pipeline.terminology.reading import named, why


def translated_systems(settings: EventsSettings) -> frozenset[str]:
    """The code systems that the study has a table for."""
    omops = [omop.CODE_SYSTEM] if settings.omop_vocabulary else []
    return frozenset([*settings.dictionaries, *omops])


def to_snomed(codes: pl.Series, settings: EventsSettings) -> pl.DataFrame:
    """Distinct codes, sorted, with what their system says.

    Returns code (as recorded), snomed (the same, or by its dictionary; empty when it has none), system (of a code for which there
    is no table: null otherwise), token (the name, as a concept of its own, of a code that was not translated to SNOMED), label (its
    name) and also (what else it may be).
    """
    table = pl.DataFrame({"code": codes.cast(pl.String).sort()})
    system = pl.col("code").str.extract(r"^([^:]+):")
    nothing = pl.lit(None, pl.String)
    own = system.is_not_null() & ~system.is_in([*settings.dictionaries, omop.CODE_SYSTEM])
    table = table.with_columns(
        snomed=pl.when(system.is_null()).then("code").otherwise(pl.lit("")),
        system=pl.when(own).then(system),
        token=nothing,
        label=nothing,
        also=pl.lit(""),
    )
    for name in settings.dictionaries:
        translations = _chain(name, settings).select(
            pl.format("{}:{}", pl.lit(name), "code").alias("code"), found="snomed"
        )
        table = table.join(translations, on="code", how="left", maintain_order="left")
        table = table.with_columns(snomed=pl.coalesce("found", "snomed")).drop("found")
    if settings.omop_vocabulary and omop.CODE_SYSTEM not in settings.dictionaries:
        table = _with_concepts(table, Path(settings.omop_vocabulary))
    untranslated = system.is_not_null() & (pl.col("snomed") == "")
    return table.with_columns(token=pl.when(untranslated).then(pl.coalesce("token", "code")))


def _chain(name: str, settings: EventsSettings) -> pl.DataFrame:
    """A dictionary (code, snomed) with what follows it: what the next one does not have stays as it is."""
    dictionary = settings.dictionaries[name]
    table = read_dictionary(dictionary, place(name))
    while dictionary.then:
        name, dictionary = dictionary.then, settings.dictionaries[dictionary.then]
        following = read_dictionary(dictionary, place(name)).rename({"code": "snomed", "snomed": "next"})
        table = table.join(following, on="snomed", how="left", maintain_order="left")
        table = table.select("code", snomed=pl.coalesce("next", "snomed"))
    return table


def _with_concepts(table: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """OMOP's concept ids by its vocabulary: SNOMED codes, and codes of other systems as tokens of their own."""
    prefix = f"{omop.CODE_SYSTEM}:"
    ids = table.filter(pl.col("code").str.starts_with(prefix))["code"].str.strip_prefix(prefix)
    is_snomed = pl.col("own_system") == omop.SNOMED
    name = pl.col("own_system").str.replace_all(r"[\s:]+", "_")
    others = pl.col("runners_up").str.split(" ").list.eval(pl.lit(prefix) + pl.element().filter(pl.element() != ""))
    concepts = omop.translate(folder, ids).select(
        pl.format("{}{}", pl.lit(prefix), "id").alias("code"),
        own_code=pl.col("code"),
        own_system=pl.col("system"),
        own_label=pl.col("name"),
        own_also=others.list.join(" "),
    )
    table = table.join(concepts, on="code", how="left", maintain_order="left")
    found = pl.col("own_system").is_not_null()
    return table.select(
        "code",
        snomed=pl.when(found & is_snomed).then("own_code").otherwise("snomed"),
        system=pl.when(found & ~is_snomed).then(name).otherwise("system"),
        token=pl.when(found & ~is_snomed).then(pl.concat_str([name, "own_code"], separator=":")).otherwise("token"),
        label=pl.when(found).then("own_label").otherwise("label"),
        also=pl.when(found).then("own_also").otherwise("also"),
    )


def place(name: str, table: str = "dictionaries") -> str:
    """The setting that names the file of a dictionary."""
    return f"events.{table}.{name}.file"


def read_dictionary(dictionary: CodeDictionary, where: str) -> pl.DataFrame:
    """A table from local codes to SNOMED (code, snomed), one row for each code: the lowest SNOMED code where it has several.

    `where` is the setting that names the file. Raises InputError for a file that cannot be used.
    """
    try:
        frame = pl.read_csv(
            dictionary.file,
            separator=dictionary.delimiter,
            infer_schema=False,
            encoding=dictionary.encoding,
            quote_char='"',
            glob=False,
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{named(dictionary.file, where)}: this dictionary cannot be read ({why(error)}).") from None
    missing = [name for name in (dictionary.code_column, dictionary.snomed_column) if name not in frame.columns]
    if missing:
        raise InputError(
            f"{named(dictionary.file, where)}, line 1: no column {', '.join(missing)}."
            f" The header has: {', '.join(frame.columns[:30])}."
        )
    pairs = frame.select(
        code=pl.col(dictionary.code_column).str.strip_chars(), snomed=pl.col(dictionary.snomed_column).str.strip_chars()
    )
    return (
        pairs.drop_nulls()
        .filter(pl.col("code") != "", pl.col("snomed") != "")
        .sort("code", "snomed")
        .unique("code", keep="first", maintain_order=True)
    )
