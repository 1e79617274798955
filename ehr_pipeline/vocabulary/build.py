"""Build `vocabulary`: the concepts kept, their token ids, and why the others were dropped.

The artifact holds `vocabulary.csv` (token_id, concept, name, semantic_types, untyped, events, appearances, patients),
`dropped.csv` (the same columns without the token id, plus the reason), and `hash.txt`, the hash of the concepts in order of
token id; every checkpoint holds a copy of this hash.

Token ids are only ever appended. If an earlier vocabulary is given, its concepts keep their ids even when their counts have
changed; new concepts follow, the most frequent first.
"""

from pathlib import Path

import polars as pl

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.errors import InputError
from ehr_pipeline.events.counts import sum_buckets
from ehr_pipeline.events.resolve_lists import Rows, facts
from ehr_pipeline.events.resolve_lists import concepts as concepts_of
from ehr_pipeline.store.artifacts import Counts, hash_of
from ehr_pipeline.tables import schemas
from ehr_pipeline.terminology import rrf, snomed
from ehr_pipeline.vocabulary.filters import FILTERS
from ehr_pipeline.vocabulary.settings import VocabularySettings
from ehr_pipeline.vocabulary.table import DROPPED, FILE, FIRST_CONCEPT, HASH

TABLE = pl.DataFrame(schemas.VOCABULARY.empty_table()).schema

NOT_LEARNED_FROM = "not_learned_from"
"""The reason to drop events of concepts that only held-out patients have."""

# Characters to remove from a name before it reaches a page, picture or terminal: see `errors.invisible_character`.
INVISIBLE = r"[\p{Cc}\p{Zl}\p{Zp}\x{202a}-\x{202e}\x{2066}-\x{2069}]+"


def build(
    buckets: list[Path],
    mapping: pl.DataFrame,
    settings: VocabularySettings,
    out: Path,
    earlier: Path | None = None,
    *,
    administrative: Rows = (),
    learned: list[Path] | None = None,
) -> Counts:
    """Filter the concepts of the mapped events and write the result to `out`. Returns concepts and events kept and dropped.

    `buckets` and `mapping` are the concept counts and the mapping table of `mapped_events`; `earlier` is the folder of the
    vocabulary to append to; `administrative` is the list of administrative concepts. `learned` holds the concept counts of the
    patients that the model learns from, if these are not all patients: concepts are chosen by these counts alone. Events kept
    and dropped are counted for all patients. Raises InputError when no concept is left.
    """
    everybody = sum_buckets(buckets, "concept")
    concepts = everybody if learned is None else sum_buckets(learned, "concept")
    concepts = _with_names_and_types(concepts, mapping, _types(concepts["concept"], settings.mrsty))
    before = _earlier(earlier)
    concepts = _with_absent(concepts, before)
    known = before["concept"].to_list()
    listed = concepts_of(administrative)
    reasons = [pl.when(test(settings, listed)).then(pl.lit(name)) for name, test in FILTERS.items()]
    judged = concepts.join(before.select("concept", "token_id"), on="concept", how="left").with_columns(
        reason=pl.when(pl.col("concept").is_in(known)).then(None).otherwise(pl.coalesce(reasons))
    )
    kept = (
        judged.filter(pl.col("reason").is_null())
        .drop("reason")
        .sort("token_id", "appearances", "concept", descending=[False, True, False], nulls_last=True)
        .drop("token_id")
    )
    judged = judged.drop("token_id")
    dropped = judged.filter(pl.col("reason").is_not_null()).sort("appearances", "concept", descending=[True, False])
    if kept.is_empty():
        raise InputError(
            f"No concept is left of {concepts.height:,}. Dropped by reason: {_by_reason(dropped)}."
            " Lower vocabulary.min_appearances, or drop fewer semantic types and groups."
        )
    kept = kept.select(
        pl.int_range(FIRST_CONCEPT, FIRST_CONCEPT + pl.len(), dtype=pl.Int64).alias("token_id"), pl.all()
    )
    spreadsheet.table(kept).write_csv(out / FILE)
    spreadsheet.table(dropped).write_csv(out / DROPPED)
    (out / HASH).write_text(hash_of(kept["concept"].to_list()) + "\n", encoding="ascii")
    by_reason = dropped.group_by("reason").agg(concepts=pl.len(), events=pl.col("events").sum())
    counted = {row["reason"]: row for row in by_reason.iter_rows(named=True)}
    events = _events(kept, dropped, everybody)
    return {
        "rows_in": concepts.height,
        "kept": kept.height,
        "dropped": {name: counted[name]["concepts"] for name in FILTERS if name in counted},
        "events": events,
        "untyped": int(kept["untyped"].sum()),
        "appended": kept.height - len(known) if known else 0,
        **({"lists": {"administrative_concepts": facts(administrative)}} if administrative else {}),
        "kept_though_rarer": int((kept.head(len(known))["appearances"] < settings.min_appearances).sum()),
    }


