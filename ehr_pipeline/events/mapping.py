"""Map distinct codes to concepts, in one table that a clinician can review, with at most one concept for each code.

The steps form a ladder: the first step that succeeds maps a code. Overrides come first, so that they can correct all other steps.

1. `override`: the user's own table holds the code.
2. `current`, `obsolete` and two kinds of suppressed: MRCONSO has an atom for the code; its SUPPRESS decides which of the four.
3. `description`, `read`: the recorded description id or Read code is first translated to a concept id. `read_without_term`:
   a Read code whose term code is in no migration table is looked up by its five bytes.
4. `replaced`: the code is retired, and its replacement has a concept.
5. `ancestor`: the code gets the concept of its nearest ancestor that has one.
6. `kept`: the code becomes a concept of its own, SCT:<id>, or SYSTEM:<code> for systems that only an OMOP or MEDS extract
   has. Otherwise the code is lost, and its `namespace` shows why.
"""

from pathlib import Path

import polars as pl

from ehr_pipeline.events.settings import EventsSettings
from ehr_pipeline.events.translate import READ_BYTES, place, read_dictionary, tied, to_snomed
from ehr_pipeline.terminology import code_lists, rf2, rrf
from ehr_pipeline.terminology.spelling import one_spelling, spelled

STEP_OF_SUPPRESS = {"N": "current", "O": "obsolete", "E": "suppressed_by_editor", "Y": "suppressed_by_default"}
LADDER = (
    *("override", *STEP_OF_SUPPRESS.values(), "description", "read", "read_without_term"),
    *("replaced", "ancestor", "kept"),
)
LONGEST_CHAIN = 20  # of replacements; real ones have a few links
COLUMNS = ("code", "snomed", "kind", "namespace", "target", "concept", "name", "step", "distance", "runners_up")


def map_by_files(codes: pl.Series, settings: EventsSettings) -> pl.DataFrame:
    """Map distinct codes with the atoms of events.mrconso, which is read only if a code needs it: see `map_translated`."""
    translated = to_snomed(codes, settings)
    wanted = (
        {"concept"}
        | ({"description"} if settings.descriptions else set())
        | ({"read"} if settings.migrations else set())
    )
    if settings.mrconso and translated["kind"].is_in(sorted(wanted)).any():
        atoms = rrf.snomed_atoms(Path(settings.mrconso), settings.source, settings.suppress)
    else:
        atoms = pl.DataFrame(schema=rrf.ATOMS)
    return map_translated(translated, atoms, settings)


