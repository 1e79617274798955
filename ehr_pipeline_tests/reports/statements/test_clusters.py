"""What is said of each cluster, and of groups of them."""

from typing import Any

import pytest

from ehr_pipeline.reports.marks_of_others import Carried
from ehr_pipeline.reports.nearest_cluster import Closest
from ehr_pipeline.reports.statements import clusters, pictures
from ehr_pipeline_tests.reports.test_charts import row


def card(**other: Any) -> dict[str, Any]:
    usual = {
        "number": 2,
        "hidden": False,
        "size": "120",
        "share": "4.8 %",
        "sex": "female 50–60 %",
        "age": "54 (40–60)",
        "ages": [("18–39", "20 %"), ("40–59", "80 %")],
        "diseases": [("Psoriasis <", "90 %"), ("Eczema", "10 %")],
        "carried": None,
        "concepts": "80 (40–120)",
        "recognised": "61 %",
        "by_chance": "40 %",
        "evidence": "clear",
        "tested": "about 110",
        "excess": "0.35 (0.22 to 0.48)",
        "at_least": "clear",
        "at_most": "clear",
        "stability": {"words": "stable", "jaccard": 0.8, "between": [0.71, 0.9]},
        "sureness": "Stable (0.80): other samples of patients find it again.",
        "title": "Psoriasis: <a>",
        "nearest": None,
        "nearest_number": 3,
        "over": [],
        "under": [],
    }
    return usual | other


def test_a_cluster_gets_a_name_only_where_there_is_evidence() -> None:
    assert clusters.title(card(), "clear").text == "Psoriasis: &lt;a&gt;"
    assert str(clusters.title(card(), "none")) == "division 2 (not a finding)"


def test_the_facts_of_a_card() -> None:
    facts = dict(clusters.facts(card(carried=Carried("Psoriasis", 7, ("a", "b"))), "clear"))
    assert list(facts) == ["Who", "Age", "Disease", "Perhaps", "Records", "How sure"]
    assert str(facts["Who"]) == "120 patients (4.8 %) · female 50–60 %"
    assert str(facts["Disease"]) == "Psoriasis < 90 % · Eczema 10 %"
    assert "Psoriasis &lt; <span" in facts["Disease"].text
    assert str(facts["Perhaps"]) == "Psoriasis patients who also have distinguishing concepts of cluster 7: a, b"
    assert list(dict(clusters.facts(card(diseases=[]), "none"))) == ["Who", "Age", "Records", "How sure"]


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        (
            "clear",
            "by chance, it would be 40 %: clearly more than disease, age, sex and amount of record explain; excess 0.35 (0.22 to",
        ),
        ("weak", ": a little more than disease, age, sex and amount of record explain; excess"),
        ("none", ": hardly more than disease, age, sex and amount of record explain, if at all; excess"),
        ("too few", "%: too few patients to show whether this is more than chance; excess"),
        ("", "by chance, it would be 40 %; excess"),
    ],
)
def test_how_sure(evidence: str, told: str) -> None:
    said = str(clusters.how_sure(card(evidence=evidence, at_least="", at_most=""), "clear"))
    assert told in said
    assert "for 61 % of its patients (about 110 were tested)" in said
    assert said.endswith("; excess 0.35 (0.22 to 0.48). Stable (0.80): other samples of patients find it again.")
    assert "excess" not in str(clusters.how_sure(card(evidence=evidence, excess=""), "clear"))


def test_a_word_whose_interval_reaches_a_weaker_one_says_so() -> None:
    """A statistician would not sign “clear” beside an interval that ends in “weak” or “none”."""
    weaker = card(at_least="weak", excess="0.24 (0.12 to 0.36)")
    assert "; excess 0.24 (0.12 to 0.36), at its lower end “weak”." in str(clusters.how_sure(weaker, "clear"))
    assert "at its lower end" not in str(clusters.how_sure(card(), "clear"))
    assert " end “" not in str(clusters.how_sure(card(evidence="none", at_least="none", at_most="none"), "clear"))
    assert " end “" not in str(clusters.how_sure(card(evidence="too few", at_least="none"), "clear"))
    stronger = card(evidence="none", at_least="none", at_most="weak", excess="0.03 (0.01–0.06)")
    assert "; excess 0.03 (0.01–0.06), at its upper end “weak”." in str(clusters.how_sure(stronger, "clear"))
    both = card(evidence="weak", at_least="none", at_most="clear", excess="0.10 (0.02–0.21)")
    assert "(0.02–0.21), at its lower end “none”, at its upper end “clear”." in str(clusters.how_sure(both, "clear"))


def test_every_verdict_on_a_cluster_has_its_figure_and_its_interval() -> None:
    assert clusters.sure(card()) == [("clear", "0.35 (0.22 to 0.48)"), ("stable", "0.80 (0.71–0.90)")]
    untested = card(evidence="", excess="", tested="", stability={"words": "untested", "jaccard": None}, sureness="")
    assert clusters.sure(untested) == [("untested", ""), ("untested", "")]
    folded = str(clusters.folded(card()))
    assert folded == "2 Psoriasis: <a> (120 patients): evidence clear 0.35 (0.22 to 0.48), stable 0.80 (0.71–0.90)"
    older = card(stability={"words": "stable", "jaccard": 0.8})
    assert str(clusters.folded(older)).endswith("stable 0.80"), "a cluster from before there were intervals"


