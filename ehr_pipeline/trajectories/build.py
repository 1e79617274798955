"""Build `patient_trajectories`: clustered patients' records in windows of time, each with a vector, a cluster and a place on the
map.

A window's vector is made by the transform that was learned from the patients' whole records; it is not learned again. The window
gets the most frequent cluster among the nearest whole records, excluding the patient's own. Its place on the map of patients is the
mean place of those neighbours that are in this cluster. So windows lie on the existing map, without a second projection.

The artifact contains `trajectories/` (one row per window, `schemas.trajectories`) and `transitions.csv` (see `transitions`). Next
to the observed moves, `transitions.csv` lists the moves that are expected of such patients (`expected`). On synthetic extracts
where patients change, the artifact also contains `agreement.json`. With `windows = "off"` it is empty.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.clusters.assign import MOST, nearest_clustered, vote
from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings import windows
from ehr_pipeline.embeddings.embed import WINDOWS, read_chunks
from ehr_pipeline.embeddings.embedding_job import EmbeddingJob
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.transform import Part, Transform
from ehr_pipeline.embeddings.vectors import Vectors
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import align, json_files, schemas
from ehr_pipeline.tables.asset_names import CLUSTERS, COHORT, PATIENT_DATASET, PATIENT_EMBEDDINGS
from ehr_pipeline.trajectories import expected, transitions, truth
from ehr_pipeline.trajectories.settings import TrajectoriesSettings
from ehr_pipeline.trajectories.transitions import Course
from ehr_pipeline.work.jobs import Launch

FOLDER = "trajectories"


def build(
    artifacts: dict[str, Artifact],
    settings: TrajectoriesSettings,
    job: EmbeddingJob,
    out: Path,
    *,
    launch: Launch,
    planted: Path | None,
    shifted_dates: bool = False,
) -> Counts:
    """Write the windows of the clustered patients. Returns counts of windows and of patients.

    Chunk vectors are kept in the job's `work` folder until all exist, so a killed job can resume; the caller removes the folder.
    `planted` is the truth folder of a synthetic extract. With `shifted_dates`, expected moves do not depend on the year."""
    if settings.windows == "off":
        return {"rows_in": 0, "kept": 0, "dropped": {}, "windows": "off"}
    clusters = Clusters.read(artifacts[CLUSTERS].path)
    members = _sampled(Cohort.read(artifacts[COHORT].path).among(clusters.ids), settings.patients, job.seed)
    transform = Transform.read(artifacts[PATIENT_EMBEDDINGS].path)
    (job.work / WINDOWS).mkdir(parents=True, exist_ok=True)
    job.lay_out(members, transform.weights)
    launch(replace(job, windows=windows.Division(settings.windows, settings.years)))
    known = _WholeRecords.read(artifacts, clusters, job.seed)
    found, few, parts, ends = 0, 0, [], []
    for path in artifacts[PATIENT_DATASET].files("patients"):
        rows = members.rows(path.name)
        windowed = windows.split(Shard.read(path), rows, settings.windows, settings.years)
        pooled = transform.apply(Part(windowed.shard, windowed.rows, read_chunks(job.work / WINDOWS / path.name)))
        kept = np.flatnonzero(pooled.tokens >= settings.min_concepts)
        found, few = found + len(pooled.tokens), few + len(pooled.tokens) - len(kept)
        ids = schemas.read(path, ["patient_id"]).column("patient_id").take(pa.array(rows[windowed.owner[kept]]))
        made = _table(windowed, kept, ids, pooled.vectors_PD[kept], tokens=pooled.tokens[kept], known=known)
        schemas.write(out / FOLDER / path.name, made)
        ends.append(_Ends.of(made, windowed.shard.birth_day[kept]))
        parts.append(made.drop_columns(["vector"]))
    table = pa.concat_tables(parts).combine_chunks()
    course = Course.of(table)
    names = np.unique(clusters.numbers)
    transitions.write(out, course, names, _expected(ends, clusters, known, names, by_year=not shifted_dates))
    measured: Counts = {}
    if planted is not None:
        measured["agreement"] = truth.agreement(planted, table, clusters.table)
        json_files.write(out / "agreement.json", measured["agreement"])
    several = len(course.first_and_last()[0])
    return {
        "rows_in": found,
        "kept": table.num_rows,
        "dropped": {"few_concepts": few},
        "windows": settings.windows,
        "years": settings.years,
        "patients": {
            "rows_in": len(clusters.ids),
            "kept": several,
            "dropped": {
                "not_drawn": len(clusters.ids) - len(members),
                "fewer_than_two_windows": len(members) - several,
            },
        },
        **measured,
    }


@dataclass(frozen=True)
class _WholeRecords:
    """The whole records with which windows are compared, at most MOST."""

    ids: pa.Array
    unit: NDArray[np.float32]
    cluster: NDArray[np.int64]
    points: NDArray[np.float32]
    neighbours: int
    """How many nearest records vote on a window's cluster."""

    @classmethod
    def read(cls, artifacts: dict[str, Artifact], clusters: Clusters, seed: int) -> "_WholeRecords":
        """Read the clustered patients, or MOST of them drawn at random."""
        vectors = Vectors.read(artifacts[PATIENT_EMBEDDINGS])
        ids = vectors.ids
        if len(ids) > MOST:
            ids = ids.take(
                pa.array(np.sort(np.random.default_rng([seed, 0x7A1]).choice(len(ids), MOST, replace=False)))
            )
        drawn = clusters.of(ids)
        neighbours = int(artifacts[CLUSTERS].manifest["settings"]["neighbours"])
        return cls(ids, unit_length(vectors.of(ids)), drawn.numbers, drawn.points, neighbours)

    def place(
        self, ids: pa.ChunkedArray, vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """For windows with vectors (m, D), return the cluster (m,), the share of neighbours in this cluster (m,), and the place on
        the map (m, 2).

        The place is the mean of the neighbours in the chosen cluster: a mean over all neighbours could lie between the islands of
        the map, where there are no patients.
        """
        found, cluster, share = self.vote(align.rows(ids, self.ids), vectors)
        chosen = (found >= 0) & (self.cluster[found] == cluster[:, None])
        sums = np.einsum("mk,mkx->mx", chosen.astype(np.float32), self.points[found])
        points = sums / np.maximum(chosen.sum(1), 1)[:, None]
        return cluster, share, points.astype(np.float32)

    def vote(
        self, own: NDArray[np.int64], vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """For vectors (m, D), return the nearest records (m, k), the most frequent cluster among them (m,), and the share of them
        in this cluster (m,).

        `own` (m,) are the rows of the patients' own records, which do not vote; -1 for none.
        """
        found = nearest_clustered(vectors, self.unit, own, self.neighbours)
        names, labels = np.unique(self.cluster, return_inverse=True)
        label, share = vote(found, labels, len(names))
        return found, names[label], share


@dataclass(frozen=True)
class _Ends:
    """The first and the last window of each patient with several windows. Axes: n patients, 2 windows."""

    ids: pa.ChunkedArray
    vectors: tuple[NDArray[np.float32], NDArray[np.float32]]
    """First and last (n, D)."""
    cluster: NDArray[np.int64]
    """Clusters of the first windows (n,)."""
    ages: NDArray[np.float64]
    """Ages in years in the middle of each window (n, 2)."""
    year: NDArray[np.float64]
    """Calendar year in the middle of the first window (n,)."""
    tokens: NDArray[np.float64]
    """Pooled concepts in each window (n, 2)."""

    @classmethod
    def of(cls, table: pa.Table, birth_day: NDArray[np.int32]) -> "_Ends":
        """Take the windows from a table with the schema `schemas.trajectories`. `birth_day` (W,) is that of each window's
        patient."""
        _, *rows = Course.of(table).first_and_last()
        vectors = schemas.matrix(table)
        first, last = (table.column(name).cast(pa.int32()).to_numpy() for name in ("first_date", "last_date"))
        middle = (first.astype(np.float64) + last) / 2
        pair = np.stack(rows, axis=1)
        return cls(
            table.column("patient_id").take(pa.array(rows[0])),
            (vectors[rows[0]], vectors[rows[1]]),
            table.column("cluster").to_numpy().astype(np.int64)[rows[0]],
            (middle[pair] - birth_day[pair]) / DAYS_IN_YEAR,
            1970 + middle[rows[0]] / DAYS_IN_YEAR,
            table.column("tokens").to_numpy().astype(np.float64)[pair],
        )


def _expected(
    parts: list[_Ends], clusters: Clusters, known: _WholeRecords, names: NDArray[np.int64], *, by_year: bool
) -> NDArray[np.float64] | None:
    """Return how many moves are expected between the clusters `names` (K,), from the first to the last window (K, K)."""
    ids = pa.chunked_array([chunk for part in parts for chunk in part.ids.chunks], pa.string())
    people = clusters.of(ids).table
    ages, year, tokens, left = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("ages", "year", "tokens", "cluster")
    )
    first, last = (np.concatenate([part.vectors[side] for part in parts]) for side in range(2))
    categories = tuple(np.array(people.column(name).to_pylist(), str) for name in ("disease", "sex"))
    amounts = np.log(np.maximum(tokens, 1))
    covariates = np.column_stack([year, amounts]) if by_year else amounts
    ends = expected.Ends(first, last, categories, ages, covariates)
    own = align.rows(ids, known.ids)

    def assign(rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.searchsorted(names, known.vote(own[rows], vectors)[1])

    return expected.flows(ends, np.searchsorted(names, left), len(names), assign)


def _sampled(members: Cohort, most: int, seed: int) -> Cohort:
    """Return the members or, if there are more than `most`, that many of them drawn at random. Their order is kept."""
    if len(members) <= most:
        return members
    chosen = np.random.default_rng([seed, 0x7A0]).choice(len(members), most, replace=False)
    return Cohort(members.table.take(pa.array(np.sort(chosen))))


def _table(
    windowed: windows.Windows,
    kept: NDArray[np.int64],
    ids: pa.ChunkedArray,
    vectors: NDArray[np.float32],
    *,
    tokens: NDArray[np.int64],
    known: _WholeRecords,
) -> pa.Table:
    """Return the kept windows of a shard as a table with the schema `schemas.trajectories`."""
    first = windowed.shard.patient_start[kept]
    last = windowed.shard.patient_start[kept + 1] - 1
    cluster, support, points = known.place(ids, vectors)
    schema = schemas.trajectories(vectors.shape[1])
    columns = [
        ids,
        windowed.number[kept],
        pa.array(windowed.shard.visit_day[first], pa.int32()).cast(pa.date32()),
        pa.array(windowed.shard.visit_day[last], pa.int32()).cast(pa.date32()),
        tokens,
        cluster,
        support,
        *points.T,
        schemas.vectors(vectors),
    ]
    return pa.table(columns, names=schema.names).cast(schema)
