"""What the page tells of new extracts, and that it tells of no few patients."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ehr_pipeline.clusters import overlap
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.sections import new_extracts
from ehr_pipeline.store.artifacts import Artifact


def overlaps(folder: Path, table: list[list[int]], below: int = 10) -> dict[str, Any]:
    """What the page tells of a table of overlaps."""
    rows, columns = len(table), len(table[0])
    found = {"patients": sum(map(sum, table)), "adjusted_rand_index": 0.876, "table": table}
    found |= {"now": list(range(1, rows + 1)), "before": list(range(1, columns + 1))}
    (folder / overlap.FILE).write_text(json.dumps(found))
    told = new_extracts.overlap_rows(Artifact(folder, {}), Disclosure(below))
    assert told
    return told


def test_the_overlap_is_rounded_and_small_cells_are_blank(tmp_path: Path) -> None:
    told = overlaps(tmp_path, [[127, 0, 40], [0, 64, 156]])
    assert told["patients"] == "about 390"
    assert told["index"] == "0.88"
    assert told["blank"] == 10
    assert told["rows"] == [(1, ["about 130", "", "about 40"]), (2, ["", "about 60", "about 160"])]
    assert new_extracts.overlap_rows(Artifact(tmp_path / "nothing", {}), Disclosure(10)) is None
    assert overlaps(tmp_path, [[127, 3], [0, 14]], below=1)["rows"] == [(1, ["127", "3"]), (2, ["", "14"])]


def test_small_overlaps_cannot_be_reckoned_from_the_sizes_of_clusters(tmp_path: Path) -> None:
    """One patient went from the second cluster to the first. Steps of ten would tell it; in wider ones it may be nobody or nine."""
    rng = np.random.default_rng(0)
    table = np.diag(rng.integers(60, 900, 6)) + np.where(rng.random((6, 6)) < 0.4, rng.integers(0, 9, (6, 6)), 0)
    assert ((table > 0) & (table < 10)).any()
    told = overlaps(tmp_path, table.tolist())
    assert told["blank"] > 10
    assert all(
        text == ""
        for (_, row), counts in zip(told["rows"], table, strict=True)
        for text, count in zip(row, counts, strict=True)
        if count < told["blank"]
    )


def test_where_no_steps_are_wide_enough_overlaps_are_not_told(tmp_path: Path) -> None:
    """Two clusters that exchanged one patient: both sums tell it, whatever the steps."""
    assert overlaps(tmp_path, [[300, 1]])["rows"] == []


def artifact(asset: str, inputs: dict[str, str], **counts: object) -> Artifact:
    return Artifact(Path(asset), {"inputs": inputs, "counts": counts, "data_version": asset})


def test_a_study_that_was_made_at_once_tells_nothing_of_extracts() -> None:
    made = {
        "patient_dataset": artifact("patient_dataset", {}),
        "encoder_checkpoint": artifact("encoder_checkpoint", {"patient_dataset": "patient_dataset"}),
        "patient_embeddings": artifact("patient_embeddings", {}),
        "clusters": artifact("clusters", {}),
    }
    clustered = pa.table({"assigned": [True] * 3 + [False] * 50})
    assert new_extracts.statements(made, clustered, Disclosure(10)) == []
    tokens = {"rows_in": 1000, "dropped": {"unknown_to_the_encoder": 12}}
    kept = made | {
        "encoder_checkpoint": artifact("encoder_checkpoint", {"patient_dataset": "older"}),
        "patient_embeddings": artifact("patient_embeddings", {"continues": "older"}, tokens=tokens),
        "clusters": artifact("clusters", {"continues": "older"}),
    }
    words = " ".join(map(str, new_extracts.statements(kept, clustered, Disclosure(10))))
    assert "not part of the vectors: 1.2 %" in words
    assert "<10 new or changed patients were assigned" in words
    went_on = made | {
        "encoder_checkpoint": artifact("e", {"patient_dataset": "patient_dataset", "continues": "x"}, tokens_added=7)
    }
    assert "7 concepts were new to it" in " ".join(
        map(str, new_extracts.statements(went_on, clustered, Disclosure(10)))
    )
