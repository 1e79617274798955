"""Look for births in the extracts: a run whose patients all lack one loses every patient."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import polars as pl

from ehr_pipeline.errors import UserError
from ehr_pipeline.planning.findings import Preflight
from ehr_pipeline.records import catalog, check_first_rows, extract_files, files, patients
from ehr_pipeline.records.kinds import PatientKind
from ehr_pipeline.records.layouts import has_setting, setting
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.drop_reasons import in_words
from ehr_pipeline.work.progress import Progress

MOST_ROWS, BLOCK = 10_000_000, 1 << 22
"""Rows that are read at most, if none of them has a birth; and bytes of the blocks in which they are read."""
LARGEST = 1 << 25
"""Bytes of the largest extract whose rows are all read for subjects without a birth."""


class Missing(NamedTuple):
    """That no birth was found."""

    message: str
    whole: bool
    """Whether all rows were read."""


def look(study: Study, findings: Preflight) -> None:
    """Report if no patient has a birth, or if some subjects have no row of a birth, unless problems were found before."""
    landing = Path(study.records.landing)
    extracts = catalog.extracts_in(landing)
    if findings.problems or not extracts:
        return
    try:
        names = extracts[-1:] if study.records.mode == "snapshot" else extracts
        folders = [landing / name for name in names]
        found = missing(study.records, folders)
        if not found:
            findings.warnings += _some_missing(study.records, folders, findings.below)
    except (UserError, OSError, pl.exceptions.PolarsError):
        return  # what cannot be read is reported elsewhere
    if found:
        (findings.problems if found.whole else findings.warnings).append(found.message)


def missing(records: RecordsSettings, folders: Sequence[Path]) -> Missing | None:
    """Return a message if no patient of the extracts has a birth that can be used; None if one has, or if no file gives births.

    Reads up to the first birth, so most often a single block.
    """
    rows, reasons, kinds = 0, list[pl.Series](), dict[str, PatientKind]()
    for kind, good, rejected in _read(records, folders):
        kinds[kind.where] = kind
        if good["birth_date"].is_not_null().any():
            return None
        rows += good.height + rejected.height
        reasons.append(rejected["reason"])
        if rows >= MOST_ROWS:
            break
    return Missing(_message(kinds, rows, pl.concat(reasons)), rows < MOST_ROWS) if rows else None


def _read(
    records: RecordsSettings, folders: Sequence[Path]
) -> Iterator[tuple[PatientKind, pl.DataFrame, pl.DataFrame]]:
    """Yield the patients and the rejected rows of the files that give births, in blocks."""
    for folder in folders:
        tree, rules = extract_files.tree_of(folder, records), check_first_rows.rules(folder.name, records)
        absent = extract_files.absent(tree, records.kinds)
        for kind in records.kinds.patients:
            if not kind.files.columns.has_birth or kind.where in absent:
                continue
            for path in files.find(tree, kind):
                layout = replace(files.file_layout(path, kind.files), linked=())
                for split in files.read(path, kind, block_bytes=BLOCK, progress=Progress(path.name, 1)):
                    adapted, _ = kind.adapted(split().rows)
                    yield kind, *patients.parse(adapted, layout, (), (), rules, partial=kind.partial)


def _message(kinds: dict[str, PatientKind], rows: int, reasons: pl.Series) -> str:
    where = ", ".join(kinds)
    among = "no row" if rows < MOST_ROWS else f"none of the first {MOST_ROWS:,} rows"
    text = f"{among} of the files ({where}) contains a birth, and patients without a birth are left out"
    if births := " ".join(kind.births for kind in kinds.values() if kind.births):
        return f"{text}: {births}"
    why = f". Most are rows {in_words(str(reasons.mode().sort()[0]))}" if len(reasons) else ""
    columns = [(one, f"columns.{name}") for one in kinds for name in ("birth_date", "birth_year")]
    settings = " or ".join(setting(*each) for each in columns if has_setting(*each))
    return f"{text}{why}. {f'Correct {settings}, or have' if settings else 'Have'} births exported."


def _some_missing(records: RecordsSettings, folders: Sequence[Path], below: int) -> Iterator[str]:
    """Yield a message if subjects have no row of a birth in any file, where only some rows of a file give births.

    Of extracts of more than LARGEST bytes, only the first rows of each file are read. There, a file whose rows are not in order
    of the subjects does not count, nor does its last subject: further rows may follow.
    """
    chosen = [
        (kind, path)
        for folder in folders
        for tree in [extract_files.tree_of(folder, records)]
        for kind in records.kinds.patients
        if kind.births and kind.where not in extract_files.absent(tree, records.kinds)
        for path in files.find(tree, kind)
    ]
    whole = sum(path.stat().st_size for _, path in chosen) <= LARGEST
    people, born = set[str](), set[str]()
    for kind, path in chosen:
        blocks = files.read(path, kind, block_bytes=BLOCK, progress=Progress(path.name, 1))
        for split in blocks if whole else islice(blocks, 1):
            rows = split().rows.filter(pl.col("patient") != "")
            told, _ = kind.adapted(rows)
            born |= set(told.filter(pl.col("birth_date") != "")["patient"])
            subjects = rows["patient"].filter(rows["patient"].rle_id().diff().fill_null(1) != 0)
            if whole or subjects.n_unique() == len(subjects):
                people |= set(subjects if whole else subjects[:-1])
    if (without := len(people - born)) >= below:
        first = "" if whole else "first "
        yield (
            f"{without:,} of the {first}{len(people):,} subjects have no row of a birth with a date, so they do not count as"
            f" patients: all their rows are rejected (unknown_patient). {chosen[0][0].births}"
        )
