"""Record file, line and reason of rejected rows: all are counted, and the first million per reason and file are listed.

Without this limit, a gzip file of empty lines could fill the disk: it can expand a thousandfold. The content of rejected rows is
not copied. A hash of the patient with the store's key (`secret_key`) is listed, so the lines of a patient who withdraws can be
removed. While an extract is read, the hash has no key, and ids could be recovered from it; `with_key` replaces it.
"""

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa

from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.records.text import CHANGED_HEADER
from ehr_pipeline.store import build_lock, durable, publishing, secret_key
from ehr_pipeline.store.artifacts import MANIFEST, Artifact, Store
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import RAW_RECORDS
from ehr_pipeline.tables.hashing import hash_of

MAX_LISTED = 1_000_000
WITHOUT_KEY = "withdrawn.npy"
"""File in records of earlier versions: hashes, without a key, of the patients who were removed."""
_log = logging.getLogger("ehr_pipeline")


class Quarantine:
    """Rows rejected while files are read. Rows that do not fit their patients are added later, bucket by bucket."""

    def __init__(self, folder: Path, files: list[str]):
        self.files = files
        self.reasons: dict[str, Counter[str]] = {"events": Counter(), "patients": Counter()}
        self.not_listed = 0
        """Number of rejected rows that are counted but not listed."""
        self._of_file: dict[tuple[str, str], Counter[str]] = {}
        folder.mkdir()
        self._writer = pa.ipc.new_file(str(folder / "text.arrow"), schemas.QUARANTINE)

    def add(self, kind: str, file: str, rejected: pl.DataFrame, first_line: int) -> None:
        """Count and write rejected lines (line, reason, and patient if it is known); lines count from `first_line`.

        Raises InputError for a second header with its columns in other places: the rows after it would be misread.
        """
        if rejected.height:
            changed = rejected.filter(pl.col("reason") == CHANGED_HEADER)["line"]
            if len(changed):
                raise InputError(
                    f"{file}, line {changed[0] + first_line}: a second header line has the columns in another order, so files of"
                    " different layouts were joined. Split the file there: each file may have its own order."
                )
            counts = dict(rejected["reason"].value_counts().iter_rows())
            self.reasons[kind].update(counts)
            rejected = self._listed(rejected, counts, self._of_file.setdefault((kind, file), Counter()))
            patient = rejected["patient"].fill_null("") if "patient" in rejected.columns else pl.Series([""])
            rows = rejected.select(
                pl.lit(kind).alias("kind"),
                pl.lit(file).alias("file"),
                pl.col("line") + first_line,
                "reason",
                patient_hash=pl.when(patient != "").then(pl.Series(hash_of(patient))),
            )
            self._writer.write_table(rows.to_arrow().cast(schemas.QUARANTINE))

    def _listed(self, rejected: pl.DataFrame, counts: dict[str, int], before: Counter[str]) -> pl.DataFrame:
        """Return the lines to list. `counts` counts the new lines by reason, `before` the earlier lines of the same file."""
        room = {reason: max(0, MAX_LISTED - before[reason]) for reason in counts}
        before.update(counts)
        if all(number <= room[reason] for reason, number in counts.items()):
            return rejected
        kept = pl.concat([rejected.filter(pl.col("reason") == reason).head(number) for reason, number in room.items()])
        self.not_listed += rejected.height - kept.height
        return kept.sort("line")

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def with_key(folder: Path, key: Key, work: Path | None = None) -> None:
    """Hash the patients in every file of a quarantine with the store's key, unless this was done already.

    No file is written through a link. `work` is the folder to write in, by default the quarantine itself.
    """
    for path in sorted(folder.iterdir()):
        if not secret_key.name_in(path):
            rewrite(path, lambda batch: _keyed(batch, key), secret_key.marked(schemas.QUARANTINE, key), work)


def bring_up_to_date(artifact: Artifact, store: Path) -> None:
    """Replace or remove hashes without a key that an earlier version of this package left in the records of an extract.

    The quarantine of the artifact gets keyed hashes, which does not change its data version; superseded records with
    hashes without a key are removed.
    """
    folder, root = artifact.file("quarantine"), artifact.path.parent
    if not all(secret_key.name_in(path) for path in folder.iterdir()):
        with build_lock.locked(root, artifact.path.name):
            work = build_lock.new(root, artifact.path.name)
            with_key(folder, secret_key.of(store), work)
            work.rmdir()
    for manifest in sorted(root.glob(f"*/{MANIFEST}")):
        if manifest.parent != artifact.path and is_without_key(manifest.parent):
            _remove_superseded(manifest.parent, Store(store), artifact.manifest["partition"])


def is_without_key(records: Path) -> bool:
    """Return whether records have patient hashes without a key, or a quarantine that cannot be read."""
    try:
        named = [secret_key.name_in(path) for path in records.glob("quarantine/*.arrow")]
    except (UserError, OSError):
        return True
    return not all(named) or (records / WITHOUT_KEY).exists()


def _remove_superseded(records: Path, store: Store, extract: str) -> None:
    with build_lock.locked(records.parent, records.name):
        if store.fingerprint(RAW_RECORDS, extract) == records.name or not (records / MANIFEST).is_file():
            return  # another process made it current, or removed it
        publishing.remove(records)
    _log.info("removed %s: superseded records, with hashes of patients that no key protects", records)


def rewrite(
    path: Path, change: Callable[[pa.RecordBatch], pa.RecordBatch], schema: pa.Schema, work: Path | None = None
) -> None:
    """Rewrite a file, passing each batch through `change`. Processes that are reading the old file can continue."""
    part = (work or path.parent) / f".{path.name}"
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as old, pa.ipc.new_file(part, schema) as new:
        for number in range(old.num_record_batches):
            new.write_batch(change(old.get_batch(number)).replace_schema_metadata(schema.metadata))
    durable.flush(part)
    part.replace(path)


def _keyed(batch: pa.RecordBatch, key: Key) -> pa.RecordBatch:
    plain = batch.column("patient_hash")
    hashes = pa.array(key.hashes(plain.fill_null(0).to_numpy()), mask=plain.is_null().to_numpy(zero_copy_only=False))
    return batch.set_column(batch.schema.get_field_index("patient_hash"), "patient_hash", hashes)
