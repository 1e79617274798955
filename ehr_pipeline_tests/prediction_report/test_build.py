"""The page is built of artifacts: tables of results, labels with their counts, and the vocabulary's names."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.export.model import predictions_of
from ehr_pipeline.prediction_report import HEAD, PAGE
from ehr_pipeline.prediction_report.build import build
from ehr_pipeline.predictions.table import empty
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.tasks import table
from ehr_pipeline_tests.prediction_report.invented import counts, definition, foreseen, results, rising

CURVES: Any = {"counts": rising(0.60, 0.08), "rule_of_thumb": rising(0.55, 0.02), "vectors": rising(0.70, 0.06)}


def made_of(tiny: Pipeline, folder: Path, slugs: tuple[str, ...], **verdict: Any) -> dict[str, Artifact]:
    for name in ("labels", "results", "forecasts", "page"):
        (folder / name).mkdir()
    table.write(folder / "labels", [definition(number, slug) for number, slug in enumerate(slugs)])
    (results(slugs, CURVES, **verdict) if slugs else empty()).write(folder / "results")
    foreseen().write(folder / "forecasts")
    told = {slug: counts({"outcome_before": 700}) for slug in slugs}
    return {
        "vocabulary": tiny.store.current("vocabulary"),
        "forecasts": Artifact(folder / "forecasts", {"inputs": {"encoder_checkpoint": "m1"}}),
        "task_labels": Artifact(folder / "labels", {"counts": told}),
        "task_results": Artifact(folder / "results", {"inputs": {"encoder_checkpoint": "m1"}}),
    }


def test_the_page_and_its_first_sentences(tiny: Pipeline, tmp_path: Path) -> None:
    artifacts = made_of(tiny, tmp_path, ("a", "b"))
    assert build(artifacts, Naming(10, "key"), "study", {}, tmp_path / "page") == {"tasks": 2}
    html = (tmp_path / "page" / PAGE).read_text()
    head = json.loads((tmp_path / "page" / HEAD).read_text())
    assert head[0].startswith("With 100 labels, the model is as good as counting with 1,000")
    assert "as good as counting with 1,000" in html
    assert "no better than counting, as far as can be shown" in head[-1]
    assert "Forecasts of the next concepts" in html


def test_forecasts_of_another_encoder_are_not_said_of_this_one(tiny: Pipeline, tmp_path: Path) -> None:
    artifacts = made_of(tiny, tmp_path, ("a", "b"))
    artifacts["forecasts"] = Artifact(tmp_path / "forecasts", {"inputs": {"encoder_checkpoint": "m0"}})
    build(artifacts, Naming(10, "key"), "study", {}, tmp_path / "page")
    assert "Forecasts of the next concepts" not in (tmp_path / "page" / PAGE).read_text()
    assert "forecast" not in (tmp_path / "page" / HEAD).read_text()


def test_a_screened_concept_has_its_name_where_enough_patients_have_it(tiny: Pipeline, tmp_path: Path) -> None:
    from ehr_pipeline.vocabulary.table import Vocabulary

    most = max(Vocabulary.read(tiny.store.current("vocabulary").path).concepts, key=lambda one: one.patients)
    artifacts = made_of(tiny, tmp_path, ("a",), name=f"screen {most.concept}")
    build(artifacts, Naming(10, "key"), "study", {}, tmp_path / "page")
    assert most.name in (tmp_path / "page" / PAGE).read_text()
    build(artifacts, Naming(most.patients + 1, "key"), "study", {}, tmp_path / "page")
    assert most.name not in (tmp_path / "page" / PAGE).read_text()


def test_without_tasks_there_is_no_page(tiny: Pipeline, tmp_path: Path) -> None:
    artifacts = made_of(tiny, tmp_path, ())
    assert build(artifacts, Naming(10, "key"), "study", {}, tmp_path / "page") == {"tasks": 0}
    assert [path.name for path in (tmp_path / "page").iterdir()] == [HEAD]
    assert len(json.loads((tmp_path / "page" / HEAD).read_text())) == 1, "the forecasts need no task"


@pytest.mark.parametrize(
    ("results_of", "model_of", "told"), [("r1", "m1", ["Said."]), ("r0", "m1", []), ("r1", "m0", [])]
)
def test_the_card_takes_only_what_was_said_of_this_model(
    tmp_path: Path, results_of: str, model_of: str, told: list[str]
) -> None:
    (tmp_path / HEAD).write_text('["Said."]')
    artifacts = {
        "prediction_report": Artifact(tmp_path, {"inputs": {"task_results": results_of}}),
        "task_results": Artifact(tmp_path, {"inputs": {"encoder_checkpoint": model_of}, "data_version": "r1"}),
    }
    store = SimpleNamespace(has=artifacts.__contains__, intact=artifacts.__getitem__)
    assert predictions_of(cast(Store, store), Artifact(tmp_path, {"data_version": "m1"})) == told
