"""Settings of different sections that have to fit each other."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.errors import SettingsError
from ehr_pipeline.planning import preflight
from ehr_pipeline.study import settings
from ehr_pipeline.tasks.settings import Task
from ehr_pipeline.terminology.shipped import shipped


def problems(*attributes: str, **others: Any) -> list[str]:
    """What is wrong with the demo, which has tasks, where its encoder learns to predict attributes."""
    metadata = {"weight": 0.1, "attributes": list(attributes)}
    study = settings.load(shipped("demo/settings.toml"), {"encoder": {"metadata": metadata}, **others})
    return list(preflight._predicted(study))


def test_attributes_that_an_encoder_may_learn_to_predict() -> None:
    assert problems("sex", "birth_decade", "region", "practice") == []
    (unknown,) = problems("sex", "regoin")
    assert unknown == (
        "encoder.metadata.attributes contains 'regoin', but the patient files have no such attribute (there are: sex,"
        " birth_decade, ethnicity, practice, region, treatment). Correct the name, or remove it."
    )


def test_nothing_that_a_task_tests_is_learned_beside_it() -> None:
    derived = {"patients": {"derived": {"smoking": {"codes": "smoking.csv"}}}}
    (told,) = problems("smoking", **derived)
    assert "'smoking', which is derived from codes of the whole record" in told
    assert problems("smoking", **derived, tasks={"task": [], "screen": 0, "death": ""}) == []
    (death,) = problems("region", tasks={"death_attribute": "region"})
    assert "'region', which is a date" in death


def test_a_weight_without_attributes_is_refused_at_once() -> None:
    with pytest.raises(SettingsError, match=r"encoder\.metadata: weight is set, but attributes is empty"):
        problems()
    with pytest.raises(SettingsError, match=r"encoder\.metadata: attributes names one twice"):
        problems("sex", "sex")


def test_index_dates_whose_windows_end_after_the_data_are_told(tmp_path: Path) -> None:
    (tmp_path / "2022-12-31").mkdir()
    study = settings.load(shipped("demo/settings.toml"), {"records": {"landing": str(tmp_path)}})
    late = Task(
        name="Late", index="calendar", index_dates=("2018-12-31", "2019-01-02"), window_days=1461, outcome="list.csv"
    )
    assert preflight._windows_after_data(study, late) == (
        "tasks.task 'Late': the window of 1,461 days after 2019-01-02 ends after the data (2022-12-31), so this index date gives no"
        " label. Choose earlier index_dates, or a smaller window_days."
    )
    assert preflight._windows_after_data(study, replace(late, window_days=1000)) == ""
    assert preflight._windows_after_data(study, Task(name="Landmark", outcome="list.csv")) == ""
