"""Keep the clusters when new extracts arrive: unchanged patients keep their cluster; others are assigned by a vote.

The voters are the nearest of the patients who were clustered at first. They vote with the vectors that they had then (`model/`),
even if their records have changed since: records grow with every extract, so hardly any voters would be left if only unchanged
patients voted. A patient who is no longer in the data set, for example after opting out, does not vote, and the patient's vector is
deleted. Stability, the choice of the number of clusters, and the results of other methods are copied from the first clustering.
"""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.clusters import comparison, number_of_clusters, stable_numbers
from ehr_pipeline.clusters.assign import Model, vote
from ehr_pipeline.clusters.clustering import CHOICE, TRUST, Division
from ehr_pipeline.clusters.methods import Vectors
from ehr_pipeline.clusters.neighbours import nearest_of
from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import align, json_files

COPIED_FILES = (TRUST, CHOICE, number_of_clusters.FILE, comparison.FILE)
"""Files copied from the first clustering. An older clustering may lack some of them."""
OF_THE_CLUSTERING = ("graph", "eigenvectors", "stability", "numbers_kept")  # counts, besides agreement_with_<method>
OTHER = "cluster_"


def vector_hashes(vectors: Vectors) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each vector (n, D). A patient whose hash has changed counts as changed."""
    hashes = (int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "big") for row in vectors)
    return np.fromiter(hashes, np.uint64, len(vectors))


def divide(
    vectors: Vectors, ids: pa.Array, present: pa.Array, earlier: Artifact, out: Path, *, neighbours: int
) -> tuple[Division, Vectors]:
    """Return clusters and places on the map (n, 2) for patients with `vectors` (n, D), by the clusters of the artifact `earlier`.

    `present` are the ids of the whole data set. Also writes the files that `clusters.clustering` writes, and the model for new
    patients.
    """
    before = Clusters.read(earlier.path)
    table = before.table.combine_chunks()
    model = Model.read(earlier.path).only(present)
    numbers = np.array(sorted({*before.numbers.tolist(), *model.numbers.tolist()}), np.int64)
    row = align.rows(ids, before.ids)
    hashes = table.column("vector_hash").to_numpy()
    kept = (row >= 0) & (hashes[row] == vector_hashes(vectors))
    labels = np.searchsorted(numbers, before.numbers[row])
    points = before.points[row]
    new = np.flatnonzero(~kept)
    if len(new):
        nearest = nearest_of(unit_length(vectors[new]), model.unit, min(neighbours, len(model.unit)))
        voted = np.searchsorted(numbers, model.numbers)
        labels[new], _ = vote(nearest, voted, len(numbers))
        agree = (voted[nearest] == labels[new][:, None])[:, :, None]
        points[new] = (model.points[nearest] * agree).sum(1) / agree.sum(1)
    for name in COPIED_FILES:
        if (earlier.path / name).is_file():
            shutil.copyfile(earlier.file(name), out / name)
    numbering = json_files.read(earlier.file(stable_numbers.FILE))
    numbering |= {"after": earlier.data_version, "kept": {str(number): 1.0 for number in numbers.tolist()}}
    json_files.write(out / stable_numbers.FILE, numbering)
    model.write(out)
    stability = np.where(kept, table.column("stability").cast(pa.float64()).to_numpy(zero_copy_only=False)[row], np.nan)
    others = {
        name.removeprefix(OTHER): np.where(kept, table.column(name).to_numpy()[row] - 1, -1)
        for name in table.column_names
        if name.startswith(OTHER)
    }
    counts = {
        name: value
        for name, value in earlier.counts.items()
        if name in OF_THE_CLUSTERING or name.startswith("agreement_with_")
    }
    return Division(labels, numbers, others, stability, counts, ~kept), points
