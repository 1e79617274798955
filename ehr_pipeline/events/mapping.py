"""From distinct codes to concepts: one table that a clinician can review, one concept for each code.

The steps, of which the first that succeeds maps a code: `current` and `obsolete`, atoms of MRCONSO by their SUPPRESS; `kept`,
the code as a concept of its own, where the settings say so. Otherwise the code is lost, and its `namespace` says why.
"""

import polars as pl

from ehr_pipeline.errors import InputError
from ehr_pipeline.events.settings import CodeDictionary, EventsSettings
from ehr_pipeline.terminology import snomed

STEP_OF_SUPPRESS = {"N": "current", "O": "obsolete", "E": "suppressed_by_editor", "Y": "suppressed_by_default"}


def map_codes(codes: pl.Series, atoms: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame:
    """Map distinct codes, sorted.

    `atoms` comes from `terminology.rrf.snomed_atoms`, best atom of a code first. Returns columns code (as recorded), snomed,
    kind, namespace, concept (null when lost), name, step (null when lost) and runners_up (other CUIs of the code).
    """
    table = _to_snomed(codes, settings)
    kinds = snomed.classify(table["snomed"]).rename({"code": "snomed"})
    table = table.with_columns(kinds["kind"], kinds["namespace"])
    table = table.with_columns(
        namespace=pl.when(pl.col("snomed") == "").then(pl.lit("not_in_dictionary")).otherwise("namespace"),
    )
    table = table.join(_best_atoms(atoms), on="snomed", how="left", maintain_order="left")
    # A wrong check digit means a mistyped code: an atom that happens to carry it is not what was meant.
    trusted = pl.col("kind") == "concept"
    table = table.with_columns(
        pl.when(trusted).then(pl.col(name)).alias(name) for name in ("concept", "name", "step", "runners_up")
    )
    if settings.unmapped == "keep":
        kept = trusted & pl.col("concept").is_null()
        table = table.with_columns(
            concept=pl.when(kept).then(pl.lit("SCT:") + pl.col("snomed")).otherwise("concept"),
            step=pl.when(kept).then(pl.lit("kept")).otherwise("step"),
        )
    return table


def _best_atoms(atoms: pl.DataFrame) -> pl.DataFrame:
    """One row for each code: its concept, the name of the atom, the step, and the concepts that were not chosen."""
    others = pl.col("cui").filter(pl.col("cui") != pl.col("cui").first()).unique().sort().str.join(" ")
    return (
        atoms.group_by("code", maintain_order=True)
        .agg(
            concept=pl.col("cui").first(),
            name=pl.col("name").first(),
            suppress=pl.col("suppress").first(),
            runners_up=others,
        )
        .with_columns(step=pl.col("suppress").replace_strict(STEP_OF_SUPPRESS, default=pl.col("suppress")))
        .select(pl.col("code").alias("snomed"), "concept", "name", "step", "runners_up")
    )


def _to_snomed(codes: pl.Series, settings: EventsSettings) -> pl.DataFrame:
    """Codes as recorded with their SNOMED code: the same, or what the dictionary of their system says ('' when nothing)."""
    table = pl.DataFrame({"code": codes.cast(pl.String).sort()})
    table = table.with_columns(snomed=pl.col("code"))
    for system, dictionary in settings.dictionaries.items():
        prefix = system + ":"
        translations = read_dictionary(dictionary).with_columns(code=pl.lit(prefix) + pl.col("code"))
        table = table.join(
            translations, on="code", how="left", maintain_order="left", suffix="_translated"
        ).with_columns(
            snomed=pl.when(pl.col("code").str.starts_with(prefix))
            .then(pl.col("snomed_translated").fill_null(""))
            .otherwise("snomed")
        )
        table = table.select("code", "snomed")
    return table


def read_dictionary(dictionary: CodeDictionary) -> pl.DataFrame:
    """A table from local codes to SNOMED (code, snomed), one row for each code: the lowest SNOMED code where it has several."""
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
        raise InputError(
            f"{dictionary.file}: this dictionary cannot be read ({type(error).__name__}: {str(error).splitlines()[0]})."
        ) from None
    missing = [name for name in (dictionary.code_column, dictionary.snomed_column) if name not in frame.columns]
    if missing:
        raise InputError(
            f"{dictionary.file}, line 1: no column {', '.join(missing)}. The header has: {', '.join(frame.columns[:30])}."
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