def test_what_is_doubtful_is_printed_as_a_warning() -> None:
    assert 'class="over"' not in clusters.how_sure(card(), "clear").text
    assert 'class="over"' in clusters.how_sure(card(stability={"words": "unstable", "jaccard": 0.4}), "clear").text
    assert str(clusters.how_sure(card(), "untested")).startswith("Not tested: too few patients. Stable")


@pytest.mark.parametrize(
    ("evidence", "stability", "verdict", "folded"),
    [
        ("none", "unstable", "clear", True),
        ("weak", "stable", "clear", True),
        ("clear", "unstable", "differ", True),
        ("clear", "stable", "clear", False),
        ("none", "unstable", "none", False),
        ("none", "unstable", "untested", False),
    ],
)
def test_which_cards_are_folded(evidence: str, stability: str, verdict: str, folded: bool) -> None:
    assert (
        clusters.is_folded(card(evidence=evidence, stability={"words": stability, "jaccard": None}), verdict) == folded
    )


def test_what_tells_the_nearest_cluster_apart() -> None:
    near = Closest(2, 0.734, ("a", "<b>"), ("c",))
    told = str(clusters.closest(card(nearest=near), "clear"))
    assert told == (
        "Closest cluster: cluster 3 (cosine of the mean vectors 0.73). Largest differences: here – a, <b>; there – c."
    )
    one = clusters.closest(card(nearest=Closest(2, 0.7, (), ("c",))), "clear")
    assert str(one).endswith("Largest differences: there – c.")
    assert "marks" not in str(clusters.closest(card(nearest=near), "none"))
    assert clusters.closest(card(), "clear") is None


def test_each_direction_has_a_table() -> None:
    both = card(over=list("abc"), under=list("de"))
    assert list(clusters.sides(both, is_tested=False)) == [
        ("over", "Recorded more often than elsewhere", list("abc")),
        ("under", "Recorded less often than elsewhere", list("de")),
    ]
    assert clusters.tables(both) == "5 concepts with all figures"
    assert not list(clusters.sides(card(), is_tested=True))


def test_ages_are_told_in_words_and_without_ranges_side_by_side() -> None:
    ages = [("18–39", "<20 %"), ("40–59", "36–41 %"), ("80 and over", "4–7 %")]
    told = str(clusters.age(card(ages=ages)))
    assert told == (
        "median 54 at the last visit (the middle half: 40 to 60) · <20 % aged 18 to 39 · 36–41 % aged 40 to 59 · 4–7 % aged 80"
        " and over"
    )
    assert str(clusters.age(card(age="54", ages=[]))) == "median 54 at the last visit"


def test_no_heading_says_more_than_the_mark_test() -> None:
    """It compares similar patients: a concept that passes it may be no more frequent than among all others."""
    headings = [heading for _, heading, _ in clusters.sides(card(over=["a"], under=["b"]), is_tested=True)]
    assert headings == ["More frequent than among similar patients", "Less frequent than among similar patients"]
    for is_tested in (True, False):
        words = str(pictures.lifts_caption([row("Gout", "2.00", "1.50–2.70")], 1, is_tested=is_tested)) + str(
            pictures.heat_caption(is_tested=is_tested)
        )
        assert words.count("among similar patients") == (2 if is_tested else 0)
        assert words.count("recorded more often here than elsewhere") == (0 if is_tested else 2)
    assert "a concept can pass the test although the interval of its lift includes 1" in " ".join(
        map(str, clusters.how_to_read(10, "disease", 300))
    )


def test_how_sure_a_cluster_is_has_two_columns() -> None:
    """Each word in them is explained."""
    recognised, stable = map(str, clusters.how_sure_columns(20))
    assert "95 % interval over the patients tested" in recognised
    assert "over 20 random halves" in stable
    assert recognised.startswith("Recognised: whether half of a record shows")
    assert stable.startswith("Stable: whether other samples")
    assert all(word in recognised for word in ("clear", "weak", "none"))
    assert all(word in stable for word in ("stable", "doubtful", "unstable"))
    assert clusters.stability(card(stability={"words": "doubtful", "jaccard": 0.7})) == "doubtful"
    assert clusters.stability(card(sureness="")) == "untested"


def test_clusters_of_too_few_patients() -> None:
    assert str(clusters.small([3], 10)).startswith("fewer than 10 patients: too few")
    assert str(clusters.small([3, 4], 10)).startswith("fewer than 10 patients each: too few")


def test_parts_of_one_group() -> None:
    told = clusters.parts([card(number=number) for number in (5, 2, 9)], "disease, age, sex and amount of record")
    assert str(told) == (
        "One group in 3 parts, 5 (median age 54), 2 (median age 54) and 9 (median age 54): no concept distinguishes one from"
        " another beyond disease, age, sex and amount of record."
    )
    assert told.rate == "one group"


def test_signs_for_small_counts_are_explained_only_where_counts_are_suppressed() -> None:
    for beyond in ("", "disease"):
        assert len(clusters.how_to_read(10, beyond, 9)) == len(clusters.how_to_read(1, beyond, 9)) + 3
