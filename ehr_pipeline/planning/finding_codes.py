"""Find codes by words in their names, and the codes below them in a hierarchy, for a list that a clinician then reviews."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.errors import InputError
from ehr_pipeline.events import translate
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.store import publishing
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study.settings import Study
from ehr_pipeline.terminology import code_lists, omop, rf2, rrf

NAMES = {"code": pl.String, "cui": pl.String, "name": pl.String}
MOST_STEPS = 30
"""How many levels below a code are searched: more than the depth of SNOMED CT."""


NAMELESS = (
    "No code has a name. Set a source of names: for SNOMED codes, events.descriptions (SNOMED’s description files) or"
    " events.mrconso (MRCONSO.RRF); for other codes, a table of names under events.names (then map the extracts:"
    " ehr-pipeline run --select '+mapped_events'), or under [events.dictionaries] with its name_column; for OMOP,"
    " events.omop_vocabulary (the folder of CONCEPT.csv)."
)


@dataclass(frozen=True)
class Codes:
    """The codes that were found."""

    table: pl.DataFrame
    """Columns code, cui, name, source; and events and patients (null where no extract has been mapped)."""
    looked_in: tuple[str, ...]
    """The sources in which names were searched, in words."""

    def write(self, path: Path) -> None:
        """Write a concept list, whole or not at all. Raises UserError if the file exists."""
        with publishing.whole(path) as part:
            spreadsheet.table(self.table.select(code_lists.COLUMNS)).write_csv(part)


def find(words: str, study: Study, mapped: Artifact | None) -> Codes:
    """Find codes whose name contains all words (ignoring case), and, if the settings give a hierarchy, their descendants.

    Raises InputError if no file with names is available.
    """
    known, looked_in = _names(words, study, mapped)
    if not looked_in:
        raise InputError(NAMELESS)
    hits = known.filter(_contains(words)).unique("code", keep="first", maintain_order=True)
    hits = hits.with_columns(source=pl.lit(f"name: {words}"))
    below = _below(hits["code"], study)
    best = known.unique("code", keep="first", maintain_order=True)
    more = below.join(best, on="code", how="left").filter(~pl.col("code").is_in(hits["code"].implode()))
    more = more.with_columns(source=pl.format("below {}", "above")).select(*NAMES, "source")
    found = pl.concat([hits, more]).with_columns(pl.col("cui", "name").fill_null(""))
    return Codes(_counted(found, mapped), looked_in)


def concepts_called(words: str, study: Study, mapped: Artifact) -> frozenset[str]:
    """Return the concepts with a code whose name, or one of whose synonyms, contains all the words (ignoring case).

    Reads the terminology files that the settings name, which takes a minute for the whole UMLS.
    """
    hits = _names(words, study, mapped)[0].filter(_contains(words))
    codes = hits["code"].implode()
    table = Mapping.read(mapped.path, "code", "snomed", "concept").table.drop_nulls("concept")
    recorded = table.filter(pl.any_horizontal(pl.col("code", "snomed", "concept").is_in(codes)))["concept"]
    return frozenset(recorded) | frozenset(hits["cui"].drop_nulls())


def _contains(words: str) -> pl.Expr:
    """Return whether a name contains all the words, in any order and ignoring case."""
    lower = pl.col("name").str.to_lowercase()
    return pl.all_horizontal(lower.str.contains(word, literal=True) for word in words.lower().split())


def _names(words: str, study: Study, mapped: Artifact | None) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return names of codes, and the sources searched. In each source, the best name of a code comes first.

    OMOP's vocabulary has millions of names, so only those that contain all the words are read from it.
    """
    parts, looked_in = [pl.DataFrame(schema=NAMES)], list[str]()
    if study.events.mrconso:
        atoms = rrf.snomed_atoms(Path(study.events.mrconso), study.events.source, study.events.suppress)
        parts.append(atoms.select(*NAMES))
        looked_in.append("events.mrconso")
    for path in study.events.descriptions:
        rows = rf2.scan(Path(path), rf2.DESCRIPTION, "events.descriptions").filter(pl.col("active") == "1")
        parts.append(rows.select(code="conceptId", cui=pl.lit(""), name="term").collect())
    looked_in += ["events.descriptions"] * bool(study.events.descriptions)
    if (of_tables := translate.names(study.events)).height:
        parts.append(of_tables.select("code", cui=pl.lit(""), name="name"))
        looked_in.append("events.dictionaries")
    if study.events.omop_vocabulary:
        found = omop.search(Path(study.events.omop_vocabulary), words.lower().split())
        parts.append(found.select(translate.code_of_concept("system", "code"), cui=pl.lit(""), name="name"))
        looked_in.append(omop.SETTING)
    if mapped is not None:
        table = Mapping.read(mapped.path, "code", "snomed", "concept", "name", "events").table
        if "name" in table.columns and table["name"].drop_nulls().len():
            own = (
                pl.when(pl.col("concept").str.contains(r"^(?:C[0-9]{7}|SCT:[0-9]+)$")).then("code").otherwise("concept")
            )
            code = pl.coalesce(pl.col("snomed").replace("", None), own, "code")
            parts.append(table.select(code=code, cui=pl.lit(""), name="name").drop_nulls("name"))
            looked_in.append("the extracts")
    return pl.concat(parts), tuple(looked_in)


def _below(codes: pl.Series, study: Study) -> pl.DataFrame:
    """Return the codes below the given `codes`: columns code, and above (the given code from which it was reached)."""
    paths = study.events.relationships
    reached = pl.DataFrame({"code": codes, "above": codes}, schema={"code": pl.String, "above": pl.String})
    if not paths:
        return reached.clear()
    edges = rf2.parents(paths).select(code="target", child="source")
    fresh = reached
    for _ in range(MOST_STEPS):
        fresh = fresh.join(edges, on="code").select(code="child", above="above")
        fresh = fresh.join(reached, on="code", how="anti").unique("code", keep="first", maintain_order=True)
        if fresh.is_empty():
            break
        reached = pl.concat([reached, fresh])
    return reached.filter(~pl.col("code").is_in(codes.implode()))


def _counted(found: pl.DataFrame, mapped: Artifact | None) -> pl.DataFrame:
    """Add the numbers of events and patients in the extracts to codes, and sort them, the most frequent first.

    An event counts for a code if it was recorded with this code, or with another code that is translated to it. A
    patient may have several of these recorded codes, so their patients are not added up: the number of patients is that
    of the recorded code that most patients have.
    """
    if mapped is None:
        empty = pl.lit(None, pl.Int64)
        return found.with_columns(events=empty, patients=empty)
    table = Mapping.read(mapped.path, "code", "snomed", "concept", "events", "patients").table
    patients = pl.col("patients") if "patients" in table.columns else pl.lit(None, pl.Int64)
    recorded = pl.concat(
        [
            table.select(code=name, events="events", patients=patients, own="code")
            for name in ("code", "snomed", "concept")
        ]
    ).unique(["code", "own"])
    counts = recorded.drop_nulls("code").group_by("code").agg(pl.col("events").sum(), pl.col("patients").max())
    joined = found.join(counts, on="code", how="left", maintain_order="left")
    return joined.with_columns(pl.col("events", "patients").fill_null(0)).sort(
        "events", descending=True, maintain_order=True
    )
