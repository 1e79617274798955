"""What each figure counts, and how one renderer shows it: to machines, in messages, and by the counts that stages declare."""

from collections.abc import Iterator
from typing import Any

import pytest

from ehr_pipeline.disclosure.figures import Guard, Naming, count_text
from ehr_pipeline.disclosure.kinds import (
    Events,
    EventsOf,
    EventsOfAtMost,
    People,
    Plain,
    Score,
    Share,
    ShareOf,
    SumOf,
    figures,
    size,
)
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.count_kinds import declared
from ehr_pipeline.store.count_kinds import shown_counts as shown_by
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import STAGES

GUARD = Guard(10, 10)


def shown_of(asset: str, counts: dict[str, Any]) -> dict[str, Any]:
    return shown_by(asset, counts, GUARD)


def test_what_a_stage_lost_cannot_be_computed_from_what_is_shown() -> None:
    counts = {"rows_in": 399, "kept": 396, "dropped": {"withdrawn": 3, "repeats": 0}}
    assert shown_of("raw_records", {"patients": counts})["patients"] == {
        "rows_in": 400,
        "kept": 400,
        "dropped": {"withdrawn": None, "repeats": 0},
    }


def test_a_reason_with_few_rows_takes_the_smallest_other_along() -> None:
    """Where the page joins two reasons, one of them would tell the other; and what is collapsed is one as well."""
    counts = {"rows_in": 1005, "kept": 484, "collapsed": 7, "dropped": {"rare": 14, "common": 500}}
    shown = shown_of("mapped_events", counts)
    assert shown == {"rows_in": 1010, "kept": 480, "collapsed": None, "dropped": {"rare": None, "common": 500}}


def test_clusters_are_no_patients_and_a_share_has_no_digits_of_its_counts() -> None:
    counts = {
        "rows_in": 186,
        "kept": 186,
        "clusters": 8,
        "smallest": 13,
        "stability": {"stable": 6, "unstable": 2},
        "agreement_with_kmeans": 0.6821788958791081,
        "split_half": {"recognised": 0.9123376623376623, "expected": 0.61234, "excess": 0.7068, "verdict": "clear"},
    }
    shown = shown_of("clusters", counts)
    assert shown == {
        "rows_in": 190,
        "kept": 190,
        "clusters": 8,
        "smallest": 10,
        "stability": {"stable": 6, "unstable": 2},
        "agreement_with_kmeans": 0.682,
        "split_half": {"recognised": 0.895, "expected": 0.612, "verdict": "clear"},
    }, "170 of 190, which says no more than these do"


def test_a_sum_is_not_shown_beside_its_parts_where_one_of_them_is_small() -> None:
    shown = shown_of("clusters", {"kept": 186, "smallest": 3, "split_half": {"recognised": 0.8}})
    assert shown == {"kept": None, "smallest": None, "split_half": {"recognised": None}}


def test_concepts_are_things_and_a_correlation_is_a_score() -> None:
    counts = {"kept": 1387, "untyped": 3, "events": {"kept": 1_092_891, "dropped": {"rare": 4}}}
    assert shown_of("vocabulary", counts) == {
        "kept": 1387,
        "untyped": 3,
        "events": {"kept": 1_092_890, "dropped": {"rare": None}},
    }
    quality = {"quality": {"patients": 155, "collapse_published": {"concepts": -0.2663053735417491}}}
    assert shown_of("patient_embeddings", quality) == {"quality": {"collapse_published": {"concepts": -0.266}}}


def test_events_of_few_patients_are_not_shown_however_many_they_are() -> None:
    counts = {
        "dropped": {"few_visits": 62, "large_visits": 0},
        "visits": {"rows_in": 17_839, "kept": 17_827, "dropped": {"few_visits": 12}},
        "patients": {"rows_in": 399, "kept": 392, "dropped": {"few_visits": 7}},
    }
    assert shown_of("patient_dataset", counts) == {
        "dropped": {"few_visits": None, "large_visits": 0},
        "visits": {"rows_in": None, "kept": 17_830, "dropped": {"few_visits": None}},
        "patients": {"rows_in": 400, "kept": 390, "dropped": {"few_visits": None}},
    }
    many = counts | {"patients": {"dropped": {"few_visits": 70}}}
    assert shown_of("patient_dataset", many)["visits"] == {
        "rows_in": 17_840,
        "kept": 17_830,
        "dropped": {"few_visits": 10},
    }
    lists = {"by_disease": {"a": 4, "b": 40}, "lists": {name: {"events": 90, "codes": 3} for name in "ab"}}
    assert shown_of("cohort", lists) == {
        "lists": {"a": {"events": None, "codes": 3}, "b": {"events": 90, "codes": 3}},
    }


def test_patients_of_the_cohort_are_shown_on_the_page_alone() -> None:
    """It knows how many are in clusters, and tells that exactly: 2,480 here beside 2,482 there are two."""
    assert shown_of("cohort", {"rows_in": 2516, "kept": 2482, "dropped": {"not_in_patient_dataset": 34}}) == {}
    embedded = shown_of("patient_embeddings", {"rows_in": 2482, "kept": 2480, "dropped": {"no_concept": 2}})
    assert embedded == {"dropped": {"no_concept": None}}


