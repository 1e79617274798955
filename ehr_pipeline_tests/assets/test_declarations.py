"""What declarations say of each other fits; what they say of Dagster's graph and of manifests is in defs/test_definitions.py."""

from operator import attrgetter

import pytest

from ehr_pipeline.assets import ASSETS, of_study
from ehr_pipeline.store.artifacts import KEPT_WITHOUT_CONSENT
from ehr_pipeline.study import settings
from ehr_pipeline.tables.asset_names import STAGES, stage_of
from ehr_pipeline.terminology.shipped import shipped

DEMO = settings.load(shipped("demo/settings.toml"))


def test_names_and_their_order_are_those_that_low_rooms_know() -> None:
    assert list(ASSETS) == list(STAGES)
    assert stage_of("of_its_own") == "of_its_own"


@pytest.mark.parametrize("name", ASSETS)
def test_an_asset_fits_to_those_before_it(name: str) -> None:
    asset, before = ASSETS[name], list(ASSETS)[: list(ASSETS).index(name)]
    assert {*asset.reads, *asset.reads_for_sides} <= {*before}
    assert {source for sources in asset.lineage(DEMO).values() for source, _ in sources} <= {*before}
    assert {*asset.sound} <= {check.name for check in asset.checks}
    assert attrgetter(asset.section)(DEMO) is not None


@pytest.mark.parametrize("name", ASSETS)
def test_whoever_left_is_looked_for_in_every_asset(name: str) -> None:
    present = ASSETS[name].all_checks[0]
    assert present.name == "patients_present"
    assert present.blocking == (name not in KEPT_WITHOUT_CONSENT)


def test_without_a_cohort_there_is_nothing_that_depends_on_one() -> None:
    assert of_study(DEMO) == tuple(ASSETS)
    without = settings.load(shipped("demo/settings.toml"), {"embeddings": {"cohort": []}})
    last = ("forecasts", "task_results", "prediction_report")
    assert of_study(without) == (*tuple(ASSETS)[: list(ASSETS).index("cohort")], *last)
