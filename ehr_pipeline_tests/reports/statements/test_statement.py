"""How a statement is written: values are escaped, and counted things agree in number."""

import re
from pathlib import Path

import pytest
from markupsafe import Markup

from ehr_pipeline.reports import layout
from ehr_pipeline.reports.statements import statement
from ehr_pipeline.reports.statements.statement import Rate, counted, joined, listed, markup, percent, say


def test_values_are_escaped_and_our_own_markup_is_not() -> None:
    link = statement.cluster_link(3, "cluster {number}")
    told = say("<b>{name}</b> is in {link}: {number:,}", Rate.MARKS, name="<script>\u202e", link=link, number=1200)
    assert told.text == '<b>&lt;script&gt;\\u202e</b> is in <a href="#cluster-3">cluster 3</a>: 1,200'
    assert str(told) == "<script>\\u202e is in cluster 3: 1,200"
    assert told.rate == "marks"
    assert say("Nothing is concluded.").rate == "none: description"


def test_every_error_rate_is_among_those_that_were_measured() -> None:
    page_of_rates = Path(__file__).parents[3] / "docs/error_rates.md"
    measured = set(re.findall(r"^## (.+)$", page_of_rates.read_text(encoding="utf-8"), re.MULTILINE))
    assert {rate.value for rate in Rate} - measured == {Rate.DESCRIPTION}


def test_a_template_shows_a_statement_as_it_is() -> None:
    shown = layout.environment(layout.FRAME).from_string("{{ one }}|{{ all|join(' ') }}")
    told = say("<b>{name}</b>", name="<i>")
    assert shown.render(one=told, all=[told, "a < b"]) == "<b>&lt;i&gt;</b>|<b>&lt;i&gt;</b> a &lt; b"


def test_statements_together_leave_out_what_says_nothing() -> None:
    told = joined(Rate.CHANGE, [say("One."), None, say(""), markup("{two}", two="Two <.")])
    assert (str(told), told.rate) == ("One. Two <.", "change over time")
    assert not joined(Rate.CHANGE, [])


@pytest.mark.parametrize(
    ("names", "told"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["<", 2, Markup("<b>c</b>")], "&lt;, 2 and <b>c</b>")],
)
def test_names_in_a_list(names: list[object], told: str) -> None:
    assert listed(names) == told


def test_names_with_commas_are_separated_by_semicolons() -> None:
    vaccine = "tetanus toxoid, adsorbed"
    assert listed([vaccine]) == vaccine
    assert listed([vaccine, "b"]) == f"{vaccine}; and b"
    assert listed(["a", vaccine, "1,200 others"]) == f"a; {vaccine}; and 1,200 others"
    assert listed(["a", vaccine, "b"], "; ") == f"a; {vaccine}; b"


def test_number_and_word_agree() -> None:
    assert [counted(n, "cluster") for n in (0, 1, 2)] == ["0 clusters", "1 cluster", "2 clusters"]
    assert counted(1200, "loss", "losses") == "1,200 losses"
    assert [statement.are(n) for n in (0, 1, 2)] == ["are", "is", "are"]
    assert (percent(0.256), percent(0.00006, 3)) == ("26 %", "0.006 %")
