"""Which concepts the screen takes: those with enough cases and enough patients without, of which the training set tells."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import InputError
from ehr_pipeline.tasks import screen, study_rules
from ehr_pipeline.tasks.label_job import LabelJob
from ehr_pipeline.tasks.rule import Rule, from_concept
from ehr_pipeline.tasks.screen import Screen
from ehr_pipeline.tasks.settings import Task, TasksSettings
from ehr_pipeline.vocabulary.table import Concept, Vocabulary
from ehr_pipeline_tests.tasks.reference import Patient, Until, draw_patients
from ehr_pipeline_tests.tasks.test_labels import job_of, labelled


def one_by_one(work: Callable[[LabelJob], Any], jobs: Sequence[LabelJob], workers: int, what: str) -> list[Any]:
    return [work(job) for job in jobs]


def chosen(folder: Path, patients: list[Patient], number: int, concepts: str = "ABCD") -> list[str]:
    rules = Screen(tuple(rule(concept) for concept in concepts), number)
    return [next(iter(one.outcome)) for one in screen.choose(rules, [job_of(patients, (), folder)], one_by_one, 1)]


def rule(concept: str) -> Rule:
    """As the screen asks, in a window as short as the records of the reference."""
    values = from_concept(concept, 0, 2).__dict__
    return Rule(**{**values, "closes": 30})


def person(number: int, side: str, later: str) -> Patient:
    """Somebody with three visits, and one concept each twenty days after the third."""
    before = [(0, "D"), (10, "D"), (20, "D")]
    return Patient(f"p{number:04d}", "F", [*before, *((40, concept) for concept in later)], 0, 51, None, side)


@given(
    seed=st.integers(0, 2**32 - 1), until=st.builds(Until, st.sampled_from([None, 125]), st.sampled_from([10**6, 70]))
)
@settings(deadline=None, max_examples=40)
def test_cases_are_counted_as_the_labels_of_the_training_set_are(
    tmp_path_factory: pytest.TempPathFactory, seed: int, until: Until
) -> None:
    patients, rules = draw_patients(np.random.default_rng(seed), 40), tuple(map(rule, "ABCD"))
    folder = tmp_path_factory.mktemp("bucket")
    counted = screen.count_bucket(job_of(patients, rules, folder, until))
    _, rows = labelled(patients, *rules, folder=folder, until=until)
    train = rows.filter(side="train")
    for number in range(len(rules)):
        labels = train.filter(task=number)["label"]
        assert (counted.cases[number], counted.free[number]) == (labels.sum(), len(labels) - labels.sum())


def test_concepts_with_enough_cases_come_first_and_the_most_frequent_of_them(tmp_path: Path) -> None:
    """D, which all have before, is not recorded again; C has more cases than A, but both have enough."""
    patients = [person(n, "train", "AC" if n < 200 else "C" if n < 400 else "B" if n < 410 else "") for n in range(800)]
    patients += [person(n, "test", "") for n in range(800, 1600)]
    assert chosen(tmp_path, patients, 2, "DBAC") == ["A", "C"]
    assert chosen(tmp_path, patients, 2, "DBCA") == ["C", "A"]
    assert chosen(tmp_path, patients, 4, "DBCA") == ["C", "A", "B", "D"]


def test_what_nearly_everybody_has_is_not_asked(tmp_path: Path) -> None:
    patients = [person(n, "train", "BA" if n < 100 else "B") for n in range(400)]
    patients += [person(n, "test", "") for n in range(400, 800)]
    assert chosen(tmp_path, patients, 1, "BA") == ["A"]


def test_the_labels_of_the_test_set_choose_nothing(tmp_path: Path) -> None:
    patients = [person(n, "train", "A" if n < 200 else "") for n in range(400)]
    for later in ("", "B"):
        everybody = patients + [person(n, "test", later) for n in range(400, 800)]
        assert chosen(tmp_path, everybody, 1, "BA") == ["A"]


def test_of_concepts_that_are_always_recorded_together_one_is_asked(tmp_path: Path) -> None:
    patients = [person(n, "train", "AB" if n < 200 else "C" if n < 300 else "") for n in range(400)]
    patients += [person(n, "test", "") for n in range(400, 800)]
    assert chosen(tmp_path, patients, 2, "ABC") == ["A", "C"]


def test_candidates_are_the_most_frequent_concepts_of_enough_patients() -> None:
    def concept(name: str, types: tuple[str, ...], patients: int) -> Concept:
        return Concept(5, name, name, types, patients, patients)

    def asked(vocabulary: tuple[Concept, ...]) -> list[str]:
        found = screen.of(TasksSettings(screen=1, screen_landmarks=3), Vocabulary(vocabulary, ""), {"T047"}, 0)
        assert {one.per_patient for one in found.candidates} == {3}
        return [next(iter(one.outcome)) for one in found.candidates]

    some = (
        concept("a", ("T047",), 60),
        concept("b", ("T058",), 90),
        concept("c", ("T047",), 80),
        concept("d", ("T047",), 49),
    )
    assert asked(some) == ["c", "a"]
    assert asked(tuple(concept(one.concept, (), one.patients) for one in some)) == ["b", "c", "a"]
    systems = (concept("LAB:1", (), 90), concept("ICD10CM:I21.9", (), 60), concept("SCT:22298006", (), 70))
    assert asked(systems) == ["SCT:22298006", "ICD10CM:I21.9", "LAB:1"]
    many = tuple(concept(f"{number:02d}", (), 100 - number) for number in range(12))
    assert asked(many) == [one.concept for one in many[:10]]


def test_without_a_screen_there_is_nothing_to_choose(tmp_path: Path) -> None:
    assert chosen(tmp_path, [person(0, "train", "A")], 0, "") == []


def test_a_task_may_not_have_the_name_of_one_of_the_screen() -> None:
    some = Vocabulary((Concept(5, "c", "c", (), 80, 80),), "")
    own = TasksSettings(screen=1, task=(Task(name="Screen C"),))
    with pytest.raises(InputError, match="same name as a task made by tasks"):
        study_rules.screen_of(own, some, (), 0)
