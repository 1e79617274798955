"""What the page shows of pairs: texts, and nothing that reveals a small count."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ehr_pipeline.cli import relations
from ehr_pipeline.disclosure.figures import HIDDEN, Naming
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.drawing import network
from ehr_pipeline.errors import InputError
from ehr_pipeline.relations.measures import log_odds_ratio
from ehr_pipeline.reports import disease_partners
from ehr_pipeline.reports.statements import relations as say

BELOW, WHOLE = 10, 5000
DISCLOSURE, NAMING = Disclosure(BELOW), Naming(BELOW, "key")


def edge(both: int = 123, first: int = 300, second: int = 400, **other: Any) -> dict[str, Any]:
    log, variance = log_odds_ratio(np.array(float(both)), np.array(float(first)), np.array(float(second)), WHOLE)
    wide = 1.96 * variance**0.5
    values = [float(np.exp(log + sign * wide)) for sign in (0, -1, 1)]
    ratios = {
        f"{name}{end}": value
        for name in ("odds_ratio", "relative_risk")
        for end, value in zip(("", "_low", "_high"), values, strict=True)
    }
    return {
        "first": "C1",
        "second": "C2",
        "first_name": "one",
        "second_name": "two",
        "patients": both,
        "patients_of_first": first,
        "patients_of_second": second,
        "comes_first": "first",
        "first_then_second": 60,
        "second_then_first": 12,
        "after_others": 40,
        **ratios,
        **other,
    }


def test_a_pair_stands_with_both_concepts_and_its_order() -> None:
    (later,), (earlier,) = (disease_partners.partners(concept, [edge()], DISCLOSURE, WHOLE) for concept in ("C1", "C2"))
    assert (later.name, later.order, later.patients) == ("two", "later", "about 120")
    assert (earlier.name, earlier.order) == ("one", "earlier")
    assert later.odds_ratio == earlier.odds_ratio == later.risk != HIDDEN
    (none,) = disease_partners.partners("C1", [edge(comes_first="")], DISCLOSURE, WHOLE)
    assert (none.order, none.risk) == ("", HIDDEN)


@pytest.mark.parametrize("both", range(1, 31))
def test_a_ratio_is_shown_only_where_all_four_counts_are_large(both: int) -> None:
    """From exact margins, a shown ratio and its interval give the counts: attack it so."""
    first, second = 45, 30
    row = edge(both, first, second)
    odds = disease_partners.partners("C1", [row], DISCLOSURE, WHOLE)[0].odds_ratio
    possible = [n for n in range(1, second + 1) if disease_partners.ratio(edge(n, first, second), "odds_ratio") == odds]
    for count in possible:
        assert min(count, first - count, second - count) >= BELOW
    assert bool(possible) == (BELOW <= both <= second - BELOW)


@pytest.mark.parametrize(("cases", "others"), [(9, 40), (60, 9), (0, 0), (10, 10)])
def test_a_risk_is_shown_only_of_enough_cases_on_both_sides(cases: int, others: int) -> None:
    row = edge(first_then_second=cases, after_others=others)
    risk = disease_partners.partners("C1", [row], DISCLOSURE, WHOLE)[0].risk
    assert (risk != HIDDEN) == (cases >= BELOW and others >= BELOW)


def test_a_pair_needs_more_patients_than_the_threshold_to_be_named() -> None:
    named = frozenset({"C1", "C2"})
    shown = [both for both in range(1, 40) if disease_partners.shown_edges([edge(both)], named, NAMING, WHOLE)]
    assert shown == list(range(NAMING.needed("C1 C2"), 40))
    assert shown[0] > BELOW
    assert not disease_partners.shown_edges([edge()], frozenset({"C1"}), NAMING, WHOLE)


def test_numbers_have_two_digits() -> None:
    assert [disease_partners.two_digits(value) for value in (0.0312, 0.98, 2.449, 9.97, 14.2, 1432.0)] == [
        "0.031",
        "0.98",
        "2.4",
        "10",
        "14",
        "1,400",
    ]
    assert disease_partners.ratio(edge(odds_ratio=None), "odds_ratio") == HIDDEN
    near = edge(odds_ratio=1.3, odds_ratio_low=1.0004, odds_ratio_high=1.7)
    assert disease_partners.ratio(near, "odds_ratio") == "1.3 (1.0004–1.7)", (
        "an interval above 1 does not look as if it included 1"
    )


def test_names_in_the_network_do_not_cover_each_other_and_are_escaped() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        at, widths = rng.random((60, 2)) * (400, 200), rng.random(60) * 100 + 40
        height = network.labels(at, widths)
        for one in range(60):
            for other in range(one):
                if abs(at[one, 0] - at[other, 0]) < (widths[one] + widths[other]) / 2:
                    assert abs(height[one] - height[other]) >= network.LINE - 1e-6


@pytest.mark.parametrize("height", [0.1, 17.3, 100.7, 200.3, 333.3, 399.9])
def test_a_name_is_moved_once_although_sums_are_rounded(height: float) -> None:
    """In floating point, (h + 15) - h may be less than 15."""
    moved = network.labels(np.full((9, 2), height), np.full(9, 50.0))
    assert np.diff(np.sort(moved)).min() >= network.LINE - 1e-6


def test_a_network_shows_names_as_text_and_arrows() -> None:
    edges = np.array([[0, 1], [1, 2]])
    drawn = network.svg(
        ["<b>", "two", "three"], edges, ["a & b", "c"], arrows=np.array([1, 0]), group=np.zeros(3, int), seed=1
    )
    assert "&lt;b&gt;" in drawn
    assert "a &amp; b" in drawn
    assert drawn.count("marker-end") == 1
    placed = network.places(edges, 3, 1)
    assert np.isfinite(placed).all()
    assert np.ptp(placed, axis=0).min() > 0


def test_the_command_reads_times_and_prints_what_comes_after() -> None:
    assert [relations.days(text) for text in ("2y", "18m", "90 d")] == [730, 548, 90]
    with pytest.raises(InputError, match="2y"):
        relations.days("two years")
    listed = disease_partners.partners("C1", [edge()], DISCLOSURE, WHOLE)
    said = relations.lines("one", listed, [], 730)
    assert said[0] == "one"
    assert "two: about 120 patients with both" in said[1]
    assert "recorded later, relative risk within 730 days" in said[1]
    assert relations.lines("one", [], [], 730)[1:] == ["  nothing that can be shown"]
    few = [replace(listed[0], risk=HIDDEN)]
    assert relations.lines("one", few, [], 730)[1].endswith("; recorded later, too few cases for a relative risk")
    without_order = [replace(listed[0], order="", risk=HIDDEN)]
    assert relations.lines("one", without_order, [], 730, after=True)[1:] == [
        "  nothing is shown to be recorded later; 1 concept occurs with it: leave out --after"
    ]
    for after in (False, True):
        (_, *rest, alone) = relations.lines("one", without_order, listed, 730, after=after)
        assert len(rest) == 1 - after
        assert alone.startswith("  two: recorded later, relative risk within 730 days ")
        assert "; not shown to go together: about 120 patients with both, odds ratio " in alone


def test_a_dash_is_explained_by_what_the_list_shows() -> None:
    assert say.number(72, 134, 0).text.endswith("The records show which concept comes first in none of them.")
    few = say.few_concepts(25)
    assert few
    assert "only 25 concepts" in few.text
    assert say.few_concepts(100) is None
    assert "the records do not show which comes first" in say.doubts(ordered=True, within=True).text
    assert "comes first" not in say.doubts(ordered=False, within=True).text
    assert "practices" not in say.doubts(ordered=False, within=True).text
    assert "the practices are not known" in say.doubts(ordered=False, within=False).text
    assert "habits of their practices" in say.rule(0.05, 10, 134, within=True).text
    assert "practices" not in say.rule(0.05, 10, 134, within=False).text
    assert "arrow" not in say.legend(3, 3, ordered=False).text
