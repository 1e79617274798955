"""What the page tells of new extracts, and that it tells of no few patients."""

import json
from pathlib import Path

import pyarrow as pa

from ehr_pipeline.artifacts import Artifact
from ehr_pipeline.clusters import overlap
from ehr_pipeline.reports import extracts
from ehr_pipeline.reports.disclosure import Disclosure


def test_the_overlap_is_rounded_and_small_cells_are_hidden(tmp_path: Path) -> None:
    table = [[127, 3, 0], [0, 14, 56]]
    found = {"patients": 203, "adjusted_rand_index": 0.876, "now": [1, 4], "before": [1, 2, 3], "table": table}
    (tmp_path / overlap.FILE).write_text(json.dumps(found))
    told = extracts.shown(Artifact(tmp_path, {}), Disclosure(10))
    assert told == {
        "patients": "about 200",
        "index": "0.88",
        "before": [1, 2, 3],
        "rows": [(1, ["about 130", "<10", ""]), (4, ["", "about 10", "about 60"])],
    }
    assert extracts.shown(Artifact(tmp_path / "nothing", {}), Disclosure(10)) is None


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
    assert extracts.told(made, clustered, Disclosure(10)) == []
    tokens = {"rows_in": 1000, "dropped": {"unknown_to_the_encoder": 12}}
    kept = made | {
        "encoder_checkpoint": artifact("encoder_checkpoint", {"patient_dataset": "older"}),
        "patient_embeddings": artifact("patient_embeddings", {"continues": "older"}, tokens=tokens),
        "clusters": artifact("clusters", {"continues": "older"}),
    }
    words = " ".join(extracts.told(kept, clustered, Disclosure(10)))
    assert "no part in the vectors: 1.2 %" in words
    assert "<10 new or changed patients were assigned" in words
    went_on = made | {
        "encoder_checkpoint": artifact("e", {"patient_dataset": "patient_dataset", "continues": "x"}, tokens_added=7)
    }
    assert "7 concepts were new to it" in " ".join(extracts.told(went_on, clustered, Disclosure(10)))
