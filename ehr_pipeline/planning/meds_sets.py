"""Recognise a data set in MEDS, or a part of one, and the settings that fit it.

These settings list the codes that describe the subject, the tables of code names, and the split of the data set.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from ehr_pipeline.events import names as names_of_codes
from ehr_pipeline.patients.settings import TEST, TRAIN, USUAL_SIDES, VALIDATION
from ehr_pipeline.planning.settings_text import Extract, inline, quoted
from ehr_pipeline.records import files, parquet
from ehr_pipeline.records.sources.meds import Meds
from ehr_pipeline.records.sources.meds_codes import BIRTH, DEATH, Proposed, proposed
from ehr_pipeline.records.values import comparable
from ehr_pipeline.store.file_listing import walk

MEDS_COLUMNS = {"subject_id", "time", "code"}
METADATA, SPLIT = "metadata", "meds_split"
SHARDS, ROWS = 4, 200_000
"""Most files of a MEDS data set that are read, and most rows of each."""
MOST_NAMED = 5
"""Most files named in a message."""
ABOVE = 3
"""How many levels above a folder with MEDS files the folder of the whole data set may be."""


def recognised(sources: Sequence[Path], facts: list[str], doubts: list[str]) -> Extract | None:
    """Recognise a folder, or several files, as MEDS; None if they are not. Adds sentences to `facts` and `doubts`."""
    folder = sources[0] if len(sources) == 1 and sources[0].is_dir() else None
    links = _links(folder) if folder else {f"data/{path.parent.name}/{path.name}": path for path in sources}
    if not folder and len(links) < len(set(sources)):  # files of several folders with the same name
        links = {f"data/{number}/{path.name}": path for number, path in enumerate(dict.fromkeys(sources))}
    named = dict(_shards(links))
    shards = [path for path in named.values() if _columns(path) >= MEDS_COLUMNS]
    others = [path for path in named.values() if path not in shards]
    root = links.get("") or next(filter(None, (_root(path) for path in sources)), None)
    is_csv = bool(shards) and not files.is_parquet(shards[0])
    sure = (root and not is_csv) or not (is_csv or others) or any(map(_has_code_of_meds, shards))
    if not shards or not sure:
        return None
    whole = bool(links.keys() & {"", "data"})
    if others:
        doubts.append(_not_read(others))
        links = {name: path for name, path in named.items() if path in shards}
    if root and "" not in links:
        links |= {METADATA: root / METADATA}
    facts.append(f"{root or sources[0]}: the layout of MEDS; files {len(shards):,}")
    doubts += _left_out_parts(folder, root) if folder else []
    codes = root / METADATA / "codes.parquet" if root else None
    found = _codes(shards, codes)
    own = [f'data = "data/**/*{"".join(shards[0].suffixes[-2:])}"'] if is_csv else []
    own += _described(found, facts, doubts)
    people = pl.concat([_scan(path).select(pl.col("subject_id").cast(pl.String)) for path in shards])
    number = int(people.select(pl.col("subject_id").n_unique()).collect().item())
    split: list[str] = []
    if root and whole and (split := _split(root, doubts)):
        own.append(f'splits = "{SPLIT}"')
    events: tuple[str, ...] = ()
    if codes and names_of_codes.is_names_table(codes):
        events = (f"names = [{quoted(str(codes.resolve()))}] # names of codes",)
        facts.append(f"{codes}: names of codes")
    lines = ['source = "meds"', *(["", "[records.meds]", *own] if own else [])]
    return Extract(lines, number, links, tuple(found.attributes), events=events, names=bool(events), more=tuple(split))


def _links(folder: Path) -> dict[str, Path]:
    """Return the folders or files to link for a folder with MEDS files, by their names in the extract.

    If the folder is a whole data set, it is linked as it is; otherwise its files are linked as the data of a data set.
    """
    if _tables_in(folder / "data"):
        return {"": folder}
    root = _root(folder)
    inside = folder.relative_to(root / "data") if root and root / "data" in (folder, *folder.parents) else Path()
    place = (Path("data") / inside).as_posix()
    if not (folder / METADATA).exists():
        return {place: folder}
    children = (path for path in folder.iterdir() if path.name != METADATA and not path.name.startswith("."))
    return {
        f"{place}/{path.name}": path for path in children if path.is_dir() or files.is_parquet(path) or _is_csv(path)
    }


def _root(path: Path) -> Path | None:
    """Return the folder of the data set to which a file or a folder belongs: the nearest one that also contains metadata; None if
    there is none."""
    folder = path.absolute()
    return next((one for one in (folder, *list(folder.parents)[:ABOVE]) if (one / METADATA).is_dir()), None)


def _shards(links: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    """Yield the tables of a data set, each with its name in the extract."""
    for name, target in sorted(links.items()):
        own, place = (target, name) if name else (target / "data", "data")
        if not own.is_dir():
            yield place, own
        for path in _tables_in(own):
            yield f"{place}/{path.relative_to(own).as_posix()}", path


def _tables_in(folder: Path) -> list[Path]:
    """Return the Parquet files in a folder, also through links; if there are none, its CSV files."""
    found = sorted(walk(folder).files) if folder.is_dir() else []
    return [path for path in found if files.is_parquet(path)] or [path for path in found if _is_csv(path)]


def _is_csv(path: Path) -> bool:
    return path.name.lower().endswith((".csv", ".csv.gz"))


def _scan(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path) if files.is_parquet(path) else pl.scan_csv(path, infer_schema=False)


def _columns(path: Path) -> set[str]:
    """Return the columns of a table; none for another kind of file, and for CSV that cannot be read, which others report.

    Raises InputError for damaged Parquet.
    """
    if not path.is_file():
        return set()
    if files.is_parquet(path):
        return set(parquet.names(path))
    try:
        return set(_scan(path).collect_schema().names()) if _is_csv(path) else set()
    except (OSError, PolarsError):
        return set()


def _has_code_of_meds(path: Path) -> bool:
    """Return whether one of the first codes of a table is one that MEDS fixes, since other files have its columns too."""
    codes = _scan(path).select(pl.col("code").cast(pl.String)).head(ROWS).collect()["code"]
    return bool(codes.str.starts_with("MEDS_").any())


def _not_read(paths: Sequence[Path]) -> str:
    return (
        f"{', '.join(map(str, paths[:MOST_NAMED]))}{f' and {len(paths) - MOST_NAMED:,} more' if len(paths) > MOST_NAMED else ''}:"
        f" without the columns {', '.join(sorted(MEDS_COLUMNS))} of MEDS, so not linked and not read."
    )


def _left_out_parts(folder: Path, root: Path | None) -> Iterator[str]:
    """Yield a sentence on the parts of a data set that are left out because the user named only one part."""
    own, data = folder.absolute(), root / "data" if root else None
    if data and data in own.parents:
        others = sorted(path.name for path in own.parent.iterdir() if path.is_dir() and path != own)
        if others:
            yield f"Only {own.name} is read, not {', '.join(others)} next to it. For the whole data set, give {root}."


def _codes(shards: Sequence[Path], listed: Path | None) -> Proposed:
    """Return which codes describe the subject, among those in the first rows and in the data set's own list of codes."""
    heads = [_scan(path).select(*sorted(MEDS_COLUMNS)).head(ROWS) for path in shards[:SHARDS]]
    code = pl.col("code").cast(pl.String)
    rows = pl.concat([head.select(code=code, timeless=pl.col("time").is_null()) for head in heads])
    counted = rows.drop_nulls("code").group_by("code").agg(pl.col("timeless").any()).collect()
    seen = set(counted["code"])
    if listed and "code" in _columns(listed):
        seen |= set(pl.scan_parquet(listed).select(code).collect()["code"].drop_nulls())
    return proposed(seen, counted.filter("timeless")["code"])


