"""Estimate how many rows of events the extracts of a study contain, from the sizes of their files and the beginnings of some."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.planning import text_head
from ehr_pipeline.records import catalog, extract_files, files
from ehr_pipeline.records.kinds import Kind
from ehr_pipeline.store.file_listing import Tree
from ehr_pipeline.study.settings import Study

HEAD = 1 << 18
"""Bytes at the beginning of a file in which line ends are counted."""
MOST_FILES = 20
"""Most text files of a kind whose beginnings are read."""


@dataclass(frozen=True)
class RowEstimate:
    """The estimated contents of the extracts' files."""

    rows: float
    """Rows of events."""
    patients: float | None
    """Rows of files with a row for each patient; None if there are no such files."""
    how: str
    """How it was counted, in words."""


def estimated(study: Study) -> RowEstimate:
    """Estimate how many rows of events, and how many patients, there are. Raises UserError if there are none."""
    records, landing = study.records, Path(study.records.landing)
    extracts = catalog.extracts_in(landing)
    number, rows, patients = 0, 0.0, 0.0
    for extract in extracts[-1:] if records.mode == "snapshot" else extracts:
        tree = extract_files.tree_of(landing / extract, records)
        events = [_files_of(tree, kind) for kind in records.kinds.events]
        number += sum(map(len, events))
        rows += sum(map(_rows, events))
        of_patients = [kind for kind in records.kinds.patients if kind.files.columns.has_birth and not kind.births]
        patients = max(patients, sum(_rows(_files_of(tree, kind)) for kind in of_patients))
    if rows < 1:
        raise UserError(
            f"{landing} (records.landing): contains no rows of events yet. Give their number as --rows, such as 3e9."
        )
    how = f"rows: estimated from line ends at the beginning of {number:,} event files, and from file sizes (--rows overrides this)"
    return RowEstimate(rows, patients or None, how)


def _files_of(tree: Tree, kind: Kind) -> list[Path]:
    """Return the files of a kind; none if the extract lacks it."""
    try:
        return files.find(tree, kind)
    except InputError:
        return []


def _rows(paths: Sequence[Path]) -> float:
    """Estimate how many rows some files of a kind have.

    Parquet files state their number of rows. For text files, line ends are counted in the beginnings of some files.
    """
    parquet = [path for path in paths if files.is_parquet(path)]
    rows = float(sum(_rows_of_parquet(path) for path in parquet))
    for packed in (False, True):
        texts = [path for path in paths if path not in parquet and (path.suffix == ".gz") == packed]
        looked_into = texts[:: -(-len(texts) // MOST_FILES)] if texts else []
        looks = [_line_ends(path) for path in looked_into]
        if read := sum(size for _, size in looks):
            rows += sum(ends for ends, _ in looks) / read * sum(path.stat().st_size for path in texts)
    return rows


def _rows_of_parquet(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowInvalid):
        raise UserError(
            f"{path}: not a Parquet file, or truncated. Copy it again, or exclude it from `files`."
        ) from None


def _line_ends(path: Path) -> tuple[int, int]:
    """Count the line ends in the beginning of a text file. Returns their number, and how many bytes were read."""
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    try:
        text, taken = text_head.unpacked(head) if path.suffix == ".gz" else (head, len(head))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return text.count(b"\n"), taken
