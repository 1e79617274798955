"""Work on a bucket that was done before is not done again: its files are linked from the artifact that holds them.

    memory = Memory.of(previous)                     # what the artifact that is current now remembers of its buckets
    def work(job): return job.memory.recall(job.out, key) or build(job)
    remember(out, keys, results)                     # for the next time

The key of a bucket is a hash of everything that decides its files. So when a new extract lands, or patients withdraw, only the
buckets of patients who changed are worked on.
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
    """What an earlier artifact knows of one bucket or of all of them. Empty when there is none."""

    folder: Path | None = None
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name of the shard: the key of its work, its files relative to the artifact, and the counts that the work returned."""

    @staticmethod
    def of(previous: Artifact | None) -> "Memory":
        """The memory of an artifact, if it has one."""
        if previous is None or not previous.file(REMEMBERED).is_file():
            return Memory()
        try:
            return Memory(previous.path, json.loads(previous.file(REMEMBERED).read_text(encoding="utf-8")))
        except ValueError:  # older manifests do not list it: a torn one is none
            return Memory()

    def about(self, shard: str) -> "Memory":
        """What is known of one bucket alone, small enough to be sent to another process."""
        return Memory(self.folder, {shard: self.known[shard]}) if shard in self.known else Memory()

    def recall(self, shard: str, key: str, out: Path) -> dict[str, int] | None:
        """Link the files of a bucket into `out` and return its counts, when the same work was done before; else None."""
        found = self.known.get(shard)
        if self.folder is None or found is None or found["key"] != key:
            return None
        for name in found["files"]:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).unlink(missing_ok=True)  # of a worker that was killed here
            os.link(self.folder / name, out / name)
        counts: dict[str, int] = found["counts"]
        return counts


@dataclass(frozen=True)
class Done:
    """Finished work on one bucket."""

    shard: str
    key: str
    files: tuple[str, ...]
    counts: dict[str, int]
    recalled: bool


def key_of(*parts: Any) -> str:
    """The key of work that these JSON-ready parts decide, in this version of the package."""
    return hash_of([__version__, *parts])


def content_hash(values: pa.Array | pa.Table) -> str:
    """A hash of an array's or a table's content, for keys."""
    table = values if isinstance(values, pa.Table) else pa.table({"": values})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def remember(out: Path, finished: Sequence[Done]) -> None:
    """Write down what was done, for the next time."""
    known = {done.shard: {"key": done.key, "files": done.files, "counts": done.counts} for done in finished}
    path = out / REMEMBERED
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def total(finished: Iterable[Done]) -> dict[str, int]:
    """The sum of the counts of all buckets."""
    summed: dict[str, int] = {}
    for done in finished:
        for name, number in done.counts.items():
            summed[name] = summed.get(name, 0) + number
    return summed
