"""The library's checks as Dagster shows them: of several extracts the worst, blocking ones as errors, small counts left out."""

from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.checks.model import Outcome
from ehr_pipeline.defs import dagster_checks
from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.disclosure.kinds import Figure, People, Plain, Score, Share
from ehr_pipeline.runs.pipeline import Pipeline


def outcome(name: str, passed: bool, blocking: bool = True, **figures: Figure) -> Outcome:
    return Outcome(name, passed, "told", blocking, figures)


def several(found: dict[str, list[Outcome]]) -> Any:
    """A pipeline whose extracts have these outcomes."""
    store = SimpleNamespace(partitions=lambda asset: sorted(found))
    return SimpleNamespace(store=store, check=lambda asset, partition, only: found[partition])


@pytest.mark.parametrize("bad", ["a", "b", "c"])
def test_of_several_extracts_the_worst_is_told_by_name(bad: str) -> None:
    pipeline = several({name: [outcome("schema", name != bad), outcome("balance", True)] for name in "abc"})
    found = {one.name: one for one in dagster_checks.outcomes("raw_records", pipeline, None)}
    assert not found["schema"].passed
    assert found["schema"].message == f"{bad}: told"
    assert found["balance"].passed


def test_a_warning_of_a_later_extract_does_not_hide_an_error() -> None:
    """A check may block in one extract, and only warn in another."""
    found = {"a": [outcome("rejected_rows", False)], "b": [outcome("rejected_rows", False, blocking=False)]}
    (worst,) = dagster_checks.outcomes("raw_records", several(found), None)
    assert worst.blocking
    assert worst.message == "a: told"


def test_of_a_run_of_one_extract_it_is_that_one() -> None:
    pipeline = several({"a": [outcome("schema", False)], "b": [outcome("schema", True)]})
    assert dagster_checks.outcomes("raw_records", pipeline, "b")[0].passed
    assert not dagster_checks.outcomes("raw_records", pipeline, "a")[0].passed


def test_figures_are_shown_by_what_they_count() -> None:
    figures = {
        "patients": People(3),
        "events": People(1234),
        "none": People(0),
        "stable": Plain(15),
        "recognised": Share(People(281), People(308)),
        "loss": Score(4.56789),
    }
    shown = dagster_checks.shown(figures, Guard(10, 10))
    assert shown == {"events": 1230.0, "none": 0.0, "stable": 15.0, "recognised": 0.903, "loss": 4.568}


@pytest.mark.parametrize(("blocking", "severity"), [(True, "ERROR"), (False, "WARN")])
def test_a_check_that_blocks_is_an_error_and_another_a_warning(
    tiny: Pipeline, monkeypatch: pytest.MonkeyPatch, blocking: bool, severity: str
) -> None:
    names = [check.name for check in ASSETS["data_split"].all_checks]
    monkeypatch.setattr(Pipeline, "check", lambda *_, only: [outcome(name, False, blocking) for name in names])
    checked = dagster_checks._checks_of("data_split", tiny.study)
    result = dg.materialize(
        [dg.AssetSpec("data_split"), checked],  # type: ignore[list-item]
        resources={"pipeline": tiny},
        selection=dg.AssetSelection.all_asset_checks(),
        raise_on_error=False,
    )
    found = result.get_asset_check_evaluations()
    assert {evaluation.check_name for evaluation in found} == set(names)
    assert {evaluation.severity.value for evaluation in found} == {severity}


def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(pipeline: Pipeline, asset: str, partition: str | None = None, *, only: Any) -> list[Outcome]:
        return [Outcome(name, False, f"{name} is 3, not 4", True, {}) for name in only]

    monkeypatch.setattr(Pipeline, "check", check)


def test_one_check_runs_by_itself(tiny: Pipeline) -> None:
    checked = dagster_checks._checks_of("data_split", tiny.study)
    one = dg.AssetCheckKey(dg.AssetKey("data_split"), "patients_present")
    result = dg.materialize(
        [dg.AssetSpec("data_split"), checked],  # type: ignore[list-item]
        resources={"pipeline": tiny},
        selection=dg.AssetSelection.checks(one),
    )
    assert [evaluation.asset_check_key for evaluation in result.get_asset_check_evaluations()] == [one]


def test_some_checks_are_run_without_the_others(tiny: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [check.name for check in ASSETS["data_split"].all_checks if check.applies(tiny.study)]
    found = {one.name: one for one in Pipeline(tiny.study).check("data_split")}
    assert list(found) == names
    for name in names:
        assert Pipeline(tiny.study).check("data_split", only=[name]) == [found[name]]


def test_a_run_that_a_check_ends_says_why(tiny: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last words of the run's page: the reason, and no stack of Dagster's own error."""
    failing(monkeypatch)
    with dg.instance_for_test() as instance:
        result = dg.materialize(
            [dg.AssetSpec("data_split"), dagster_checks._checks_of("data_split", tiny.study)],  # type: ignore[list-item]
            resources={"pipeline": tiny},
            selection=dg.AssetSelection.all_asset_checks(),
            raise_on_error=False,
            instance=instance,
        )
        logged = [entry.user_message for entry in instance.all_logs(result.run_id) if not entry.dagster_event]
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    reason = "data_split: check patients_present failed: patients_present is 3, not 4"
    assert failure.user_failure_data
    assert reason in str(failure.user_failure_data.description)
    assert reason in logged
    assert len(result.get_asset_check_evaluations()) == len(ASSETS["data_split"].all_checks), "all are recorded"
