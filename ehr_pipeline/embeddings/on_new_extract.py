"""Keep vectors comparable when a new extract arrives: unchanged patients keep their vectors, others are embedded with the earlier
transform.

A patient is unchanged if the encoder would read the same input: the same known concepts on the same days, at the same ages. `seen/`
holds a hash of that input for every cohort patient. Patients who left the cohort or opted out are dropped.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.concepts import substitutes
from ehr_pipeline.embeddings import vectors
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import align, schemas

INPUT_HASHES = "seen"
COPIED_FILES = (vectors.ARRAYS, vectors.FACTS, vectors.SELECTED, vectors.SELECTED_CONCEPTS, substitutes.FILE)
"""Files that do not depend on which patients are embedded."""


def input_hashes(shard: Shard, patients: NDArray[np.int64], ids: pa.Array) -> pa.Table:
    """Return a 64-bit hash of the encoder's input for each patient (rows of the shard): columns patient_id, content."""
    sizes, hashes = np.diff(shard.visit_start), np.zeros(len(patients), np.uint64)
    for place, patient in enumerate(patients.tolist()):
        first, last = shard.patient_start[patient : patient + 2]
        digest = hashlib.blake2b(digest_size=8)
        digest.update(shard.birth_day[patient].tobytes() + shard.birth_year_only[patient].tobytes())
        digest.update(shard.visit_day[first:last].tobytes() + sizes[first:last].tobytes())
        digest.update(shard.tokens[shard.visit_start[first] : shard.visit_start[last]].tobytes())
        hashes[place] = int.from_bytes(digest.digest(), "big")
    return pa.table({"patient_id": ids, "content": pa.array(hashes)})


def unchanged(now: pa.Table, earlier: Artifact, shard: str) -> NDArray[np.bool_]:
    """Return flags (in the order of `now`, see `input_hashes`) of a shard's patients whose hash is the same in the earlier
    artifact."""
    path = earlier.file(f"{INPUT_HASHES}/{shard}")
    if not path.is_file():
        return np.zeros(now.num_rows, bool)
    before = schemas.read(path)
    row = align.rows(now.column("patient_id"), before.column("patient_id"))
    content = np.append(before.column("content").to_numpy(), np.uint64(0))  # row -1 reads this last entry
    flags: NDArray[np.bool_] = (row >= 0) & (content[row] == now.column("content").to_numpy())
    return flags


@dataclass(frozen=True)
class MergedVectors:
    """Merges a shard's earlier and new vectors, in the order of its patients `ids`."""

    ids: pa.Array
    kept: NDArray[np.bool_]
    """One flag for each of `ids`: whether the patient keeps the earlier vector."""

    def table(self, earlier: Path, new: pa.Table) -> pa.Table:
        """Return the patients' rows: from the file `earlier` if the vector is kept, else from `new`; no row without a vector."""
        before = schemas.read(earlier) if earlier.is_file() else new.slice(0, 0)
        mine = self.ids.filter(pa.array(self.kept))
        old = before.filter(pc.is_in(before.column("patient_id"), value_set=mine))
        both = pa.concat_tables([old.cast(new.schema), new]).combine_chunks()
        row = align.rows(self.ids, both.column("patient_id"))
        return both.take(pa.array(row[row >= 0]))


def take_over(earlier: Artifact, out: Path) -> None:
    """Copy the files COPIED_FILES from the earlier artifact."""
    for name in COPIED_FILES:
        shutil.copyfile(earlier.file(name), out / name)
