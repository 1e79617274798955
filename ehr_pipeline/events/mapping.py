"""Map distinct codes to concepts, in a table that a clinician can review. Only a drug with several ingredients has more than one.

The steps form a ladder: a code is mapped by the first step that succeeds. Overrides come first, so they can correct all others.

1. `override`: the code is in the user's own table.
2. `current`, `obsolete` and two kinds of suppressed: MRCONSO has an atom for the code; its SUPPRESS determines which of the four.
3. `description`, `read`: the recorded description id or Read code is first translated to a concept id. `read_without_term`:
   a Read code whose term code is in no migration table is looked up by its five bytes.
4. `replaced`: the code is retired, and its replacement has a concept.
5. `ancestor`: the code gets the concept of its nearest ancestor that has one.
6. `kept`: the code becomes a separate concept, SCT:<id>, or SYSTEM:<code> for systems that only an OMOP or MEDS extract has.
   Otherwise the code is lost, and its `namespace` shows why.
"""

from pathlib import Path

import polars as pl

from ehr_pipeline.events.settings import EventsSettings
from ehr_pipeline.events.translate import READ_BYTES, file_setting, read_dictionary, tied, to_snomed
from ehr_pipeline.terminology import code_lists, rf2, rrf
from ehr_pipeline.terminology.spelling import normalise_code, normalise_codes

STEP_OF_SUPPRESS = {"N": "current", "O": "obsolete", "E": "suppressed_by_editor", "Y": "suppressed_by_default"}
LADDER = (
    *("override", *STEP_OF_SUPPRESS.values(), "description", "read", "read_without_term"),
    *("replaced", "ancestor", "kept"),
)
MAX_REPLACEMENTS = 20  # of replacements; real ones have a few links
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
    """Map codes translated to SNOMED by `translate.to_snomed`; the result is sorted by code, and no code has a concept twice.

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
    table = _apply_overrides(table, settings)
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
        own_concept = pl.coalesce(pl.lit("SCT:") + pl.col("target"), "token")
        kept = own_concept.is_not_null() & pl.col("concept").is_null()
        table = table.with_columns(
            concept=pl.when(kept).then(own_concept).otherwise("concept"),
            name=pl.when(kept).then(pl.coalesce("name", "label")).otherwise("name"),
            step=pl.when(kept).then(pl.lit("kept")).otherwise("step"),
        )
        table = _tell_apart(_name_kept(table, settings))
    runners_up = pl.concat_str([pl.col("runners_up").fill_null(""), "also"], separator=" ").str.strip_chars()
    table = table.with_columns(runners_up=pl.when(pl.col("also") != "").then(runners_up).otherwise("runners_up"))
    return _distinct(table.select(COLUMNS))


def _distinct(table: pl.DataFrame) -> pl.DataFrame:
    """Keep each concept of a code once. If only some of its ingredients have a concept, the others are left out."""
    if not table["code"].is_duplicated().any():
        return table
    has_any = pl.col("concept").is_not_null().any().over("code")
    found = table.filter(pl.col("concept").is_not_null() | ~has_any)
    return found.unique(["code", "concept"], keep="first", maintain_order=True)


def _step(
    table: pl.DataFrame, best: pl.DataFrame, step: str, source: str, targets: pl.DataFrame | None
) -> pl.DataFrame:
    """Look up the codes without a concept in the step's `targets` (source, target, distance), and record the step for those
    mapped."""
    if targets is None:
        return table
    new = (
        targets.join(best, left_on="target", right_on="snomed", how="left", maintain_order="left")
        .rename({name: f"new_{name}" for name in ("target", "distance", "concept", "name", "runners_up")})
        .drop("step")
    )
    table = table.join(new, left_on=source, right_on="source", how="left", maintain_order="left")
    unmapped = pl.col("concept").is_null() & pl.col("new_target").is_not_null()
    changed = [
        pl.when(unmapped).then(f"new_{name}").otherwise(name).alias(name)
        for name in ("target", "distance", "concept", "name", "runners_up")
    ]
    mapped = unmapped & pl.col("new_concept").is_not_null()
    return table.with_columns(*changed, step=pl.when(mapped).then(pl.lit(step)).otherwise("step")).select(COLUMNS)


def _apply_overrides(table: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame:
    if not settings.overrides:
        return table
    listed = code_lists.read_overrides(Path(settings.overrides))
    overrides = pl.DataFrame(
        {
            "spelled": [normalise_code(row.code) for row in listed],
            "own": [normalise_code(row.cui) for row in listed],
            "own_name": [row.name for row in listed],
        }
    )
    overrides = overrides.unique("spelled", keep="first", maintain_order=True)
    table = table.with_columns(spelled=normalise_codes(pl.col("code")))
    table = table.join(overrides, on="spelled", how="left", maintain_order="left")
    overridden = pl.col("own").is_not_null()
    return table.with_columns(
        concept=pl.when(overridden).then("own").otherwise("concept"),
        name=pl.when(overridden).then("own_name").otherwise("name"),
        step=pl.when(overridden).then(pl.lit("override")).otherwise("step"),
        runners_up=pl.when(overridden).then(pl.lit("")).otherwise("runners_up"),
    ).drop("own", "own_name", "spelled")


def _descriptions(table: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame | None:
    wanted = table.filter(pl.col("kind") == "description", pl.col("concept").is_null())["snomed"]
    if not settings.descriptions or wanted.is_empty():
        return None
    concepts = rf2.descriptions(settings.descriptions, wanted.unique())
    return concepts.unique("source", keep="first", maintain_order=True).with_columns(distance=pl.lit(0, pl.Int64))


def _name_kept(table: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame:
    """Name codes that are kept as separate concepts, from SNOMED's description files if these are set."""
    nameless = table.filter(pl.col("step") == "kept", pl.col("name").is_null())["target"].drop_nulls()
    if not settings.descriptions or nameless.is_empty():
        return table
    names = rf2.names(settings.descriptions, nameless.unique()).rename({"label": "described"})
    table = table.join(names, left_on="target", right_on="source", how="left", maintain_order="left")
    name = pl.when(pl.col("step") == "kept").then(pl.coalesce("name", "described")).otherwise("name")
    return table.with_columns(name=name).drop("described")


