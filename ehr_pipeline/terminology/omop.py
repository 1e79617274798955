"""Read the vocabulary tables of OMOP (OHDSI Athena), which give the meanings of concept ids.

The tables are streamed, and only rows for ids that occur are kept. A non-standard concept is replaced by the concept that it 'Maps
to'. If there are several 'Maps to' targets, SNOMED concepts come first, then the lowest concept id; the others are listed as
runners-up. A drug is replaced by its ingredients, all of them, if CONCEPT_ANCESTOR has any.
"""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ehr_pipeline.errors import InputError
from ehr_pipeline.store.file_listing import refuse_special, walk
from ehr_pipeline.terminology.reading import label, reading

CODE_SYSTEM = "omop"
SETTING = "events.omop_vocabulary"
TABLES = {
    "concept": (
        "concept_id", "concept_name", "domain_id", "vocabulary_id", "concept_class_id", "standard_concept", "concept_code",
    ),
    "concept_relationship": ("concept_id_1", "concept_id_2", "relationship_id", "invalid_reason"),
    "concept_ancestor": ("ancestor_concept_id", "descendant_concept_id"),
}  # fmt: skip
SNOMED = "SNOMED"


def files(folder: Path) -> dict[str, Path]:
    """Return the paths of the vocabulary tables in a folder. Their names may be in upper or lower case.

    Raises InputError when CONCEPT is missing, for a link that leads nowhere, and for special files.
    """
    paths = {}
    tables = {table: [f"{table}{ending}" for ending in (".csv", ".csv.gz", ".parquet")] for table in TABLES}
    tree = walk(folder, deep=False)
    refuse_special(tree)
    tree.refuse_dangling(lambda name: any("/".join(name).lower() in names for names in tables.values()))
    for table, names in tables.items():
        present = sorted(
            (path for path in tree.files if path.name.lower() in names), key=lambda path: names.index(path.name.lower())
        )
        if present:
            paths[table] = present[0]
    if "concept" not in paths:
        raise InputError(
            f"{label(folder, SETTING)}: no CONCEPT.csv, CONCEPT.csv.gz or CONCEPT.parquet. Download the vocabularies from"
            " Athena (athena.ohdsi.org), or export the table from the database."
        )
    return paths


def check_columns(folder: Path) -> None:
    """Raise InputError unless the tables have the columns they should have."""
    for table, path in files(folder).items():
        _scan(path, table)


def translate(folder: Path, ids: pl.Series) -> pl.DataFrame:
    """Look up distinct concept ids (texts). Columns: id, system (vocabulary), code, name, runners_up (concept ids).

    A drug with several ingredients has a row for each, in order of their ids. Unknown ids have no row. Raises InputError for a
    file that cannot be used.
    """
    paths = files(folder)
    wanted = ids.cast(pl.Int64, strict=False).drop_nulls().unique()
    targets = _maps_to(paths.get("concept_relationship"), wanted)
    ids_to_read = pl.concat([wanted.alias("target"), targets["target"]]).unique()
    concepts = _concepts(paths["concept"], ids_to_read)
    table = pl.DataFrame({"id": wanted}).join(concepts, left_on="id", right_on="concept_id", how="inner")
    non_standard = table.filter(pl.col("standard_concept") != "S").select("id")
    chosen = pl.concat(
        [table.filter(pl.col("standard_concept") == "S").select("id", target="id"), targets.join(non_standard, on="id")]
    )
    chosen = chosen.join(
        concepts.select("concept_id", "vocabulary_id"), left_on="target", right_on="concept_id", how="inner"
    )
    chosen = _first(chosen)
    rest = table.join(chosen, on="id", how="anti").select("id", target="id", runners_up=pl.lit(""))
    chosen = _ingredients(paths.get("concept_ancestor"), pl.concat([chosen, rest]), concepts)
    result = chosen.join(concepts, left_on="target", right_on="concept_id", how="left")
    return (
        result.select(
            pl.col("id").cast(pl.String),
            system="vocabulary_id",
            code="concept_code",
            name="concept_name",
            runners_up="runners_up",
            target="target",
        )
        .sort("id", "target")
        .drop("target")
    )


