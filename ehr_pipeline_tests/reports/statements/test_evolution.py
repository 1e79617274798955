"""What is said of change over time."""

from typing import Any

from ehr_pipeline.reports.statements import evolution
from ehr_pipeline.reports.statements.statement import Rate


def told(**other: Any) -> dict[str, Any]:
    usual = {"years": "5", "counted_from": "birth", "drawn": "", "patients": "about 580", "too_few": "about 2,420"}
    usual |= {"stayed": "80–85 %"}
    return usual | {"picture": "x", "moves": [1]} | other


def test_how_many_patients_have_windows() -> None:
    words = " ".join(map(str, evolution.windows(told())))
    assert "windows of 5 years, starting at birth." in words
    assert (
        "About 580 patients have two windows or more. The other about 2,420 have one window or none: their record"
        in words
    )
    assert words.endswith(
        "How they change is not known. Of those with two windows or more, 80–85 % are in the same cluster in"
        " the first window and in the last."
    )
    for all_or_hidden in ("0", "…"):
        assert "one window or none" not in " ".join(map(str, evolution.windows(told(too_few=all_or_hidden))))
    drawn = " ".join(map(str, evolution.windows(told(drawn="about 10,000", stayed="–"))))
    assert "Of about 10,000 patients drawn at random, about 580 have two windows or more." in drawn
    assert "in the last" not in drawn


def test_the_picture_is_explained_as_it_is() -> None:
    assert [str(said)[:30] for said in evolution.picture(told())] == [
        "The same map as above. Left: t",
        "Right: an arrow for each pair ",
    ]
    assert len(evolution.picture(told(moves=[]))) == 1
    assert evolution.picture(told(picture="")) == []
    assert ("moves" in evolution.picture_alt(told()), "moves" in evolution.picture_alt(told(moves=[]))) == (
        True,
        False,
    )


def test_a_cluster_is_named_if_it_may_be() -> None:
    card = {"hidden": False, "title": "<Asthma>", "age": "40 (30–50)"}
    assert evolution.named(3, card, "clear").text == (
        '<a href="#cluster-3">3</a> <span class="soft">&lt;Asthma&gt;, median age 40</span>'
    )
    assert str(evolution.named(3, card, "none")) == "3"
    assert str(evolution.named(3, {"hidden": True}, "clear")) == "3"


def test_no_moves() -> None:
    none = evolution.no_moves(6, 36, 10, 0.05)
    assert str(none) == (
        "No change is shown beyond ageing and chance. 6 of 36 pairs of clusters have enough moves to test: in none of these do"
        " more patients move in one direction than expected (BH value below 0.05, and at least 10 patients). The other pairs were"
        " not examined. A change that few patients go through can be missed."
    )
    assert "1 of 36 pairs of clusters has enough moves to test: there, no more" in str(
        evolution.no_moves(1, 36, 10, 0.05)
    )
    assert "other pairs" not in str(evolution.no_moves(6, 6, 10, 0.05))
    assert none.rate is Rate.CHANGE
    untested = evolution.no_moves(0, 36, 10, 0.05)
    assert "Too few patients moved" in str(untested)
    assert untested.rate is Rate.DESCRIPTION


def test_the_number_of_tests_is_told() -> None:
    (told,) = evolution.tested(1, 36, 0.05)
    assert str(told).startswith(
        "Tested: 1 of 36 pairs of clusters, between which at least 10 patients moved; a move is shown if its BH"
    )
    assert str(told).endswith("The other pairs were not examined.")
    assert evolution.tested(0, 36, 0.05) == []


def test_what_a_move_means_is_said() -> None:
    words = " ".join(map(str, evolution.limits(10)))
    for word in (
        "disease",
        "sex",
        "age",
        "calendar year",
        "amount of record",
        "of fewer than 10 patients (except 0)",
    ):
        assert word in words
    shifted = " ".join(map(str, evolution.limits(10, by_year=False)))
    assert "of similar age and amount of record: it assumes" in shifted
    assert "calendar" not in shifted
    assert len(evolution.limits(1)) == len(evolution.limits(10)) - 1
    assert "include ageing and chance" in str(evolution.transitions())


def test_planted_changes() -> None:
    found = {"changed": 30, "changed_found": 0.9, "changed_found_by_chance": 0.104, "unchanged_found": 0.95}
    assert (
        "Of the planted changes that the windows can show, 90 % were found, with the right group before and after (by chance 10 %)"
        in str(evolution.planted(found))
    )
    assert evolution.planted(None) is None
    assert evolution.planted(found | {"changed": 0}) is None