def _tell_apart(table: pl.DataFrame) -> pl.DataFrame:
    """Add its code to the name of a kept concept whose name another concept has too, as a diagnosis in ICD-9 and in ICD-10, or a
    result and its specimen."""
    shared = pl.col("name").is_not_null() & (pl.col("concept").n_unique().over("name") > 1)
    full = pl.format("{} ({})", "name", "concept")
    return table.with_columns(name=pl.when((pl.col("step") == "kept") & shared).then(full).otherwise("name"))


def _migrations(table: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame:
    """Translate Read codes by the migration tables. Columns: source, target, distance, ties (other targets), step.

    A code is looked up as recorded. If it is not found and has no term code or 00, which mean the same, both forms are tried; with
    any other term code, it is looked up without it.
    """
    schema = dict.fromkeys(("source", "target", "ties", "step"), pl.String) | {"distance": pl.Int64}
    if not settings.migrations:
        return pl.DataFrame(schema=schema)
    tables = [read_dictionary(table, file_setting(name, "migrations")) for name, table in settings.migrations.items()]
    first = pl.concat(tables).unique("code", keep="first", maintain_order=True)
    codes = table.filter(pl.col("kind") == "read").select(source="snomed").unique().sort("source")
    five, term = pl.col("source").str.slice(0, READ_BYTES), pl.col("source").str.slice(READ_BYTES)
    plain = term.is_in(["", "00"])
    lookups = [
        ("read", pl.lit(True), pl.col("source")),
        ("read", plain, five),
        ("read", plain, five + "00"),
        ("read_without_term", ~plain, five),
        ("read_without_term", ~plain, five + "00"),
    ]
    matches = [
        codes.filter(which)
        .with_columns(code=code)
        .join(first, on="code", how="inner")
        .select("source", target="snomed", ties=tied(pl.col("others")), step=pl.lit(step), distance=pl.lit(0, pl.Int64))
        for step, which, code in lookups
    ]
    return pl.concat(matches).unique("source", keep="first", maintain_order=True).sort("source")


def _unmapped_targets(table: pl.DataFrame) -> pl.Series:
    return table.filter(pl.col("concept").is_null(), pl.col("target").is_not_null())["target"].unique()


def _replacements(table: pl.DataFrame, best: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame | None:
    if not settings.associations:
        return None
    edges = rf2.associations(settings.associations, settings.association_kinds)
    return rf2.nearest_known(_unmapped_targets(table), edges, best["snomed"], MAX_REPLACEMENTS)


def _ancestors(table: pl.DataFrame, best: pl.DataFrame, settings: EventsSettings) -> pl.DataFrame | None:
    """Return the nearest mapped ancestors. Retired concepts have no parents, so steps to their replacements are included."""
    if not settings.relationships or not settings.ancestor_depth:
        return None
    edges = [rf2.parents(settings.relationships)]
    if settings.associations:
        edges.append(rf2.associations(settings.associations, settings.association_kinds))
    return rf2.nearest_known(_unmapped_targets(table), pl.concat(edges), best["snomed"], settings.ancestor_depth)


def _best_atoms(atoms: pl.DataFrame) -> pl.DataFrame:
    """Return one row per code: its concept, the best atom's name, the step, and the other concepts."""
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
