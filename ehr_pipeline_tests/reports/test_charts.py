"""Drawings of clusters: each dot stands where its text says, and few patients are drawn nowhere."""

import re
from dataclasses import replace

import numpy as np
import pytest

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import charts, heat_table
from ehr_pipeline.reports.cards import ConceptRow
from ehr_pipeline.reports.charts import Strip
from ehr_pipeline.reports.statements import pictures

RULE = Disclosure(10)


def row(name: str, lift: str, interval: str, over: bool = True) -> ConceptRow:
    lifted = over and (not interval or float(interval.split("–")[0]) > 1)
    return ConceptRow(
        name, name, over, "20.0 %", "10.0 %", "50", "2.00", lift, interval, "0.01", "0.02", "0.01", 2.0, lifted, lifted
    )


def dots(svg: str) -> list[float]:
    return [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg)]


def test_a_dot_stands_where_its_lift_says() -> None:
    rows = [
        row("twice", "2.00", "1.50–2.70"),
        row("same", "1.00", "0.90–1.10"),
        row("half", "0.50", "0.40–0.60", over=False),
    ]
    svg = charts.lifts(rows, "alt", ["hint"] * 3)
    twice, same, half = dots(svg)
    assert same == pytest.approx(charts.NAMES + charts.AXIS / 2)
    assert twice - same == pytest.approx(same - half, abs=0.2)
    assert svg.count("<title>hint</title>") == 3


def test_where_no_lift_may_be_shown_there_is_no_axis() -> None:
    hidden = [row("hidden", "–", "")]
    assert "1×" not in charts.lifts(hidden, "alt", ["hint"])
    assert "1×" in charts.lifts([*hidden, row("same", "1.00", "0.90–1.10")], "alt", ["hint"] * 2)
    assert "would reveal a small count" in str(pictures.lifts_caption(hidden, 1, is_tested=True))


def test_a_lift_that_may_not_be_shown_has_no_dot() -> None:
    svg = charts.lifts([row("hidden", "–", ""), row("shown", "3.00", "2.00–4.00")], "alt", ["", ""])
    assert len(dots(svg)) == 1
    assert "hidden" in svg


@pytest.mark.parametrize("lift", ["∞", "0.00", "900"])
def test_what_is_beyond_the_axis_stands_at_its_end(lift: str) -> None:
    (x,) = dots(charts.lifts([row("far", lift, "0.00–∞")], "alt", [""]))
    assert charts.NAMES <= x <= charts.NAMES + charts.AXIS


def test_a_pyramid_shows_no_few_and_only_rounded_counts() -> None:
    age = np.array([30] * 40 + [30] * 14 + [50] * 26 + [70] * 3)
    sex = ["F"] * 40 + ["M"] * 14 + ["F"] * 26 + [""] * 3
    found = charts.pyramid(age, sex, RULE)
    assert (80 * found.shares).round(9).tolist() == [[0, 0], [40, 0], [30, 0], [0, 0], [0, 0]]
    assert charts.pyramid(age[:3], sex[:3], RULE).is_empty
    assert (found.shares == charts.pyramid(age[1:], sex[1:], RULE).shares).all(), "one patient more cannot be seen"


def test_a_strip_is_drawn_from_its_text() -> None:
    svg = charts.strips(["a", "b", "c"], ["#111111"] * 3, [Strip("Age", ("50 (40–60)", "20", ""))], "alt")
    first, second = dots(svg)
    assert first - second == pytest.approx(30 * 250 / 60, abs=0.2)
    assert "a: 50 (40–60)" in svg


def test_the_table_of_concepts_shows_what_the_cards_show() -> None:
    cards = [
        {"over": [row("x", "8.00", "5.00–9.00"), row("y", "–", "")], "under": []},
        {"over": [row("z", "1.20", "0.90–1.60")], "under": [row("x", "0.20", "0.10–0.30", over=False)]},
        {"over": [row("y", "1.20", "0.90–1.60")], "under": []},
    ]
    found = {
        name: [(cell.kind, f"{cell.text} {cell.interval}".strip()) for cell in cells]
        for name, cells in heat_table.table(cards)
    }
    assert found == {
        "x": [("over3", "8.00 5.00–9.00"), ("under3", "0.20 0.10–0.30"), ("none", "")],
        "y": [("over2", "20.0 %"), ("none", ""), ("mixed", "1.20 0.90–1.60")],
    }, "z passes the test, but the interval of its lift includes 1: it is no row of its own"


def test_a_mark_without_a_lift_shows_its_share() -> None:
    """It has few patients elsewhere: that is what makes it a mark. Its colour is that of the least lift that the card allows."""
    sole = replace(row("x", "–", ""), share=">81 %", elsewhere="<1 %")
    some = replace(row("y", "–", ""), share="29–48 %", elsewhere="about 12 %")
    bare = replace(row("z", "–", ""), share="–", elsewhere="5–7 %")
    rare = replace(row("x", "–", "", over=False), share="–", elsewhere="about 7 %")
    cards = [{"over": [sole, some, bare], "under": []}, {"over": [], "under": [rare]}]
    found = {name: [(cell.kind, cell.text) for cell in cells] for name, cells in heat_table.table(cards)}
    assert [found[name][0] for name in "xyz"] == [("over3", ">81 %"), ("over2", "29–48 %"), ("over1", "more")]
    assert found["x"][1] == ("under1", "less")