def _described(found: Proposed, facts: list[str], doubts: list[str]) -> list[str]:
    """Return the lines of `[records.meds]` for the codes that describe the subject."""
    usual, lines = Meds(), list[str]()
    if found.birth_codes:
        lines.append(f"birth_codes = [{', '.join(map(quoted, found.birth_codes))}] # check this: no code is {BIRTH}")
        doubts.append(
            f"no code is {BIRTH}: births are read from {', '.join(found.birth_codes)}. Check records.meds.birth_codes."
        )
    if found.death_codes:
        lines.append(f"death_codes = [{', '.join(map(quoted, found.death_codes))}] # check this")
        doubts.append(
            f"no code is {DEATH}: deaths are read from {', '.join(found.death_codes)}. Check records.meds.death_codes."
        )
    sexes = [prefix for prefix in found.sex_prefixes if prefix in usual.sex_prefixes] or list(found.sex_prefixes)
    if sexes and not set(sexes) <= set(usual.sex_prefixes):
        lines.append(f"sex_prefixes = [{', '.join(map(quoted, sexes))}]")
    if sexes:
        facts.append(f"the sex is read from codes that begin with {', '.join(sexes)}")
    else:
        doubts.append("No code seems to give the sex. If there is one, set records.meds.sex_prefixes.")
    if found.attributes != usual.attributes:
        lines.append(f"attributes = {inline(found.attributes)} # shown on the page; remove those that are not needed")
    if found.attributes:
        facts.append(f"attributes {', '.join(f'{name} ({prefix})' for name, prefix in found.attributes.items())}")
    return lines


def _split(root: Path, doubts: list[str]) -> list[str]:
    """Return a section of the settings for the split that comes with the data set; empty if it has none."""
    path = root / METADATA / "subject_splits.parquet"
    if "split" not in _columns(path):
        return []
    values = pl.scan_parquet(path).select(pl.col("split").cast(pl.String).unique()).collect()["split"].drop_nulls()
    sets = {USUAL_SIDES.get(comparable(value)) for value in values}
    if not {TRAIN, TEST} <= sets:
        doubts.append(
            f"{path}: contains no split into train and held_out, so patients are split by a hash of their ids."
        )
        return []
    drawn = [] if VALIDATION in sets else ["draw_validation = true # from the training patients"]
    return ["[patients.split]", f'column = "{SPLIT}" # the split of {path.name}', *drawn, ""]
