"""Reuse of finished work on buckets: the files of an unchanged bucket are hard-linked from the previous artifact.

    memory = Memory.of(previous)                     # the buckets that the current artifact recorded
    def work(job): return job.memory.recall(job.name, key, job.out) or build(job)
    remember(out, finished)                          # for the next run

The key of a bucket is a hash of everything that affects its files. So when a new extract arrives or patients withdraw,
only the buckets of patients with changed data are rebuilt.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ehr_pipeline import __version__
from ehr_pipeline.store.artifacts import Artifact, hash_of

REMEMBERED = "notes/buckets.json"


@dataclass(frozen=True)
class Memory:
    """What an earlier artifact recorded about its buckets; empty if there is none."""

    folder: Path | None = None
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By shard name: the key of the work, the files (relative to the artifact), and the counts."""

    @staticmethod
    def of(previous: Artifact | None) -> "Memory":
        """Read what an artifact recorded about its buckets; may be empty."""
        if previous is None or not previous.file(REMEMBERED).is_file():
            return Memory()
        try:
            return Memory(previous.path, json.loads(previous.file(REMEMBERED).read_text(encoding="utf-8")))
        except ValueError:  # older manifests do not list this file, so it may be incomplete: treat it as absent
            return Memory()

    def about(self, shard: str) -> "Memory":
        """Return the record of one bucket (`shard`), which is small enough for another process."""
        return Memory(self.folder, {shard: self.known[shard]}) if shard in self.known else Memory()

    def recall(self, shard: str, key: str, out: Path) -> dict[str, int] | None:
        """If the same work was done before, link the bucket's files into `out` and return its counts; otherwise return None."""
        recorded = self.known.get(shard)
        if self.folder is None or recorded is None or recorded["key"] != key:
            return None
        for name in recorded["files"]:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).unlink(missing_ok=True)  # left by a worker that was killed
            os.link(self.folder / name, out / name)
        counts: dict[str, int] = recorded["counts"]
        return counts


@dataclass(frozen=True)
class FinishedBucket:
    """Finished work on one bucket."""

    shard: str
    key: str
    files: tuple[str, ...]
    counts: dict[str, int]
    recalled: bool


def key_of(*parts: Any) -> str:
    """Return the key of work that depends only on these parts (JSON values) and the version of the package."""
    return hash_of([__version__, *parts])


def content_hash(values: pa.Array | pa.Table) -> str:
    """Return a hash of the content of an array or table, for use in keys."""
    table = values if isinstance(values, pa.Table) else pa.table({"": values})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def remember(out: Path, finished: Sequence[FinishedBucket]) -> None:
    """Record the finished work in `out`, for the next run."""
    known = {done.shard: {"key": done.key, "files": done.files, "counts": done.counts} for done in finished}
    path = out / REMEMBERED
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def total(finished: Iterable[FinishedBucket]) -> dict[str, int]:
    """Return the sum of the counts of all buckets."""
    summed: dict[str, int] = {}
    for done in finished:
        for name, number in done.counts.items():
            summed[name] = summed.get(name, 0) + number
    return summed
