"""What checks say when they do not pass."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ehr_pipeline.checks import encoder, patients, predictions, tasks
from ehr_pipeline.clusters import planted
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.predictions.result_schemas import RULE_OF_THUMB
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline.tasks import names, table
from ehr_pipeline.vocabulary.table import FILE, FIRST_CONCEPT, HASH, hash_of
from ehr_pipeline_tests.prediction_report.invented import definition, results, rising


@pytest.mark.parametrize(
    ("verdict", "passed", "told"),
    [
        (
            "clear",
            True,
            "clear evidence that patients differ and conditions go together, as with subgroups or a gradient such as severity",
        ),
        (
            "weak",
            True,
            "weak evidence that patients differ and conditions go together, as with subgroups or a gradient such as severity",
        ),
        ("differ", True, "patients differ persistently, but are not shown to form subgroups"),
        ("none", False, "no evidence of subgroups"),
        ("untested", False, "too few patients have enough records to test for subgroups"),
    ],
)
def test_the_verdict_of_the_split_half_test_in_words(verdict: str, passed: bool, told: str, tmp_path: Path) -> None:
    test: dict[str, Any] = {"verdict": verdict, "recognised": None, "expected": None, "excess": None}
    found = patients.evidence_of_subgroups(Artifact(tmp_path, {"counts": {"split_half": test}}), None, None)  # type: ignore[arg-type]
    assert found == (passed, told, {})


@pytest.mark.parametrize(
    ("updates", "stopped", "told"),
    [
        (
            60,
            False,
            "60 updates in 2 epochs. Allow more updates (raise encoder.max_epochs, or lower encoder.tokens_per_step)",
        ),
        (
            900,
            False,
            "900 updates in 2 epochs. Allow more updates (raise encoder.max_epochs, or lower encoder.tokens_per_step)",
        ),
        (
            900,
            True,
            "900 updates in 2 epochs. Allow more updates (raise encoder.patience, or lower encoder.tokens_per_step)",
        ),
    ],
)
def test_an_encoder_that_learnt_too_little_is_told_with_what_to_do(
    tiny: Pipeline, tmp_path: Path, updates: int, stopped: bool, told: str
) -> None:
    made = tiny.store.current("encoder_checkpoint")
    metrics = json.loads(made.file("metrics.json").read_text())
    metrics["baseline"]["loss"] = metrics["best"]["validation_loss"] - 1
    metrics |= {"epochs": [{"updates": updates // 2}, {"updates": updates}], "stopped_early": stopped}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    worse = Artifact(tmp_path, made.manifest)
    passed, message, _ = encoder.better_than_frequency(worse, tiny.store, tiny.study)
    assert not passed
    assert told in message
    sound, message, _ = encoder.better_than_frequency(made, tiny.store, tiny.study)
    assert sound
    assert "encoder." not in message


@pytest.mark.parametrize(
    ("gone", "censor", "told"),
    [(300, False, "Task a < 30.0%"), (99, False, ""), (100, False, "Task a < 10.0%"), (300, True, ""), (0, False, "")],
)
def test_a_task_that_leaves_out_many_by_the_future_says_how_many(
    gone: int, censor: bool, told: str, tmp_path: Path
) -> None:
    """Of a thousand who would have a label; a statistician found the choice by the future without a warning."""
    task = definition(0, "a")
    table.write(tmp_path, [replace(task, rule=task.rule | {"censor": censor})])
    counts = {"a": {"kept": 1000 - gone, "dropped": {"left_in_window": gone, "few_visits_before": 70}}}
    study: Any = SimpleNamespace(reports=SimpleNamespace(suppress_below=10))
    passed, message, _ = tasks.few_leave(Artifact(tmp_path, {"counts": counts}), named(tmp_path), study)
    assert passed == (not told)
    assert told in message
    assert ('follow_up = "censor" to weight the other' in message) == bool(told)


def test_a_task_that_does_not_need_a_model_that_is_worse_says_both(tmp_path: Path) -> None:
    """ "Does not need the model" hid that the model was also worse."""
    found = results(["a", "b"], {"counts": rising(0.7, 0.05), "vectors": rising(0.6, 0.05)}, verdict="not needed")
    compared = [row | {"verdict": "worse" if row["task"] == "a" else "level"} for row in found.differences]
    guard = {"guard": RULE_OF_THUMB, "passed": False, "message": "this task does not need the model"}
    replace(found, differences=tuple(compared), guards=tuple(guard | {"task": task} for task in "ab")).write(tmp_path)
    study: Any = SimpleNamespace(reports=SimpleNamespace(suppress_below=10))
    _, message, _ = predictions.of_guard(RULE_OF_THUMB, "")(Artifact(tmp_path, {}), named(tmp_path), study)
    assert message == (
        "Task a <: this task does not need the model, and it is worse than the best baseline; Task b <: this task does not need the"
        " model"
    )


def named(folder: Path) -> Any:
    """A store with a vocabulary: one concept of many patients, one of few, and one whose name has an escape sequence."""
    concepts = [("C1", "Asthma", 300), ("C2", "Rare", 3), ("C3", "Cough, acute\x1b[2J", 300)]
    rows = [
        (FIRST_CONCEPT + number, concept, name, "", False, 400, 400, patients)
        for number, (concept, name, patients) in enumerate(concepts)
    ]
    (folder / "vocabulary").mkdir()
    spreadsheet.write(folder / "vocabulary" / FILE, schemas.VOCABULARY, rows)
    (folder / "vocabulary" / HASH).write_text(hash_of([concept for concept, _, _ in concepts]))
    key = {"settings": {"key": "secret"}}
    return SimpleNamespace(current=lambda asset: Artifact(folder / "vocabulary", key))


def test_tasks_of_the_screen_have_the_names_of_concepts_of_enough_patients(tmp_path: Path) -> None:
    asked = ["screen C1", "Mine", "screen C2", "screen C3", "screen C9"]
    assert names.for_messages(asked, named(tmp_path), 10) == [
        "Asthma",
        "Mine",
        "screen C2",
        "“Cough, acute\\x1b[2J”",
        "screen C9",
    ]
    nothing: Any = None
    assert names.for_messages([], nothing, 10) == []


@pytest.mark.parametrize(("index", "passed"), [(0.12, True), (0.10, True), (0.09, False)])
def test_planted_groups_are_compared_with_what_counts_find(index: float, passed: bool, tmp_path: Path) -> None:
    vectors = {
        planted.THIS_RUN: {"adjusted_rand_index": index, "within_diseases": 0.05, "homogeneity": 0.2},
        planted.COUNTS: {"adjusted_rand_index": 0.10, "within_diseases": 0.04, "homogeneity": 0.2},
    }
    (tmp_path / planted.AGREEMENT).write_text(json.dumps({"groups": 10, "vectors": vectors}))
    nothing: Any = None
    found, message, numbers = patients.planted_groups(Artifact(tmp_path, {}), nothing, nothing)
    assert found is passed
    assert "counts without a model: 0.100); within a disease 0.050 (0.040)" in message
    assert set(numbers) == {"adjusted_rand_index", "homogeneity", "baseline_adjusted_rand_index"}
    (tmp_path / planted.AGREEMENT).write_text('{"groups": 0}')
    assert patients.planted_groups(Artifact(tmp_path, {}), nothing, nothing) == (True, "no group was planted", {})