def map_translated(translated: pl.DataFrame, atoms: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame:
    """Map codes that `translate.to_snomed` has translated to SNOMED; the result is sorted by code.

    `atoms` comes from `terminology.rrf.snomed_atoms`, best atom of a code first. Returns columns code (as recorded), snomed (the
    SNOMED code, translated by the dictionary of its system, see `translate`), kind, namespace, target (the concept id that was
    looked up last), concept (null when lost), name, step (null when lost), distance (replacements or IS-A steps from the code to
    its target) and runners_up (other CUIs of the target, and ties). Raises InputError for a file that cannot be used.
    """
    table = translated.with_columns(
        namespace=pl.when(pl.col("system").is_not_null())
        .then("system")
        .when(pl.col("snomed") == "")
        .then(pl.lit("not_in_dictionary"))
        .otherwise("namespace"),
        # A wrong check digit means that the code was mistyped: if an atom happens to have this code, it is not the intended one.
        target=pl.when(pl.col("kind") == "concept").then(pl.col("snomed")),
        distance=pl.lit(0, pl.Int64),
    ).drop("system", "token", "label", "also")
    best = _best_atoms(atoms)
    table = table.join(best, left_on="target", right_on="snomed", how="left", maintain_order="left")
    table = _overridden(table, settings)
    table = _step(table, best, "description", "snomed", _descriptions(table, settings))
    migrated = _migrations(table, settings)
    for step in ("read", "read_without_term"):
        targets = migrated.filter(pl.col("step") == step).select("source", "target", "distance")
        table = _step(table, best, step, "snomed", targets if targets.height else None)
    table = _step(table, best, "replaced", "target", _replacements(table, best, settings))
    table = _step(table, best, "ancestor", "target", _ancestors(table, best, settings))
    ties = table.select("snomed").join(migrated, left_on="snomed", right_on="source", how="left", maintain_order="left")
    also = pl.Series("also", pl.select(pl.coalesce(ties["ties"], translated["also"])))
    table = table.with_columns(translated["token"], translated["label"], also)
    if settings.unmapped == "keep":
        own = pl.coalesce(pl.lit("SCT:") + pl.col("target"), "token")
        kept = own.is_not_null() & pl.col("concept").is_null()
        table = table.with_columns(
            concept=pl.when(kept).then(own).otherwise("concept"),
            name=pl.when(kept).then(pl.coalesce("name", "label")).otherwise("name"),
            step=pl.when(kept).then(pl.lit("kept")).otherwise("step"),
        )
        table = _named(table, settings)
    runners_up = pl.concat_str([pl.col("runners_up").fill_null(""), "also"], separator=" ").str.strip_chars()
    table = table.with_columns(runners_up=pl.when(pl.col("also") != "").then(runners_up).otherwise("runners_up"))
    return table.select(COLUMNS)


def _step(
    table: pl.DataFrame, best: pl.DataFrame, step: str, source: str, targets: pl.DataFrame | None
) -> pl.DataFrame:
    """Look up the codes that have no concept yet in the step's `targets` (source, target, distance).

    The step is recorded for the codes that get a concept by it.
    """
    if targets is None:
        return table
    new = (
        targets.join(best, left_on="target", right_on="snomed", how="left", maintain_order="left")
        .rename({name: f"new_{name}" for name in ("target", "distance", "concept", "name", "runners_up")})
        .drop("step")
    )
    table = table.join(new, left_on=source, right_on="source", how="left", maintain_order="left")
    open_ = pl.col("concept").is_null() & pl.col("new_target").is_not_null()
    changed = [
        pl.when(open_).then(f"new_{name}").otherwise(name).alias(name)
        for name in ("target", "distance", "concept", "name", "runners_up")
    ]
    mapped = open_ & pl.col("new_concept").is_not_null()
    return table.with_columns(*changed, step=pl.when(mapped).then(pl.lit(step)).otherwise("step")).select(COLUMNS)


def _overridden(table: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame:
    if not settings.overrides:
        return table
    listed = code_lists.read_overrides(Path(settings.overrides))
    own = pl.DataFrame(
        {
            "spelled": [spelled(row.code) for row in listed],
            "own": [spelled(row.cui) for row in listed],
            "own_name": [row.name for row in listed],
        }
    )
    own = own.unique("spelled", keep="first", maintain_order=True)
    table = table.with_columns(spelled=one_spelling(pl.col("code")))
    table = table.join(own, on="spelled", how="left", maintain_order="left")
    won = pl.col("own").is_not_null()
    return table.with_columns(
        concept=pl.when(won).then("own").otherwise("concept"),
        name=pl.when(won).then("own_name").otherwise("name"),
        step=pl.when(won).then(pl.lit("override")).otherwise("step"),
        runners_up=pl.when(won).then(pl.lit("")).otherwise("runners_up"),
    ).drop("own", "own_name", "spelled")


def _descriptions(table: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame | None:
    wanted = table.filter(pl.col("kind") == "description", pl.col("concept").is_null())["snomed"]
    if not settings.descriptions or wanted.is_empty():
        return None
    found = rf2.descriptions(settings.descriptions, wanted.unique())
    return found.unique("source", keep="first", maintain_order=True).with_columns(distance=pl.lit(0, pl.Int64))


def _named(table: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame:
    """Name codes that are kept as concepts of their own, from SNOMED's description files if the settings name any."""
    nameless = table.filter(pl.col("step") == "kept", pl.col("name").is_null())["target"].drop_nulls()
    if not settings.descriptions or nameless.is_empty():
        return table
    found = rf2.names(settings.descriptions, nameless.unique()).rename({"label": "described"})
    table = table.join(found, left_on="target", right_on="source", how="left", maintain_order="left")
    own = pl.when(pl.col("step") == "kept").then(pl.coalesce("name", "described")).otherwise("name")
    return table.with_columns(name=own).drop("described")


def _migrations(table: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame:
    """Translate Read codes by the migration tables. Columns: source, target, distance, ties (other targets), step.

    A code is looked up as it was recorded. A code without a term code, or with the term code 00, which means the same, is then
    looked up in both these forms. A code with another term code is then looked up without it.
    """
    schema = dict.fromkeys(("source", "target", "ties", "step"), pl.String) | {"distance": pl.Int64}
    if not settings.migrations:
        return pl.DataFrame(schema=schema)
    tables = [read_dictionary(table, place(name, "migrations")) for name, table in settings.migrations.items()]
    first = pl.concat(tables).unique("code", keep="first", maintain_order=True)
    codes = table.filter(pl.col("kind") == "read").select(source="snomed").unique().sort("source")
    five, term = pl.col("source").str.slice(0, READ_BYTES), pl.col("source").str.slice(READ_BYTES)
    plain = term.is_in(["", "00"])
    looks = [
        ("read", pl.lit(True), pl.col("source")),
        ("read", plain, five),
        ("read", plain, five + "00"),
        ("read_without_term", ~plain, five),
        ("read_without_term", ~plain, five + "00"),
    ]
    found = [
        codes.filter(which)
        .with_columns(code=code)
        .join(first, on="code", how="inner")
        .select("source", target="snomed", ties=tied(pl.col("others")), step=pl.lit(step), distance=pl.lit(0, pl.Int64))
        for step, which, code in looks
    ]
    return pl.concat(found).unique("source", keep="first", maintain_order=True).sort("source")


def _open_targets(table: pl.DataFrame) -> pl.Series:
    return table.filter(pl.col("concept").is_null(), pl.col("target").is_not_null())["target"].unique()


def _replacements(table: pl.DataFrame, best: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame | None:
    if not settings.associations:
        return None
    edges = rf2.associations(settings.associations, settings.association_kinds)
    return rf2.walk(_open_targets(table), edges, best["snomed"], LONGEST_CHAIN)


def _ancestors(table: pl.DataFrame, best: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame | None:
    """Return the nearest mapped ancestors. Retired concepts have no parents, so their replacements count as steps too."""
    if not settings.relationships or not settings.ancestor_depth:
        return None
    edges = [rf2.parents(settings.relationships)]
    if settings.associations:
        edges.append(rf2.associations(settings.associations, settings.association_kinds))
    return rf2.walk(_open_targets(table), pl.concat(edges), best["snomed"], settings.ancestor_depth)


def _best_atoms(atoms: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each code: its concept, the best atom's name, the step, and the concepts that were not chosen."""
    best = atoms.unique("code", keep="first", maintain_order=True)
    others = (
        atoms.select("code", "cui")
        .join(best.select("code", "cui"), on=["code", "cui"], how="anti")
        .unique()
        .sort("code", "cui")
        .group_by("code", maintain_order=True)
        .agg(runners_up=pl.col("cui").str.join(" "))
    )
    return best.join(others, on="code", how="left", maintain_order="left").select(
        snomed="code",
        concept="cui",
        name="name",
        step=pl.col("suppress").replace_strict(STEP_OF_SUPPRESS, default=pl.col("suppress")),
        runners_up=pl.col("runners_up").fill_null(""),
    )
