"""`ehr-pipeline release`: write a folder with a manifest and only what may leave the place where the data are kept.

The folder holds the report unchanged (its small counts are already suppressed), and three tables made for this purpose: the mapping
of codes to concepts, the vocabulary, and the counts of all stages. A row is released only if enough patients have its code or
concept, and a terminology knows it. Counts are rounded. No patient-level data, vectors or weights are written.
"""

import datetime
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ehr_pipeline import __version__
from ehr_pipeline.assets import ASSETS
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.disclosure.figures import Guard, Naming
from ehr_pipeline.disclosure.governance import RELEASABLE
from ehr_pipeline.errors import UserError
from ehr_pipeline.events.table import FILE as MAPPING_FILE
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import build_lock, count_kinds, publishing
from ehr_pipeline.store.artifacts import Artifact, hash_of
from ehr_pipeline.store.durable import write_atomically
from ehr_pipeline.study import settings
from ehr_pipeline.tables import json_files, schemas
from ehr_pipeline.tables.asset_names import CLUSTER_REPORTS, MAPPED_EVENTS, PREDICTION_REPORT, RAW_RECORDS, VOCABULARY
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline.vocabulary import table

MANIFEST = "manifest.json"
RELEASES = "releases.jsonl"
"""File in the store that lists which reports were released, and when."""
_log = logging.getLogger("ehr_pipeline")
MAPPING = ("snomed", "concept", "name", "step", "events")
VOCABULARY_COLUMNS = ("concept", "name", "semantic_types", "events", "patients")
COUNTED = ("events", "patients")
Row = dict[str, Any]


@dataclass(frozen=True)
class ReleaseRules:
    """The rules for which rows of a table are shown (`naming`), and how their counts are shown (`guard`)."""

    guard: Guard
    naming: Naming


def release(pipeline: Pipeline, out: Path) -> list[Path]:
    """Write the folder, which must not exist yet, whole or not at all. Return its files.

    Raises UserError after the date in governance.expires.
    """
    publishing.refuse_existing(out)
    report, mapped, vocabulary = (pipeline.require(asset) for asset in (CLUSTER_REPORTS, MAPPED_EVENTS, VOCABULARY))
    mapping = Mapping.read(mapped.path)
    _refuse_uncounted(mapping)
    shown = ReleaseRules(pipeline.study.guard, pipeline.naming)
    with publishing.whole(out) as part:
        part.mkdir()
        for page in (report, *_predictions(pipeline)):
            for name in ASSETS[page.manifest["asset"]].released:
                (part / name).write_bytes(page.file(name).read_bytes())
        codes = mapping.table.fill_null("").iter_rows(named=True)
        _table(part / MAPPING_FILE, filter(_code_is_known, codes), MAPPING, shown)
        concepts = spreadsheet.read(vocabulary.file(table.FILE), schemas.VOCABULARY)
        _table(part / table.FILE, filter(_concept_is_known, concepts), VOCABULARY_COLUMNS, shown)
        counts = {
            asset: count_kinds.shown_counts(asset, pipeline.store.current(asset).counts, shown.guard)
            for asset in ASSETS
            if asset != RAW_RECORDS and pipeline.store.has(asset)
        }
        json_files.write(part / "counts.json", counts)
        files = sorted(part.iterdir())
        _manifest(pipeline, part, files)
        _remember(pipeline.store.root, report)  # before the release is published
    return [*(out / path.name for path in files), out / MANIFEST]


def _predictions(pipeline: Pipeline) -> list[Artifact]:
    """Return the page of predictions; nothing for a study without tasks."""
    made = pipeline.study.tasks.any and pipeline.store.has(PREDICTION_REPORT)
    return [pipeline.require(PREDICTION_REPORT)] if made else []


def _refuse_uncounted(mapping: Mapping) -> None:
    """Raise UserError if the mapping does not record how many patients have each code."""
    if not mapping.counts_patients:
        raise UserError(
            "mapped_events was made by an earlier version of this package, which did not count patients by code. Rebuild it"
            " and everything after it (ehr-pipeline run), then release."
        )


def _remember(store: Path, report: Artifact) -> None:
    """Record that a report was released. Warns if another was released before, because their counts can be subtracted."""
    path, today = store / RELEASES, datetime.datetime.now(datetime.UTC).date().isoformat()
    with build_lock.locked(store, hash_of(RELEASES)):
        before = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        now = json.dumps({"released_at": today, "report": report.data_version})
        write_atomically(path, "".join(f"{line}\n" for line in [*before, now]))
    releases = [json.loads(line) for line in before]
    others = sorted({each["released_at"] for each in releases if each["report"] != report.data_version})
    if others:
        _log.warning(
            "Another report of this store was released %s. Anyone who has both can subtract the counts of one from those of the"
            " other, and so learn of patients who came, left or moved between clusters. Have both checked together before you"
            " release this one.",
            f"on {others[0]}" if len(others) == 1 else f"{len(others)} times, last on {others[-1]}",
        )


def _code_is_known(row: Row) -> bool:
    """Return whether a terminology knows the code of a row of `mapping.csv`. Other codes may be any typed text, even a patient's
    id.

    A code that was kept as a separate concept counts as known if a terminology gave it a name.
    """
    return bool(row["concept"]) and row["kind"] != "bad_check_digit" and (row["step"] != "kept" or bool(row["name"]))


def _concept_is_known(row: Row) -> bool:
    """Return whether a terminology knows the concept of a row of `vocabulary.csv`; otherwise its name is only its code."""
    return bool(row["name"] != row["concept"])


def _table(out: Path, rows: Iterable[Row], columns: tuple[str, ...], shown: ReleaseRules) -> None:
    """Write some columns of a table: only rows whose numbers of patients and events are large enough for their name to be shown."""
    schema = pa.schema([(name, pa.int64() if name in COUNTED else pa.string()) for name in columns])
    spreadsheet.write(out, schema, _guarded(rows, columns, shown))


def _guarded(rows: Iterable[Row], columns: tuple[str, ...], shown: ReleaseRules) -> Iterator[list[object]]:
    for row in rows:
        name = row.get("code") or row["concept"]
        if shown.naming.shows(name, min(row[count] for count in COUNTED)):
            yield [shown.guard.count(row[column]) if column in COUNTED else row[column] for column in columns]


def _manifest(pipeline: Pipeline, out: Path, files: list[Path]) -> None:
    study = pipeline.study
    manifest = {
        "study": study.study.name,
        "class": RELEASABLE,
        **study.governance.terms,
        "counts_below_left_out": study.reports.suppress_below,
        "patients_that_a_name_needs": "above that, and up to twice as many: of each name another number, by a keyed hash",
        "counts_rounded_to": study.guard.step,
        "settings": settings.digest(study),
        "package": __version__,
        "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "made_of": {
            asset: pipeline.store.current(asset).data_version for asset in (CLUSTER_REPORTS, MAPPED_EVENTS, VOCABULARY)
        },
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": file_hash(path)} for path in files},
    }
    json_files.write(out / MANIFEST, manifest)
