"""Variants of a sample: bounded, and of nobody who has left or whose record has changed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ehr_pipeline.embeddings import ablations
from ehr_pipeline.embeddings.transform import Sample
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.embeddings.test_transform import part


def test_only_patients_whose_record_is_unchanged_are_taken_over(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    vectors = np.arange(12, dtype=np.float32).reshape(4, 3)
    columns = {name: schemas.vectors(vectors + place) for place, name in enumerate(ablations.COLUMNS)}
    table = pa.table({"patient_id": ["a", "b", "c", "d"], **columns})
    schemas.write(before / ablations.FOLDER / f"{ablations.NO_NETWORK}.arrow", table)
    ablations.take_over(Artifact(before, {}), after, pa.array(["d", "b", "new"]))
    found = ablations.read(Artifact(after, {}))
    assert found.keys() == {ablations.NO_NETWORK}
    kept = found[ablations.NO_NETWORK]
    assert kept.ids.to_pylist() == ["b", "d"]
    assert np.array_equal(kept.whole, vectors[[1, 3]])
    assert np.array_equal(kept.halves[1], vectors[[1, 3]] + 2)
    ablations.take_over(Artifact(tmp_path / "older", {}), tmp_path / "none", pa.array(["a"]))
    assert ablations.read(Artifact(tmp_path / "none", {})) == {}, "an artifact of before has none"


@pytest.mark.parametrize(("most", "left"), [(2, 2), (1, 2), (100, 6)])
def test_a_sample_is_bounded_and_whole_in_each_part(tmp_path: Path, most: int, left: int) -> None:
    """Two shards of three patients each: the same share of each is drawn, at least one."""
    whole = part(tmp_path)
    sample = Sample(whole, (whole, whole), (whole.shard, whole.shard))
    drawn = ablations.sampled([sample, sample], most)
    assert sum(len(each.whole.patients) for each in drawn) == left
    for each in drawn:
        assert each.halves[0].patients.tolist() == each.whole.patients.tolist()
        assert each.views[0].tokens.tolist() == each.whole.shard.tokens.tolist()
        assert len(each.whole.there) == len(each.whole.patients)
