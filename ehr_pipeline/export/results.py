"""Write results as tables for notebooks, and for an explorer of maps.

    OUT/patients.parquet      one row for each clustered patient: cluster, place on the map, attributes, nearest neighbours
    OUT/embeddings.parquet    patient_id and vector, in the same order
    OUT/enrichment.csv        the concepts that distinguish each cluster, with their tests (`reports.tables`)
    OUT/columns.csv           every column with its type
    OUT/figures/*.svg         the drawings of the page, for a publication
    OUT/table_1.csv           the characteristics of each cluster's patients

In the figures and in Table 1, small counts are suppressed as on the page. In the other tables nothing is suppressed, so they are as
restricted as the records. `neighbours` has the form that embedding-atlas reads (github.com/apple/embedding-atlas): row numbers of
the file, and cosine distances.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ehr_pipeline.clusters.neighbour_graph import approximate_neighbours
from ehr_pipeline.clusters.neighbours import exact_neighbours
from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.vectors import Vectors
from ehr_pipeline.reports import ENRICHMENT, FIGURES, TABLE_1
from ehr_pipeline.store import publishing
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import CLUSTER_REPORTS, CLUSTERS, PATIENT_EMBEDDINGS

COLUMNS = pa.schema([(name, pa.string()) for name in ("file", "column", "type")])
NEIGHBOURS = 15
EXACT_UP_TO = 300_000  # patients


@dataclass(frozen=True)
class Inputs:
    """The artifacts that the tables are made of."""

    clusters: Artifact
    embeddings: Artifact
    reports: Artifact

    @staticmethod
    def of(current: Callable[[str], Artifact]) -> "Inputs":
        """Return the current artifacts; `current` returns the current artifact of an asset."""
        return Inputs(current(CLUSTERS), current(PATIENT_EMBEDDINGS), current(CLUSTER_REPORTS))


def export(found: Inputs, out: Path, seed: int) -> Counts:
    """Write the tables to a new folder; after a failure, nothing remains. Raises UserError if the folder exists."""
    with publishing.whole(out) as part:
        part.mkdir()
        clusters = Clusters.read(found.clusters.path)
        vectors = Vectors.read(found.embeddings).of(clusters.ids)
        people = clusters.table.drop_columns(["vector_hash"])
        people = people.append_column("neighbours", _neighbours(vectors, seed))
        table = pa.table({"patient_id": clusters.ids, "vector": schemas.vectors(vectors)})
        columns = []
        for name, rows in (("patients", people), ("embeddings", table)):
            pq.write_table(rows, part / f"{name}.parquet", compression="zstd")
            columns += [(f"{name}.parquet", field.name, str(field.type)) for field in rows.schema]
        shutil.copyfile(found.reports.file(ENRICHMENT), part / ENRICHMENT)
        shutil.copyfile(found.reports.file(TABLE_1), part / TABLE_1)
        (part / FIGURES).mkdir()
        for drawing in found.reports.files(FIGURES):
            shutil.copyfile(drawing, part / FIGURES / drawing.name)
        spreadsheet.write(part / "columns.csv", COLUMNS, columns)
    return {"kept": people.num_rows}


def _neighbours(vectors: NDArray[np.float32], seed: int) -> pa.StructArray:
    """Return the row numbers and cosine distances of the nearest neighbours of each vector (n, D)."""
    unit = unit_length(vectors)
    n, k = len(unit), min(NEIGHBOURS, len(unit) - 1)
    if k < 1:
        rows, cosines = np.zeros((n, 0), np.int32), np.zeros((n, 0), np.float32)
    elif n <= EXACT_UP_TO:
        rows, cosines = exact_neighbours(unit, k)
    else:
        rows = approximate_neighbours(unit, k, seed)
        cosines = np.stack([np.einsum("nd,nd->n", unit, unit[column]) for column in rows.T], axis=1)
    offsets = pa.array(np.arange(0, n * k + 1, k) if k else np.zeros(n + 1), pa.int32())
    lists = {
        "ids": pa.ListArray.from_arrays(offsets, pa.array(rows.ravel().astype(np.int32))),
        "distances": pa.ListArray.from_arrays(offsets, pa.array(1 - cosines.ravel().astype(np.float32))),
    }
    return pa.StructArray.from_arrays(list(lists.values()), list(lists))
