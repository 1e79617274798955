import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ehr_pipeline.clusters import stable_numbers
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.conftest import tiny_settings

IDS = pa.array([str(number) for number in range(90)])


def earlier(folder: Path, clusters: list[int], highest: int = 9, ids: pa.Array = IDS) -> Artifact:
    schemas.write(folder / "clusters.arrow", pa.table({"patient_id": ids, "cluster": pa.array(clusters, pa.int32())}))
    (folder / stable_numbers.FILE).write_text(json.dumps({"after": "", "kept": {}, "highest": highest}))
    return Artifact(folder, {"data_version": "v1"})


def test_without_an_earlier_run_numbers_go_by_size() -> None:
    given, told = stable_numbers.numbers(np.repeat([0, 1, 2], 30), IDS, None)
    assert given.tolist() == [1, 2, 3]
    assert told == {"after": "", "kept": {}, "highest": 3}


def test_clusters_that_are_found_again_keep_their_numbers(tmp_path: Path) -> None:
    before = earlier(tmp_path, [7] * 30 + [2] * 30 + [5] * 30)
    labels = np.array([0] * 28 + [1] * 32 + [2] * 30)
    given, told = stable_numbers.numbers(labels, IDS, before)
    assert given.tolist() == [7, 2, 5]
    assert told["after"] == "v1"
    assert told["kept"] == {"7": pytest.approx(28 / 30, abs=1e-4), "2": pytest.approx(30 / 32, abs=1e-4), "5": 1.0}


def test_a_cluster_that_matches_none_gets_a_number_that_nobody_had(tmp_path: Path) -> None:
    before = earlier(tmp_path, [1] * 60 + [2] * 30, highest=4)
    labels = np.array([0] * 31 + [1] * 29 + [2] * 30)  # cluster 1 fell into two; the larger part keeps its number
    given, told = stable_numbers.numbers(labels, IDS, before)
    assert given.tolist() == [1, 5, 2]
    assert told["highest"] == 5


def test_a_cluster_that_shares_less_than_half_is_another_one(tmp_path: Path) -> None:
    before = earlier(tmp_path, [1] * 30 + [2] * 30 + [3] * 30)
    labels = np.array([0] * 30 + [1] * 30 + [2] * 30)
    labels[30:44], labels[60:74] = 2, 1  # 16 of 44 stayed in either
    given, told = stable_numbers.numbers(labels, IDS, before)
    assert given.tolist() == [1, 10, 11]
    assert set(told["kept"]) == {"1"}


def test_only_patients_of_both_runs_count(tmp_path: Path) -> None:
    before = earlier(
        tmp_path, [3] * 20 + [4] * 20, ids=pa.array([*IDS[:20].to_pylist(), *(f"left {n}" for n in range(20))])
    )
    given, _ = stable_numbers.numbers(np.array([0] * 20 + [1] * 70), IDS, before)
    assert given.tolist() == [3, 10]


@pytest.mark.slow
def test_a_run_that_changes_nothing_makes_nothing_and_settings_set_back_give_what_they_gave(
    tiny: Pipeline, extract: Path
) -> None:
    store = str(tiny.store.root)
    first = tiny.store.current("clusters")

    def clusters(n: int) -> Artifact:
        return Pipeline(tiny_settings(extract, study={"store": store}, clusters={"n": n})).clusters()

    assert clusters(8).skipped
    other = clusters(6)
    assert not other.skipped
    assert other.manifest["inputs"]["earlier"] == first.data_version
    assert json.loads(other.file(stable_numbers.FILE).read_text())["after"] == first.data_version
    assert clusters(6).skipped
    again = clusters(8)
    assert again.skipped
    assert again.path == first.path