def _events(kept: pl.DataFrame, dropped: pl.DataFrame, everybody: pl.DataFrame) -> Counts:
    """Count the events of all patients: those kept, and those dropped, by the reason of their concept.

    NOT_LEARNED_FROM is the reason if no patient that the model learns from has the concept.
    """
    fate = pl.concat([kept.select("concept", reason=pl.lit("")), dropped.select("concept", "reason")])
    judged = everybody.join(fate, on="concept", how="left").with_columns(pl.col("reason").fill_null(NOT_LEARNED_FROM))
    summed_up = dict(judged.group_by("reason").agg(pl.col("events").sum()).iter_rows())
    return {
        "rows_in": int(everybody["events"].sum()),
        "kept": int(summed_up.get("", 0)),
        "dropped": {name: int(summed_up[name]) for name in (*FILTERS, NOT_LEARNED_FROM) if name in summed_up},
    }


def _by_reason(dropped: pl.DataFrame) -> str:
    """Return the number of dropped concepts by reason, as text: 'rare 12, administrative 3'."""
    counted = dropped["reason"].value_counts(sort=True)
    return ", ".join(f"{reason} {number:,}" for reason, number in counted.iter_rows())


def _earlier(folder: Path | None) -> pl.DataFrame:
    """Return the table of the vocabulary to append to; may be empty."""
    if folder is None:
        return pl.DataFrame(schema=TABLE)
    table = spreadsheet.plain_table(pl.read_csv(folder / FILE, schema=TABLE))
    return table.with_columns(pl.col("semantic_types").fill_null(""))


def _with_absent(concepts: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Add the concepts of the earlier vocabulary that no longer occur, with counts of zero."""
    absent = before.drop("token_id").join(concepts, on="concept", how="anti")
    zero = [pl.lit(0, concepts.schema[name]).alias(name) for name in ("events", "appearances", "patients")]
    return pl.concat([concepts, absent.with_columns(zero).select(concepts.columns).cast(concepts.schema)])


def _types(concepts: pl.Series, mrsty: str) -> pl.DataFrame:
    """Read the semantic types (cui, tui) in the UMLS file `mrsty`, if any concept is from the UMLS."""
    if not mrsty or not concepts.str.contains(r"^C[0-9]+$").any():
        return pl.DataFrame(schema={"cui": pl.String, "tui": pl.String})
    return rrf.semantic_types(Path(mrsty))


def _with_names_and_types(concepts: pl.DataFrame, mapping: pl.DataFrame, types: pl.DataFrame) -> pl.DataFrame:
    """Add each concept's name (from its most frequent code that has one) and its semantic types, separated by blanks."""
    named = mapping.filter(pl.col("concept").is_not_null()).sort("events", "code", descending=[True, False])
    names = named.group_by("concept", maintain_order=True).agg(pl.col("name").drop_nulls().first())
    joined = types.group_by(pl.col("cui").alias("concept")).agg(semantic_types=pl.col("tui").sort().str.join(" "))
    return (
        concepts.join(names, on="concept", how="left", maintain_order="left")
        .join(joined, on="concept", how="left", maintain_order="left")
        .with_columns(
            name=pl.col("name")
            .str.replace(snomed.TAGGED, "$1")
            .str.replace_all(INVISIBLE, " ")
            .fill_null(pl.col("concept")),
            semantic_types=pl.col("semantic_types").fill_null(""),
        )
        .with_columns(untyped=pl.col("semantic_types") == "")
        .select("concept", "name", "semantic_types", "untyped", "events", "appearances", "patients")
    )
