"""What Dagster shows of a new extract and of another setting for it: stale before, made or skipped, fresh after."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus

from ehr_pipeline.defs.build_definitions import build
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study.settings import Study
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests.second_extract import LATER, Grown, grow

pytestmark = pytest.mark.slow

AFTER = [asset for asset in STAGES if asset != "raw_records"]
MODEL = ["encoder_checkpoint", "concept_embeddings", "cohort", "patient_embeddings", "clusters", "cluster_reports"]


class Shown:
    """A study in a Dagster instance of its own."""

    def __init__(self, grown: Grown, instance: dg.DagsterInstance):
        self.grown, self.instance = grown, instance

    def run(self, study: Study, *assets: str, extract: str | None = None) -> dict[str, bool]:
        """One run of some assets. Returns for each whether it was skipped."""
        job = dg.define_asset_job("some", selection=dg.AssetSelection.assets(*assets))
        resolved = dg.Definitions.merge(build(study), dg.Definitions(jobs=[job])).resolve_job_def("some")
        result = resolved.execute_in_process(instance=self.instance, partition_key=extract)
        events = [event.materialization for event in result.get_asset_materialization_events()]
        return {event.asset_key.to_user_string(): bool(event.metadata["skipped"].value) for event in events}

    def stale(self, study: Study) -> set[str]:
        definitions = build(study)
        view = AssetGraphView.for_test(definitions, self.instance)
        resolver = CachingStaleStatusResolver(self.instance, definitions.resolve_asset_graph(), view)
        return {asset for asset in AFTER if resolver.get_status(dg.AssetKey(asset)) == StaleStatus.STALE}

    def trained_on_current_data(self) -> object:
        event = self.instance.get_latest_materialization_event(dg.AssetKey("encoder_checkpoint"))
        assert event is not None
        assert event.asset_materialization is not None
        return event.asset_materialization.metadata["trained_on_current_data"].value


@pytest.fixture
def shown(steady: Pipeline, extract: Path, tmp_path: Path) -> Iterator[Shown]:
    """The study made, before its second extract is read."""
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        instance.add_dynamic_partitions("extract", [EXTRACT])
        yield Shown(grow(steady, extract, tmp_path / "study"), instance)


def test_a_new_extract(shown: Shown) -> None:
    """The model stays, which Dagster must be told; what the other two values do is tested without Dagster."""
    study = shown.grown.study("embed")
    shown.run(study, "raw_records", extract=EXTRACT)
    assert all(shown.run(study, *AFTER).values())
    assert shown.trained_on_current_data() is True
    assert shown.stale(study) == set()
    shown.instance.add_dynamic_partitions("extract", [LATER])
    shown.run(study, "raw_records", extract=LATER)
    assert shown.stale(study) == {"extract_catalog"}, "the others have inputs that did not change yet"
    done = shown.run(study, *AFTER)
    assert {asset for asset, was in done.items() if was} == {"encoder_checkpoint"}
    assert shown.stale(study) == set(), "also the encoder that stayed"
    assert shown.trained_on_current_data() is False
    assert all(shown.run(study, *AFTER).values()), "nothing new, and nothing made"


def test_another_value_shows_the_model_as_stale_and_makes_nothing_of_the_same_data(shown: Shown) -> None:
    before, after = shown.grown.study("embed"), shown.grown.study("retrain")
    shown.run(before, "raw_records", extract=EXTRACT)
    shown.run(before, *AFTER)
    assert shown.stale(after) == {"encoder_checkpoint", "patient_embeddings", "clusters"}
    assert all(shown.run(after, *MODEL).values())
    assert shown.stale(after) == set()