def search(folder: Path, words: Sequence[str]) -> pl.DataFrame:
    """Return the standard concepts whose name contains all words (in lower case). Columns: system, code, name.

    If the vocabulary has CONCEPT_ANCESTOR, drugs are mapped to their ingredients, so the only drugs listed are ingredients.
    """
    paths = files(folder)
    name = pl.col("concept_name").str.to_lowercase()
    matches = pl.all_horizontal(name.str.contains(word, literal=True) for word in words)
    drugs = pl.lit("concept_ancestor" in paths) & (pl.col("domain_id") == "Drug")
    rows = _scan(paths["concept"], "concept").filter(
        pl.col("standard_concept") == "S", matches, ~drugs | (pl.col("concept_class_id") == "Ingredient")
    )
    with reading(paths["concept"], SETTING):
        return rows.select(system="vocabulary_id", code="concept_code", name="concept_name").collect(engine="streaming")


def _first(targets: pl.DataFrame) -> pl.DataFrame:
    """Return one target for each id (SNOMED first, then the lowest concept id), with the other targets as runners-up."""
    ordered = targets.sort("id", pl.col("vocabulary_id") != SNOMED, "target")
    return ordered.group_by("id", maintain_order=True).agg(
        pl.col("target").first(), runners_up=pl.col("target").slice(1).cast(pl.String).str.join(" ")
    )


def _maps_to(path: Path | None, wanted: pl.Series) -> pl.DataFrame:
    """Return the 'Maps to' targets of concepts (id, target), by valid relationships only."""
    if path is None:
        return pl.DataFrame(schema={"id": pl.Int64, "target": pl.Int64})
    first = _number("concept_id_1")
    rows = _scan(path, "concept_relationship").filter(
        pl.col("relationship_id") == "Maps to",
        pl.col("invalid_reason").fill_null("") == "",
        first.is_in(wanted.implode()),
    )
    with reading(path, SETTING):
        return rows.select(id=first, target=_number("concept_id_2")).unique().collect(engine="streaming")


def _concepts(path: Path, wanted: pl.Series) -> pl.DataFrame:
    """Return the wanted concepts, and every standard ingredient."""
    number = _number("concept_id")
    ingredient = (pl.col("concept_class_id") == "Ingredient") & (pl.col("standard_concept") == "S")
    rows = _scan(path, "concept").filter(number.is_in(wanted.implode()) | ingredient)
    rows = rows.with_columns(number, pl.col("standard_concept").fill_null("")).unique("concept_id")
    with reading(path, SETTING):
        return rows.collect(engine="streaming")


def _ingredients(path: Path | None, chosen: pl.DataFrame, concepts: pl.DataFrame) -> pl.DataFrame:
    """Replace drugs by their ingredients, and leave other targets unchanged."""
    if path is None:
        return chosen
    drugs = concepts.filter(pl.col("domain_id") == "Drug")
    ingredients = drugs.filter(pl.col("concept_class_id") == "Ingredient")["concept_id"]
    wanted = chosen.join(drugs, left_on="target", right_on="concept_id", how="semi")["target"].unique()
    wanted = wanted.filter(~wanted.is_in(ingredients.implode()))
    ancestor, descendant = _number("ancestor_concept_id"), _number("descendant_concept_id")
    rows = _scan(path, "concept_ancestor").filter(
        descendant.is_in(wanted.implode()), ancestor.is_in(ingredients.implode())
    )
    with reading(path, SETTING):
        pairs = rows.select(drug=descendant, ingredient=ancestor).unique().collect(engine="streaming")
    joined = chosen.join(pairs, left_on="target", right_on="drug", how="left")
    return joined.select("id", "runners_up", target=pl.coalesce("ingredient", "target"))


def _number(name: str) -> pl.Expr:
    """Return a column of concept ids as integers. Some exports write '4112343.0'; float64 is exact for ids of this size."""
    return pl.col(name).cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)


def _scan(path: Path, table: str) -> pl.LazyFrame:
    """Return a lazy vocabulary table of strings, with column names in lower case. Raises InputError for missing columns.

    Athena's files are tab-separated and unquoted; database exports are comma-separated and quoted.
    """
    try:
        if path.suffix == ".parquet":
            frame = pl.scan_parquet(path, glob=False)
        else:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
                tabs = b"\t" in stream.readline()
            frame = pl.scan_csv(
                path, separator="\t" if tabs else ",", quote_char=None if tabs else '"', infer_schema=False, glob=False
            )
        names = frame.collect_schema().names()
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{label(path, SETTING)}: this vocabulary table cannot be read ({type(error).__name__}: {str(error).splitlines()[0]})."
        ) from None
    columns = {name.lower(): name for name in names}
    missing = [name for name in TABLES[table] if name not in columns]
    if missing:
        raise InputError(
            f"{label(path, SETTING)}, line 1: no column {', '.join(missing)}. The header has: {', '.join(names[:30])}."
        )
    return frame.select(pl.col(columns[name]).cast(pl.String).alias(name) for name in TABLES[table])
