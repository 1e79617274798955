"""The files of a `concept_relations` artifact, as later stages read them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.errors import Damaged
from ehr_pipeline.tables import json_files
from ehr_pipeline.tables.schemas import CONCEPT_RELATIONS, INTEGER, REAL, TEXT, schema_of

RELATIONS, CONSENSUS, GRAPHS, NETWORK = "relations.parquet", "consensus.csv", "graphs.json", "network.graphml"
ORDERS = "orders.csv"
FEWEST = 2
"""Fewest concepts that make a pair."""
PRACTICES = "practices_compared"
"""Count of the artifact: the practices whose habits are taken into account; 0 if they are not known."""
EDGES = schema_of(
    (TEXT, "first first_name second second_name"),
    (INTEGER, "rank"),
    (REAL, "score"),
    (TEXT, "graphs"),
    (INTEGER, "patients patients_in_a_visit patients_of_first patients_of_second"),
    (INTEGER, "first_then_second second_then_first after_others"),
    (REAL, "odds_ratio odds_ratio_low odds_ratio_high odds_ratio_q"),
    (TEXT, "comes_first"),
    (REAL, "relative_risk relative_risk_low relative_risk_high direction_q"),
    (INTEGER, "community_of_first community_of_second"),
)
"""Columns of the consensus edges. `graphs` names the measures that have the pair among their heaviest edges. `first_then_second`
counts patients in whom the second concept followed the first within the window, `after_others` those in whom the later concept
followed a matched date. The relative risk is for the order in `comes_first`; if that is empty, for the likelier order."""


def read(folder: Path, *columns: str) -> pa.Table:
    """Read the long table: `schemas.CONCEPT_RELATIONS`, or some of its columns. Raises Damaged if it cannot be read."""
    try:
        return pq.read_table(folder / RELATIONS, schema=CONCEPT_RELATIONS, columns=list(columns) or None)
    except (OSError, pa.ArrowException) as error:
        raise Damaged(
            f"{folder / RELATIONS}: not readable. Rebuild the asset (ehr-pipeline run), or copy its whole folder again."
        ) from error


def compared(folder: Path) -> frozenset[str]:
    """Return the concepts that were compared. Each is in the table at least once, with its best partner."""
    pairs = read(folder, "concept", "partner")
    return frozenset(pc.unique(pairs["concept"]).to_pylist()) | frozenset(pc.unique(pairs["partner"]).to_pylist())


def read_consensus(folder: Path) -> list[dict[str, Any]]:
    """Read the consensus edges: `consensus.EDGES`."""
    return list(spreadsheet.read(folder / CONSENSUS, EDGES))


def read_orders(folder: Path) -> list[dict[str, Any]]:
    """Read the pairs that do not qualify as edges, but whose second concept follows the first (columns as in `EDGES`)."""
    return list(spreadsheet.read(folder / ORDERS, EDGES))


def read_graphs(folder: Path) -> dict[str, Any]:
    """Read the comparison of the graphs (`consensus.compared`)."""
    return dict(json_files.read(folder / GRAPHS))
