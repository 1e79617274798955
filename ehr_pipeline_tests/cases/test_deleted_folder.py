import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings

EXTRACT = "2020-01-01"


@pytest.mark.parametrize("asset", ["raw_records", "mapped_events", "vocabulary", "patient_dataset"])
def test_an_artifact_whose_folder_was_deleted_is_made_again(case: Callable[[str], Path], asset: str) -> None:
    study = settings.load(case("del_folder") / "settings.toml")
    made = Pipeline(study).make(EXTRACT, until="patient_dataset")
    shutil.rmtree(made[asset].path)
    assert (made[asset].path.parent / "current").is_file()
    again = Pipeline(study).make(EXTRACT, until="patient_dataset")
    assert [name for name, artifact in again.items() if not artifact.skipped] == [asset]
    assert again[asset].data_version == made[asset].data_version
