"""Write the files of a `concept_relations` artifact."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.relations.concept_selection import Chosen
from ehr_pipeline.relations.evidence import Evidence, Measure
from ehr_pipeline.relations.settings import RelationsSettings
from ehr_pipeline.relations.table import CONSENSUS, EDGES, GRAPHS, ORDERS, RELATIONS
from ehr_pipeline.tables import json_files
from ehr_pipeline.tables.schemas import CONCEPT_RELATIONS


def write(
    path: Path, evidence: Evidence, chosen: Chosen, settings: RelationsSettings, listed: NDArray[np.int64]
) -> int:
    """Write the long table, measure by measure: each concept's best partners, and the pairs (m, 2) that are `listed`.

    A pair that too few patients have is not among the best partners. If it is listed, its row is flagged and has no values.
    Returns the number of rows.
    """
    rows = 0
    with pq.ParquetWriter(path, CONCEPT_RELATIONS, compression="zstd") as writer:
        for measure in evidence.measures:
            part = _rows(measure, chosen, settings.best, settings.fewest_patients, listed)
            writer.write_table(part)
            rows += part.num_rows
    return rows


def write_empty(folder: Path) -> None:
    """Write the empty tables of an artifact without pairs."""
    pq.write_table(CONCEPT_RELATIONS.empty_table(), folder / RELATIONS)
    write_consensus(folder, EDGES.empty_table())
    write_orders(folder, EDGES.empty_table())
    write_graphs(folder, {"graphs": {}, "agreement": []})


def _rows(measure: Measure, chosen: Chosen, best: int, fewest: int, listed: NDArray[np.int64]) -> pa.Table:
    few = measure.patients < fewest
    ranked = np.where(few | ~np.isfinite(measure.rank_by), -np.inf, measure.rank_by)
    np.fill_diagonal(ranked, -np.inf)
    order = np.argsort(-ranked, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(len(order))[None], axis=1)
    chosen_pairs = np.isfinite(ranked) & (place < best)
    if len(listed):
        chosen_pairs[listed[:, 0], listed[:, 1]] = chosen_pairs[listed[:, 1], listed[:, 0]] = True
    one, other = np.nonzero(chosen_pairs)
    within = np.argsort(place[one, other], kind="stable")
    within = within[np.argsort(one[within], kind="stable")]
    one, other = one[within], other[within]
    hidden = few[one, other]
    concepts = np.array([concept.concept for concept in chosen.concepts])
    names = np.array([concept.name for concept in chosen.concepts])

    def numbers(values: NDArray[Any] | None) -> pa.Array:
        empty = hidden | (True if values is None else ~np.isfinite(values[one, other]))
        return pa.array(np.zeros(len(one)) if values is None else values[one, other], pa.float64(), mask=empty)

    columns = {
        "concept": concepts[one],
        "name": names[one],
        "partner": concepts[other],
        "partner_name": names[other],
        "direction": np.full(len(one), "after" if measure.directed else "together"),
        "measure": np.full(len(one), measure.name),
        "rank": pa.array(place[one, other] + 1, pa.int64(), mask=~np.isfinite(ranked[one, other])),
        "value": numbers(measure.value),
        "low": numbers(measure.low),
        "high": numbers(measure.high),
        "q": numbers(measure.q),
        "patients": pa.array(measure.patients[one, other].astype(np.int64), mask=hidden),
        "suppressed": hidden,
    }
    return pa.table({f.name: pa.array(columns[f.name]).cast(f.type) for f in CONCEPT_RELATIONS}, CONCEPT_RELATIONS)


def write_consensus(folder: Path, edges: pa.Table) -> None:
    """Write the consensus edges with the evidence for each."""
    spreadsheet.write(folder / CONSENSUS, EDGES, _cells(edges))


def write_orders(folder: Path, orders: pa.Table) -> None:
    """Write the pairs that are only in order, with the evidence for each."""
    spreadsheet.write(folder / ORDERS, EDGES, _cells(orders))


def _cells(edges: pa.Table) -> Iterator[tuple[object, ...]]:
    for row in edges.to_pylist():
        yield tuple(
            ("" if value is None or np.isnan(value) else f"{value:.6g}") if isinstance(value, float) else value
            for value in row.values()
        )


def write_graphs(folder: Path, compared: dict[str, Any]) -> None:
    """Write the comparison of the graphs."""
    json_files.write(folder / GRAPHS, _finite(compared))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value
