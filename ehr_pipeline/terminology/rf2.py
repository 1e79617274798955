"""Readers of SNOMED CT Release Format 2: tab separated, a header line, UTF-8 (SNOMED CT Release File Specification, section 5).

For each component, the row with the latest effectiveTime in all files that one setting names is used. So Full and Snapshot
files, and several releases and editions (international, UK), can be given together. Files may be packed with gzip.
"""

import zlib
from pathlib import Path

import polars as pl

from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology import reading, snomed
from ehr_pipeline.terminology.reading import named, opened, refuse_other_formats, unended, why

DESCRIPTION = ("id", "effectiveTime", "active", "moduleId", "conceptId", "languageCode", "typeId", "term")
ASSOCIATION = ("id", "effectiveTime", "active", "moduleId", "refsetId", "referencedComponentId", "targetComponentId")
RELATIONSHIP = ("id", "effectiveTime", "active", "moduleId", "sourceId", "destinationId", "relationshipGroup", "typeId")
IS_A = "116680003"
FULLY_SPECIFIED = "900000000000003001"
# Historical association reference sets. Targets of the first two are safe substitutes; the others may have several targets.
ASSOCIATIONS = {
    "same_as": "900000000000527005",
    "replaced_by": "900000000000526001",
    "possibly_equivalent_to": "900000000000523009",
    "alternative": "900000000000530003",
    "was_a": "900000000000528000",
}


def read_header(path: Path, where: str) -> list[str]:
    """Return the column names of an RF2 file. Raises InputError when the file cannot be read as text."""
    try:
        refuse_other_formats(path, where)
        with opened(path) as stream:
            return stream.readline(1 << 20).decode("utf-8-sig").rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise InputError(f"{named(path, where)}: this RF2 file cannot be read: {why(error)}.") from None


def refuse_cut(path: Path, where: str, *, ends_only: bool = False) -> None:
    """Raise InputError if a line of an RF2 file has more or fewer fields than the header, or the text ends within an id.

    The last field of each kind of file that is read here is a SNOMED id: if it was cut, its check digit is wrong.
    """
    reading.refuse_cut(path, where, b"\t", len(read_header(path, where)) - 1, ends_only=ends_only)
    line = unended(path).decode(errors="replace").strip(" \r\n")
    last = line.rpartition("\t")[2]
    kind = snomed.classify(pl.Series([last]))["kind"][0]
    if line and (not last or last.isdigit()) and kind not in ("concept", "description", "other_component"):
        raise InputError(
            f"{named(path, where)}: the text ends in the middle of its last line, in a SNOMED id. The file is cut off: copy it"
            " again."
        )


def scan(path: Path, columns: tuple[str, ...], where: str) -> pl.LazyFrame:
    """Return a lazy table of strings with some columns of an RF2 file. Raises InputError if it is missing or of another kind.

    Only the header is checked here: `refuse_cut` finds damage in the rows.
    """
    header = read_header(path, where)
    missing = [name for name in columns if name not in header]
    if missing:
        raise InputError(
            f"{named(path, where)}, line 1: no column {', '.join(missing)}. This RF2 file should have {' '.join(columns)};"
            " name the file of that kind there."
        )
    frame = pl.scan_csv(path, separator="\t", quote_char=None, infer_schema=False, glob=False)
    return frame.rename({frame.collect_schema().names()[0]: header[0]}).select(columns)


def descriptions(paths: tuple[str, ...], wanted: pl.Series) -> pl.DataFrame:
    """Return the concept of each wanted description id. Columns: source, target. Inactive descriptions count too."""
    found = _latest(paths, DESCRIPTION, "events.descriptions", pl.col("id").is_in(wanted.implode()))
    return _distinct(found.select(source="id", target="conceptId"))


def names(paths: tuple[str, ...], wanted: pl.Series) -> pl.DataFrame:
    """Return the name of each wanted concept. Columns: source, label. Prefers active names, then the fully specified name."""
    found = _latest(paths, DESCRIPTION, "events.descriptions", pl.col("conceptId").is_in(wanted.implode()))
    best = [pl.col("active") != "1", pl.col("typeId") != FULLY_SPECIFIED, "id"]
    ordered = found.sort(best).unique("conceptId", keep="first", maintain_order=True)
    return ordered.select(source="conceptId", label="term")


def associations(paths: tuple[str, ...], kinds: tuple[str, ...]) -> pl.DataFrame:
    """Return active historical associations. Columns: source, target, rank (the position of its kind in `kinds`)."""
    ranks = {ASSOCIATIONS[kind]: rank for rank, kind in enumerate(kinds)}
    found = _latest(paths, ASSOCIATION, "events.associations", pl.col("refsetId").is_in(list(ranks)))
    return _distinct(
        found.filter(pl.col("active") == "1").select(
            source="referencedComponentId",
            target="targetComponentId",
            rank=pl.col("refsetId").replace_strict(ranks, return_dtype=pl.Int64),
        )
    )


def parents(paths: tuple[str, ...], where: str = "events.relationships") -> pl.DataFrame:
    """Return active IS-A relationships. Columns: source (child), target (parent), rank (0). `where` is the files' setting."""
    found = _latest(paths, RELATIONSHIP, where, pl.col("typeId") == IS_A)
    return _distinct(
        found.filter(pl.col("active") == "1").select(
            source="sourceId", target="destinationId", rank=pl.lit(0, pl.Int64)
        )
    )


def _latest(paths: tuple[str, ...], columns: tuple[str, ...], where: str, chosen: pl.Expr) -> pl.DataFrame:
    """Return, for each id, the row with the latest effectiveTime over all files, out of the rows that `chosen` selects.

    `chosen` may use only columns that never change for an id (immutable fields in the Release File Specification).
    """
    parts = []
    for path in map(Path, paths):
        with reading.reading(path, where):
            frame = scan(path, columns, where)
            refuse_cut(path, where)
            parts.append(_newest(frame.filter(chosen).collect(engine="streaming")))
    return _newest(pl.concat(parts))


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the latest row of each id. Of two rows with the same time, the active one counts."""
    return rows.sort("id", "effectiveTime", "active").unique("id", keep="last", maintain_order=True)


def _distinct(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.unique().sort(rows.columns)


def walk(starts: pl.Series, edges: pl.DataFrame, known: pl.Series, depth: int) -> pl.DataFrame:
    """Return the nearest known code reached from each start along edges (source, target, rank), at most `depth` steps away.

    Columns: source, target, distance. Starts that reach no known code are left out. Of several codes at the same
    distance, the one with the lowest rank counts, then the lowest id as text. A code is visited once per start: cycles end.
    """
    found = []
    begin = starts.cast(pl.String).unique().sort()
    seen = pl.DataFrame({"start": begin, "node": begin})
    frontier = seen
    for distance in range(1, depth + 1):
        reached = (
            frontier.join(edges, left_on="node", right_on="source")
            .select("start", "rank", node="target")
            .join(seen, on=["start", "node"], how="anti")
            .sort("start", "rank", "node")
            .unique(["start", "node"], keep="first", maintain_order=True)
        )
        if reached.is_empty():
            break
        hits = reached.filter(pl.col("node").is_in(known.implode())).unique("start", keep="first", maintain_order=True)
        found.append(hits.select(source="start", target="node", distance=pl.lit(distance, pl.Int64)))
        frontier = reached.join(hits, on="start", how="anti").select("start", "node")
        seen = pl.concat([seen, frontier])
    empty = pl.DataFrame(schema={"source": pl.String, "target": pl.String, "distance": pl.Int64})
    return pl.concat([empty, *found]).sort("source")
