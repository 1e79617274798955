"""Readers of SNOMED CT Release Format 2: tab separated, a header line, UTF-8 (SNOMED CT Release File Specification, section 5).

The row of a component with the latest effectiveTime in all files of a setting is used. So Full and Snapshot files, and several
releases and editions (international, UK), can be given together. Files may be compressed with gzip.
"""

import zlib
from pathlib import Path

import polars as pl

from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology import reading, snomed
from ehr_pipeline.terminology.reading import label, open_binary, refuse_other_formats, unended_line, why

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
        with open_binary(path) as stream:
            return stream.readline(1 << 20).decode("utf-8-sig").rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise InputError(f"{label(path, where)}: this RF2 file cannot be read: {why(error)}.") from None


def refuse_cut(path: Path, where: str, *, ends_only: bool = False) -> None:
    """Raise InputError if a line of an RF2 file has more or fewer fields than the header, or the text ends within an id.

    In all kinds of files read here, the last field is a SNOMED id: if it was cut, its check digit is wrong.
    """
    reading.refuse_cut(path, where, b"\t", len(read_header(path, where)) - 1, ends_only=ends_only)
    line = unended_line(path).decode(errors="replace").strip(" \r\n")
    last = line.rpartition("\t")[2]
    kind = snomed.classify(pl.Series([last]))["kind"][0]
    if line and (not last or last.isdigit()) and kind not in ("concept", "description", "other_component"):
        raise InputError(
            f"{label(path, where)}: the text ends in the middle of its last line, in a SNOMED id. The file is cut off: copy it"
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
            f"{label(path, where)}, line 1: no column {', '.join(missing)}. This RF2 file should have"
            f" {' '.join(columns)}: set the setting to a file of that kind."
        )
    frame = pl.scan_csv(path, separator="\t", quote_char=None, infer_schema=False, glob=False)
    return frame.rename({frame.collect_schema().names()[0]: header[0]}).select(columns)


def descriptions(paths: tuple[str, ...], wanted: pl.Series) -> pl.DataFrame:
    """Return the concept of each wanted description id. Columns: source, target. Inactive descriptions count too."""
    rows = _latest(paths, DESCRIPTION, "events.descriptions", pl.col("id").is_in(wanted.implode()))
    return _distinct(rows.select(source="id", target="conceptId"))


def names(paths: tuple[str, ...], wanted: pl.Series) -> pl.DataFrame:
    """Return the name of each wanted concept. Columns: source, label. Prefers active names, then the fully specified name."""
    rows = _latest(paths, DESCRIPTION, "events.descriptions", pl.col("conceptId").is_in(wanted.implode()))
    best = [pl.col("active") != "1", pl.col("typeId") != FULLY_SPECIFIED, "id"]
    ordered = rows.sort(best).unique("conceptId", keep="first", maintain_order=True)
    return ordered.select(source="conceptId", label="term")


def associations(paths: tuple[str, ...], kinds: tuple[str, ...]) -> pl.DataFrame:
    """Return active historical associations. Columns: source, target, rank (the position of its kind in `kinds`)."""
    ranks = {ASSOCIATIONS[kind]: rank for rank, kind in enumerate(kinds)}
    rows = _latest(paths, ASSOCIATION, "events.associations", pl.col("refsetId").is_in(list(ranks)))
    return _distinct(
        rows.filter(pl.col("active") == "1").select(
            source="referencedComponentId",
            target="targetComponentId",
            rank=pl.col("refsetId").replace_strict(ranks, return_dtype=pl.Int64),
        )
    )


def parents(paths: tuple[str, ...], where: str = "events.relationships") -> pl.DataFrame:
    """Return active IS-A relationships. Columns: source (child), target (parent), rank (0). `where` is the files' setting."""
    rows = _latest(paths, RELATIONSHIP, where, pl.col("typeId") == IS_A)
    return _distinct(
        rows.filter(pl.col("active") == "1").select(source="sourceId", target="destinationId", rank=pl.lit(0, pl.Int64))
    )


def _latest(paths: tuple[str, ...], columns: tuple[str, ...], where: str, chosen: pl.Expr) -> pl.DataFrame:
    """Of the rows that match `chosen`, return the one with the latest effectiveTime for each id, over all files.

    `chosen` may use only columns that are immutable for an id (Release File Specification).
    """
    parts = []
    for path in map(Path, paths):
        with reading.reading(path, where):
            frame = scan(path, columns, where)
            refuse_cut(path, where)
            parts.append(_newest(frame.filter(chosen).collect(engine="streaming")))
    return _newest(pl.concat(parts))


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the latest row of each id. Of two rows with the same time, the active one is used."""
    return rows.sort("id", "effectiveTime", "active").unique("id", keep="last", maintain_order=True)


def _distinct(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.unique().sort(rows.columns)


def nearest_known(starts: pl.Series, edges: pl.DataFrame, known: pl.Series, depth: int) -> pl.DataFrame:
    """Return the nearest known code reached from each start along edges (source, target, rank), at most `depth` steps away.

    Columns: source, target, distance. Starts that reach no known code are left out. Of several codes at the same distance, the one
    with the lowest rank is used, then the one with the lowest id (as text). Each code is visited once per start, so cycles end.
    """
    hits_by_distance = []
    begin = starts.cast(pl.String).unique().sort()
    visited = pl.DataFrame({"start": begin, "node": begin})
    frontier = visited
    for distance in range(1, depth + 1):
        reached = (
            frontier.join(edges, left_on="node", right_on="source")
            .select("start", "rank", node="target")
            .join(visited, on=["start", "node"], how="anti")
            .sort("start", "rank", "node")
            .unique(["start", "node"], keep="first", maintain_order=True)
        )
        if reached.is_empty():
            break
        hits = reached.filter(pl.col("node").is_in(known.implode())).unique("start", keep="first", maintain_order=True)
        hits_by_distance.append(hits.select(source="start", target="node", distance=pl.lit(distance, pl.Int64)))
        frontier = reached.join(hits, on="start", how="anti").select("start", "node")
        visited = pl.concat([visited, frontier])
    empty = pl.DataFrame(schema={"source": pl.String, "target": pl.String, "distance": pl.Int64})
    return pl.concat([empty, *hits_by_distance]).sort("source")
