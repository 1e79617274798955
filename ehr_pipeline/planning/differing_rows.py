"""Warn early of patients whose rows contradict each other. A run counts them too, but only after it has read all rows.

Only the beginning of the patient files of the newest extract is read, so that time and memory do not grow with the files.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from ehr_pipeline.checks import data
from ehr_pipeline.errors import UserError
from ehr_pipeline.planning.findings import Preflight
from ehr_pipeline.records import catalog, check_first_rows, extract_files, files, merge_patients, patients
from ehr_pipeline.records.dates import DateRules
from ehr_pipeline.records.kinds import PatientKind
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.study.settings import Study
from ehr_pipeline.work.progress import Progress

BLOCK, BLOCKS = 1 << 22, 8
"""Bytes of a block, and how many blocks of patient files are read at most."""


def look(study: Study, findings: Preflight) -> None:
    """Report patients with contradicting rows, unless problems were found before."""
    extracts = catalog.extracts_in(Path(study.records.landing))
    if findings.problems or not extracts:
        return
    folder = Path(study.records.landing) / extracts[-1]
    try:
        blocks, whole = _read(folder, study.records)
    except (UserError, OSError, pl.exceptions.PolarsError):
        return  # another check reports what cannot be read
    differing = merge_patients.merge_rows(pl.concat(blocks)).differing if blocks else {}
    if differing:
        where = "" if whole else f" (of the first {BLOCK * BLOCKS >> 20} MB of the patient files)"
        findings.warnings.append(
            f"extract {folder.name}{where}: {'; '.join(data.contradictions(differing, findings.below))}."
        )


def _read(folder: Path, records: RecordsSettings) -> tuple[list[pl.DataFrame], bool]:
    """Read typed patients in blocks; also return whether these blocks contain all rows of the patient files."""
    rules, blocks = check_first_rows.rules(folder.name, records), list[pl.DataFrame]()
    for block in _blocks(folder, records, rules):
        if len(blocks) == BLOCKS:
            return blocks, False
        blocks.append(block)
    return blocks, True


def _blocks(folder: Path, records: RecordsSettings, rules: DateRules) -> Iterator[pl.DataFrame]:
    tree = extract_files.tree_of(folder, records)
    absent = extract_files.absent(tree, records.kinds)
    for kind in records.kinds.patients:
        for path in files.find(tree, kind) if kind.where not in absent else ():
            for split in files.read(path, kind, block_bytes=BLOCK, progress=Progress(path.name, 1)):
                yield _typed(kind.adapted(split().rows)[0], path, kind, records.attributes, rules)


def _typed(
    rows: pl.DataFrame, path: Path, kind: PatientKind, attributes: tuple[str, ...], rules: DateRules
) -> pl.DataFrame:
    """Return usable rows as the run reads them, but without the values of joined tables."""
    layout = replace(files.file_layout(path, kind.files), linked=())
    return patients.parse(rows, layout, attributes, (), rules, partial=kind.partial)[0]
