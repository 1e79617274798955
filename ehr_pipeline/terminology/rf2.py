"""Readers of SNOMED CT Release Format 2: tab separated, a header line, UTF-8 (SNOMED CT Release File Specification, section 5).

Name the Snapshot files of a release: they hold each component once. Several editions (international, UK) are several files.
"""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology.reading import named, reading, why

DESCRIPTION = ("id", "effectiveTime", "active", "moduleId", "conceptId", "languageCode", "typeId", "term")
ASSOCIATION = ("id", "effectiveTime", "active", "moduleId", "refsetId", "referencedComponentId", "targetComponentId")
RELATIONSHIP = ("id", "effectiveTime", "active", "moduleId", "sourceId", "destinationId", "relationshipGroup", "typeId")
IS_A = "116680003"
FULLY_SPECIFIED = "900000000000003001"
# Historical association reference sets. The first two are safe to substitute; the others may have several targets.
ASSOCIATIONS = {
    "same_as": "900000000000527005",
    "replaced_by": "900000000000526001",
    "possibly_equivalent_to": "900000000000523009",
    "alternative": "900000000000530003",
    "was_a": "900000000000528000",
}


def scan(path: Path, columns: tuple[str, ...], where: str) -> pl.LazyFrame:
    """A lazy table of strings with some columns of an RF2 file. Raises InputError when the file is missing or of another kind."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            header = stream.readline().rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{named(path, where)}: this RF2 file cannot be read: {why(error)}.") from None
    missing = [name for name in columns if name not in header]
    if missing:
        raise InputError(
            f"{named(path, where)}, line 1: no column {', '.join(missing)}. This RF2 file should have {' '.join(columns)};"
            " name the file of that kind there."
        )
    frame = pl.scan_csv(path, separator="\t", quote_char=None, infer_schema=False, glob=False)
    return frame.rename({frame.collect_schema().names()[0]: header[0]}).select(columns)


def descriptions(paths: tuple[str, ...], wanted: pl.Series) -> pl.DataFrame:
    """The concept of each wanted description id. Columns: source, target; descriptions that are no longer active count too."""
    return _distinct(
        paths,
        DESCRIPTION,
        "events.descriptions",
        lambda rows: rows.filter(pl.col("id").is_in(wanted.implode())).select(source="id", target="conceptId"),
    )


def names(paths: tuple[str, ...], wanted: pl.Series) -> pl.DataFrame:
    """The name of each wanted concept: its fully specified one, else a synonym; active ones first. Columns: source, label."""
    found = _distinct(
        paths,
        DESCRIPTION,
        "events.descriptions",
        lambda rows: rows.filter(pl.col("conceptId").is_in(wanted.implode())).select(
            "id", "active", "typeId", source="conceptId", label="term"
        ),
    )
    best = [pl.col("active") != "1", pl.col("typeId") != FULLY_SPECIFIED, "id"]
    return found.sort(best).unique("source", keep="first", maintain_order=True).select("source", "label")


def associations(paths: tuple[str, ...], kinds: tuple[str, ...]) -> pl.DataFrame:
    """Active historical associations. Columns: source, target, rank (the place of its kind in `kinds`)."""
    ranks = {ASSOCIATIONS[kind]: rank for rank, kind in enumerate(kinds)}
    return _distinct(
        paths,
        ASSOCIATION,
        "events.associations",
        lambda rows: rows.filter(pl.col("active") == "1", pl.col("refsetId").is_in(list(ranks))).select(
            source="referencedComponentId",
            target="targetComponentId",
            rank=pl.col("refsetId").replace_strict(ranks, return_dtype=pl.Int64),
        ),
    )


def parents(paths: tuple[str, ...], where: str = "events.relationships") -> pl.DataFrame:
    """Active IS-A relationships. Columns: source (the child), target (the parent), rank (0). `where` is the files' setting."""
    return _distinct(
        paths,
        RELATIONSHIP,
        where,
        lambda rows: rows.filter(pl.col("active") == "1", pl.col("typeId") == IS_A).select(
            source="sourceId", target="destinationId", rank=pl.lit(0, pl.Int64)
        ),
    )


def _distinct(
    paths: tuple[str, ...], columns: tuple[str, ...], where: str, chosen: Callable[[pl.LazyFrame], pl.LazyFrame]
) -> pl.DataFrame:
    """What is chosen of some files, each row once, sorted."""
    parts = []
    for path in paths:
        with reading(path, where):
            parts.append(chosen(scan(Path(path), columns, where)).collect(engine="streaming"))
    frame = pl.concat(parts)
    return frame.unique().sort(frame.columns)


def walk(starts: pl.Series, edges: pl.DataFrame, known: pl.Series, depth: int) -> pl.DataFrame:
    """The nearest known code of each start along the edges (source, target, rank), at most `depth` steps away.

    Columns: source, target, distance; starts that reach none are left out. Of several at one distance the one of the lowest rank
    counts, then the lowest id as text. A code is never visited twice from one start, so that a cycle ends.
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