def test_what_is_not_declared_is_guarded_or_left_out() -> None:
    counts = {"patients_of_tomorrow": 12, "share_of_tomorrow": 0.123456, "method": "word", "known": True}
    assert figures(counts, declared("clusters")) == {
        "patients_of_tomorrow": People(12),
        "method": "word",
        "known": True,
    }


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (People(0), 0),
        (People(9), None),
        (People(10), 10),
        (People(14), 10),
        (People(15), 20),
        (People(25), 30),
        (People(100, smallest=9), None),
        (People(100, smallest=0), 100),
        (Events(-3), None),
        (Events(-26), -30),
        (Events(500, 3), None),
        (Events(500, 30), 500),
        (Events(0, 3), 0),
        (Plain(3), 3),
        (Plain(0.123456), 0.1235),
        (Score(-0.2663053735417491), -0.266),
        (Share(People(281), People(308)), 0.903),
        (Share(People(305), People(308)), None),
        (Share(People(0), People(308)), 0.0),
        (Share(People(0), People(0)), None),
        (size(480_392), 480_000),
    ],
)
def test_figures_as_numbers(figure: Any, shown: float | None) -> None:
    assert GUARD.number(figure) == shown


def test_steps_are_a_multiple_of_the_threshold() -> None:
    """Finer ones would tell the difference of two numbers closer than a small number is; others would cut those of the page."""
    assert [Guard(10, to).step for to in (1, 7, 10, 15, 50)] == [10, 10, 10, 20, 50]
    assert [Guard(1, to).step for to in (1, 5)] == [1, 5]
    assert Guard(10, 50).number(People(12)) == 50, "only nobody is zero"


def test_counts_in_messages() -> None:
    assert [count_text(count) for count in (0, 9, 1234)] == ["0", "fewer than 10", "about 1,230"]
    assert count_text(3, below=1) == "3"


def places(counts: Any, path: str = "") -> Iterator[str]:
    """The places of all numbers of nested counts."""
    if isinstance(counts, dict):
        for name, value in counts.items():
            yield from places(value, f"{path}/{name}")
    elif isinstance(counts, int | float | People | Events | Plain | Score | Share) and not isinstance(counts, bool):
        yield path


NEVER_SHOWN = {
    "task_labels": {"/most_per_patient"},
    "clusters": {"/split_half/excess"},
    "cohort": {"/rows_in", "/kept", "/by_disease", "/dropped"},
    "patient_embeddings": {"/rows_in", "/kept", "/quality/patients", "/encoder_share/patients"},
    "patient_trajectories": {"/patients/rows_in", "/patients/kept"},
    "cluster_reports": {"/rows_in", "/kept"},
}


@pytest.mark.parametrize("asset", STAGES)
def test_every_number_of_an_artifact_is_declared(tiny: Pipeline, asset: str) -> None:
    counts = tiny.store.current(asset, EXTRACT if asset == "raw_records" else None).counts
    left_out = set(places(counts)) - set(places(figures(counts, declared(asset))))
    assert {place for place in left_out if not place.startswith(tuple(NEVER_SHOWN.get(asset, ("?",))))} == set()


def test_paths_of_declarations_lead_somewhere(tiny: Pipeline) -> None:
    """A path that is mistyped would leave events of few unguarded."""

    def paths(kinds: Any) -> Iterator[str]:
        if isinstance(kinds, dict):
            for kind in kinds.values():
                yield from paths(kind)
        elif isinstance(kinds, EventsOfAtMost):
            yield kinds.each
        elif isinstance(kinds, EventsOf):
            yield kinds.people
        elif isinstance(kinds, SumOf):
            yield kinds.smallest
        elif isinstance(kinds, ShareOf) and not kinds.whole.startswith(
            "agreement/"
        ):  # of synthetic extracts that change
            yield kinds.whole
            yield from paths(kinds.kind)

    checked = 0
    for asset in STAGES:
        counts = tiny.store.current(asset, EXTRACT if asset == "raw_records" else None).counts
        for path in paths(declared(asset)):
            assert f"/{path.replace('*', 'Psoriasis')}" in set(places(counts))
            checked += 1
    assert checked >= 8


def test_a_name_needs_more_than_the_threshold_and_each_another_number() -> None:
    """So a name that is gone after one patient withdrew leaves open how many there are, and they are not below the threshold."""
    needed = [Naming(10, "secret").needed(f"concept {number}") for number in range(2000)]
    assert set(needed) == set(range(11, 21))
    assert all(150 < needed.count(number) < 250 for number in range(11, 21))
    assert needed == [Naming(10, "secret").needed(f"concept {number}") for number in range(2000)]
    assert needed != [Naming(10, "another").needed(f"concept {number}") for number in range(2000)]
    assert Naming(1, "secret").needed("any") == 1
    assert not Naming(1, "secret").shows("any", 0)


def test_categories_join_until_none_is_small() -> None:
    def joined(counts: dict[str, int]) -> dict[str, int]:
        groups = Guard(10).joined({name: People(count) for name, count in counts.items()})
        return {" or ".join(names): figure.number for names, figure in groups}

    assert joined({"a": 500, "b": 3, "c": 40, "d": 0}) == {"a": 500, "b or c": 43}
    assert joined({"a": 4, "b": 3, "c": 2, "d": 70}) == {"a or b or c or d": 79}
    assert joined({"a": 4, "b": 3}) == {"a or b": 7}
    assert joined({"a": 40, "b": 30}) == {"a": 40, "b": 30}
