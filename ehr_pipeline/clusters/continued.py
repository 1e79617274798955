"""New extracts, the same clusters: the unchanged keep theirs, others get that of most of the nearest clustered patients.

Those who vote are the patients that were clustered, with the vectors that they had then (`model/`): records grow with every
extract, and if only unchanged ones voted, hardly anybody would be left. Who is no longer in the data set, as after a withdrawal,
votes no more, and no vector of theirs is kept. Stability, the choice of the number and other methods are those of the clustering
itself.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.clusters import numbering
from ehr_pipeline.clusters.assign import Model, vote
from ehr_pipeline.clusters.divide import Division
from ehr_pipeline.clusters.methods import Vectors
from ehr_pipeline.clusters.neighbours import nearest_of
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas

TAKEN_OVER = ("trust.json", "choice.csv", "comparison.csv")
OF_THE_CLUSTERING = ("graph", "eigenvectors", "stability", "numbers_kept")  # counts, beside agreement_with_<method>
OTHER = "cluster_"


def vector_hashes(vectors: Vectors) -> NDArray[np.uint64]:
    """A hash (64 bits) of each vector (n, D): who has another one than before is changed."""
    hashes = (int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "big") for row in vectors)
    return np.fromiter(hashes, np.uint64, len(vectors))


def divide(
    vectors: Vectors, ids: list[str], present: pa.Array, neighbours: int, earlier: Artifact, out: Path
) -> tuple[Division, Vectors]:
    """The clusters and the places on the map (n, 2) of patients with `vectors` (n, D), as the earlier artifact has them.

    `present` are the ids of the whole data set. Writes what `clusters.divide` writes.
    """
    before = schemas.read(earlier.file("clusters.arrow")).combine_chunks()
    model = Model.read(earlier.path).only(present)
    numbers = np.array(sorted({*before.column("cluster").to_pylist(), *model.numbers.tolist()}), np.int64)
    place = pc.index_in(pa.array(ids, pa.string()), value_set=before.column("patient_id").combine_chunks())
    row = place.fill_null(-1).to_numpy()
    hashes = before.column("vector_hash").to_numpy()
    kept = (row >= 0) & (hashes[row] == vector_hashes(vectors))
    labels = np.searchsorted(numbers, before.column("cluster").to_numpy()[row])
    points = np.stack([before.column(name).to_numpy() for name in "xy"], axis=1)[row]
    new = np.flatnonzero(~kept)
    if len(new):
        found = nearest_of(unit_length(vectors[new]), model.unit, min(neighbours, len(model.unit)))
        voted = np.searchsorted(numbers, model.numbers)
        labels[new], _ = vote(found, voted, len(numbers))
        agree = (voted[found] == labels[new][:, None])[:, :, None]
        points[new] = (model.points[found] * agree).sum(1) / agree.sum(1)
    for name in TAKEN_OVER:
        shutil.copyfile(earlier.file(name), out / name)
    told = json.loads(earlier.file(numbering.FILE).read_text(encoding="utf-8"))
    told |= {"after": earlier.data_version, "kept": {str(number): 1.0 for number in numbers.tolist()}}
    (out / numbering.FILE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    model.write(out)
    stability = np.where(
        kept, before.column("stability").cast(pa.float64()).to_numpy(zero_copy_only=False)[row], np.nan
    )
    others = {
        name.removeprefix(OTHER): np.where(kept, before.column(name).to_numpy()[row] - 1, -1)
        for name in before.column_names
        if name.startswith(OTHER)
    }
    counts = {
        name: value
        for name, value in earlier.counts.items()
        if name in OF_THE_CLUSTERING or name.startswith("agreement_with_")
    }
    return Division(labels, numbers, others, stability, counts, ~kept), points
