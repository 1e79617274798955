"""Assign new patients to existing clusters by majority vote of their nearest clustered patients.

The artifact keeps in `model/` what this needs: the vectors of clustered patients (at most 50,000, drawn at random), their cluster
numbers and their places on the map. It holds no ids, but it is patient data. Beside it, `voters.arrow` lists the ids of these
patients, so patients who opt out can be removed.

    ehr-pipeline embed  --model CHECKPOINT --extract FOLDER --out vectors.arrow
    ehr-pipeline assign --vectors vectors.arrow --out assigned.arrow
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.clusters.methods import Labels, Vectors
from ehr_pipeline.clusters.neighbours import nearest_of
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.store import publishing
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import schemas

MODEL = "model/clustered.arrow"
VOTERS = "voters.arrow"
MOST = 50_000


@dataclass(frozen=True)
class Model:
    """The clustered patients with whom new patients are compared."""

    unit: Vectors
    """Vectors of the clustered patients, of length 1 (m, D)."""
    numbers: Labels
    """Cluster numbers of these patients (m,)."""
    points: Vectors
    """Their places on the map (m, 2)."""
    ids: pa.Array

    @classmethod
    def of(cls, unit: Vectors, numbers: Labels, points: Vectors, ids: pa.Array, seed: int) -> "Model":
        """Make the model from all clustered patients or, if there are more than MOST, from that many drawn at random."""
        kept = np.arange(len(unit))
        if len(unit) > MOST:
            kept = np.sort(np.random.default_rng([seed, 0xA551]).choice(len(unit), MOST, replace=False))
        return cls(unit[kept], numbers[kept], points[kept], ids.take(pa.array(kept)))

    @classmethod
    def read(cls, folder: Path) -> "Model":
        """Read a folder written by `write`."""
        table, ids = schemas.read(folder / MODEL), schemas.read(folder / VOTERS).column("patient_id")
        points = np.stack([table.column(name).to_numpy() for name in "xy"], axis=1)
        return cls(
            schemas.matrix(table).copy(),
            table.column("cluster").to_numpy().astype(np.int64),
            points,
            ids.combine_chunks(),
        )

    def only(self, present: pa.Array) -> "Model":
        """Return the model without patients who are not in `present`. Raises UserError if no patient is left."""
        here = pc.is_in(self.ids, value_set=present)
        flags = here.to_numpy(zero_copy_only=False)
        if not flags.any():
            raise UserError(
                "No clustered patient is in the data any more, so no new patient can be assigned to a cluster. Rebuild"
                " patient_embeddings and clusters with encoder.on_new_extract = 'retrain'."
            )
        return Model(self.unit[flags], self.numbers[flags], self.points[flags], self.ids.filter(here))

    def write(self, out: Path) -> None:
        """Write `model/`, and the ids of its patients to `voters.arrow`."""
        columns = {
            "cluster": pa.array(self.numbers, pa.int32()),
            "x": pa.array(self.points[:, 0], pa.float32()),
            "y": pa.array(self.points[:, 1], pa.float32()),
            "vector": schemas.vectors(self.unit),
        }
        schemas.write(out / MODEL, pa.table(columns))
        schemas.write(out / VOTERS, pa.table({"patient_id": self.ids}))


def vote(nearest: NDArray[np.int64], labels: Labels, count: int) -> tuple[Labels, NDArray[np.float32]]:
    """Return, for m patients, the most frequent label (m,) among their k neighbours, and its share of the votes (m,).

    `nearest` (m, k) are the neighbours' rows in `labels` (n,), -1 where there is none. All labels are below `count`. In a tie, the
    lowest label wins.
    """
    votes = np.zeros((len(nearest), count), np.float32)
    voters = nearest >= 0
    np.add.at(votes, (np.nonzero(voters)[0], labels[nearest[voters]]), 1)
    share = votes.max(1) / np.maximum(votes.sum(1), 1)
    return votes.argmax(1).astype(np.int64), share


def assign(vectors: Vectors, unit: Vectors, numbers: Labels, neighbours: int) -> tuple[Labels, NDArray[np.float32]]:
    """Return cluster numbers (m,) for new vectors (m, D), and the share (m,) of voters who agree.

    The voters are each new vector's nearest neighbours among the clustered unit vectors (n, D).
    """
    names, labels = np.unique(numbers, return_inverse=True)
    nearest = nearest_of(unit_length(vectors), unit, min(neighbours, len(unit)))
    label, share = vote(nearest, labels, len(names))
    return names[label], share


def nearest_clustered(vectors: Vectors, unit: Vectors, rows: NDArray[np.int64], neighbours: int) -> NDArray[np.int64]:
    """Return, for each of m patients, the rows (m, k + 1) of the nearest clustered unit vectors (n, D), nearest first.

    A patient is not their own neighbour: `rows` (m,) are the rows of the patients themselves, -1 for a patient who was not
    clustered. At most k of the k + 1 entries are neighbours; the other entries are -1.
    """
    count = min(neighbours, len(unit) - 1)
    nearest = nearest_of(unit_length(vectors), unit, count + 1)
    others = nearest != rows[:, None]
    others &= np.cumsum(others, axis=1) <= count
    return np.where(others, nearest, -1)


def run(clusters: Artifact, vectors: Path, neighbours: int, out: Path) -> Counts:
    """Write the cluster of each embedded patient to a table: patient_id, cluster, support (share of the neighbours in it). Return
    counts.

    Raises InputError for vectors that cannot be compared with the clustered ones, and UserError if `out` exists but is not a file.
    """
    publishing.refuse_existing(out, replace=True)
    if not vectors.is_file():
        raise InputError(
            f"{vectors}: this file does not exist. Set --vectors to a file written by `ehr-pipeline embed`."
        )
    model = schemas.read(clusters.file(MODEL))
    # A copy, because torch needs writable arrays.
    known, table = schemas.matrix(model).copy(), _embedded(vectors)
    new = schemas.matrix(table).copy()
    if new.shape[1] != known.shape[1]:
        raise InputError(
            f"{vectors}: vectors of {new.shape[1]} numbers, but the clusters were made from {known.shape[1]}."
            " Embed with the checkpoint and the settings of this study."
        )
    finite = np.isfinite(new).all(axis=1)
    chosen, support = assign(new[finite], known, model.column("cluster").to_numpy().astype(np.int64), neighbours)
    ids = table.column("patient_id").combine_chunks().filter(pa.array(finite))
    with publishing.whole(out, replace=True) as part:
        schemas.write(part, pa.table({"patient_id": ids, "cluster": pa.array(chosen, pa.int32()), "support": support}))
    return {"rows_in": len(new), "kept": len(chosen), "dropped": {"not_finite": len(new) - len(chosen)}}


def _embedded(path: Path) -> pa.Table:
    """Read a file written by `ehr-pipeline embed`. Raises InputError for any other file, and for a damaged one."""
    try:
        table = schemas.read(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: this is not an Arrow file, or it is damaged or cut off ({str(error).splitlines()[0]}). Set --vectors to a"
            " file written by `ehr-pipeline embed`: copy it again, or embed again."
        ) from None
    if not {"patient_id", "vector"} <= set(table.column_names):
        raise InputError(
            f"{path}: no columns patient_id and vector. Set --vectors to a file written by `ehr-pipeline embed`."
        )
    if not pa.types.is_fixed_size_list(table.schema.field("vector").type):
        raise InputError(
            f"{path}: column vector does not contain vectors of one length. Set --vectors to a file written by"
            " `ehr-pipeline embed`."
        )
    return table
