"""How sure the clusters are, in words."""

from typing import Any

import pytest

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import cluster_reliability

RULE = Disclosure(10)


def test_nothing_is_told_of_what_was_not_examined() -> None:
    assert cluster_reliability.stability({"jaccard": None, "words": "untested"}) == ""


def test_stability_in_words() -> None:
    assert cluster_reliability.stability({"jaccard": 0.1, "words": "unstable"}) == (
        "Unstable at 0.10: other samples of patients do not find it."
    )
    assert cluster_reliability.stability({"jaccard": 0.7495, "words": "doubtful"}).startswith("Doubtful at 0.74:"), (
        "0.75 is stable"
    )
    assert cluster_reliability.stability({"jaccard": 0.75, "words": "stable"}).startswith("Stable at 0.75:")
    spread = {"jaccard": 0.83, "words": "stable", "between": [0.7149, 0.921]}
    assert cluster_reliability.stability(spread).startswith("Stable at 0.83 (0.71–0.93): other"), (
        "outwards: never narrower than it is"
    )
    assert cluster_reliability.varies(spread)
    assert not cluster_reliability.varies(spread | {"between": [0.75, 0.9]})
    assert not cluster_reliability.varies(spread | {"words": "doubtful"})
    assert "find only part of it" in cluster_reliability.stability({"jaccard": 0.58, "words": "unstable"})


def recognition(own: float | None, by_chance: float, tested: int, *interval: float) -> cluster_reliability.Recognition:
    """All patients of a cluster were tested."""
    found = cluster_reliability.Halves(own, by_chance, tested, (interval[0], interval[1]) if interval else None)
    return cluster_reliability.recognition(found, tested, RULE)


@pytest.mark.parametrize(
    ("own", "by_chance", "told"), [(0.16, 0.15, "none"), (0.3, 0.2, "weak"), (0.9, 0.4, "clear"), (1.0, 1.0, "none")]
)
def test_a_cluster_is_held_against_its_own_chance(own: float, by_chance: float, told: str) -> None:
    assert recognition(own, by_chance, 1000).evidence == told


def excess(found: cluster_reliability.Recognition) -> float:
    """Of the possible excess over chance, as a reader reckons it from the page."""
    own, chance = (float(text.removesuffix(" %")) / 100 for text in (found.recognised, found.by_chance))
    return (own - chance) / max(1 - chance, 1e-9)


def test_the_word_follows_from_the_shares_that_are_shown() -> None:
    near_the_limits = [
        (0.1029, 0.0569),
        (0.0961, 0.0487),
        (0.9649, 0.9632),
        (0.9962, 0.9951),
        (0.3604, 0.2005),
        (0.2449, 0.2051),
    ]
    for own, by_chance in near_the_limits:
        found = recognition(own, by_chance, 5000)
        value = excess(found)
        assert found.evidence == ("none" if value < 0.05 else "weak" if value < 0.2 else "clear")
    assert recognition(0.9, 0.4, 5000).recognised == "90 %", "no more digits than are needed"


def test_a_share_of_a_few_recognised_patients_is_a_bound_and_the_word_follows_from_it() -> None:
    """10 % of 26 patients are under three: neither they nor a word that depends on them are told."""
    small = recognition(0.0961, 0.0487, 26)
    assert (small.recognised, small.by_chance, small.evidence) == ("<39 %", "5 %", "too few")
    assert small == recognition(0.3, 0.0487, 26, 0.1, 0.4), "whatever the small number is"
    assert recognition(0.004, 0.02, 2000).evidence == "none", "the bound itself is no more than chance"
    almost = recognition(0.999, 0.5, 2000)
    assert (almost.recognised, almost.evidence) == (">99 %", "clear")
    assert recognition(0.5, 0.1, 9).recognised == "–"
    assert recognition(None, 0.1, 500) == cluster_reliability.Recognition("–", "–", "")


def test_the_excess_has_an_interval_and_the_word_of_its_lower_end() -> None:
    found = recognition(0.519, 0.4, 140, 0.1149, 0.291)
    assert (found.excess, found.evidence, found.at_least) == ("0.19 (0.11–0.30)", "weak", "weak"), (
        "0.198 is not yet 0.20"
    )
    assert recognition(0.53, 0.4, 140, 0.04, 0.3).at_least == "none"
    assert recognition(0.42, 0.4, 140, 0.01, 0.06).at_most == "weak"
    assert found.at_most == "clear"
    assert recognition(0.45, 0.4, 140, -0.04, 0.2).excess == "0.08 (-0.04 to 0.20)", "no dash beside a minus"
    assert recognition(0.53, 0.4, 140).at_least == "", "too few patients for an interval"


@pytest.mark.parametrize(("low", "told"), [(-0.1, "too few"), (0.009, "too few"), (0.01, "evidence")])
def test_no_evidence_is_said_to_be_weak_or_clear_if_its_interval_includes_0(low: float, told: str) -> None:
    """The list said “clear 0.25 (-0.10 to 0.60)” and “weak 0.16 (0.00–0.33)”."""
    for own, word in ((0.55, "clear"), (0.5, "weak")):
        assert recognition(own, 0.4, 30, low, 0.6).evidence == (word if told == "evidence" else "too few")
    assert recognition(0.41, 0.4, 3000, low, 0.04).evidence == "none"


def test_a_bound_of_the_excess_below_0_is_no_evidence_either() -> None:
    """More than 61 % of 26 patients are recognised: that is more than 52 %, but not for 95 % of samples."""
    found = recognition(0.9, 0.52, 26)
    assert (found.recognised, found.excess, found.evidence) == (">61 %", ">-0.24", "too few")
    assert recognition(0.9, 0.2, 26).evidence == "clear"


def test_the_number_tested_does_not_tell_the_few_who_were_not() -> None:
    """The cluster's size is shown exactly, so that an exact number of those tested would be a count of the others."""
    halves = cluster_reliability.Halves(0.6, 0.4, 138, None)
    assert cluster_reliability.recognition(halves, 140, RULE).tested == ">130"
    assert cluster_reliability.recognition(halves, 300, RULE).tested == "about 140"
    assert cluster_reliability.recognition(cluster_reliability.Halves(0.6, 0.4, 8, None), 40, RULE).tested == "<10"


@pytest.mark.parametrize(("own", "excess", "at_least"), [(0.995, ">0.96", "clear"), (0.001, "<-0.63", "")])
def test_where_the_share_is_a_bound_the_excess_is_one_that_follows_from_it(
    own: float, excess: str, at_least: str
) -> None:
    """By Wilson's interval of the bound itself: the exact share, and its interval, would tell the few."""
    found = recognition(own, 0.4, 1000, 0.9899, 0.9999)
    assert (found.excess, found.at_least) == (excess, at_least)
    assert found == recognition(own + (0.002 if own < 0.5 else -0.002), 0.4, 1000, 0.1, 0.2)


def test_how_many_clusters_are_stable() -> None:
    words = ("stable", "unstable", "stable", "doubtful")
    assert cluster_reliability.counted([card("", word) for word in words], [100, 300, 500, 100], RULE) == (
        "2 stable (60.0 % of the patients), 1 doubtful (10.0 %), 1 unstable (30.0 %)"
    )
    hidden = [card("", "stable"), card("", "unstable"), card("", "unstable", hidden=True)]
    assert cluster_reliability.counted(hidden, [100, 300, 4], RULE) == (
        "1 stable (25.0 % of the patients), 2 unstable (75.0 %)"
    ), "the shares are of the clusters whose sizes are shown"
    assert cluster_reliability.counted([card("", "unstable", hidden=True)], [4], RULE) == "1 unstable"


def card(evidence: str, stability: str, hidden: bool = False) -> dict[str, Any]:
    return {"evidence": evidence, "stability": {"words": stability}, "hidden": hidden}


def test_the_verdict_tells_how_many_clusters_can_be_relied_on_and_why_not_the_others() -> None:
    """Green over a division of which half is fragments misled a reader."""
    described = [card("clear", "stable")] * 9 + [card("none", "stable")] + [card("too few", "unstable")] * 9
    found = cluster_reliability.standing(
        [*described, card("", "unstable", hidden=True)], [1900] * 9 + [1700] + [40] * 9 + [4], RULE
    )
    assert (found.usable, found.total, found.share, found.colour) == (9, 20, "89.2 %", "weak")
    assert found.others == (
        "1 says little or nothing of a patient beyond disease, age, sex and amount of record; 10 are left open by small"
        " numbers"
    )
    good = cluster_reliability.standing([card("clear", "stable")] * 3, [100] * 3, RULE)
    assert (good.usable, good.share, good.others, good.colour) == (3, "100.0 %", "", "clear")
    doubtful = cluster_reliability.standing([card("clear", "doubtful"), card("weak", "stable")], [100, 100], RULE)
    assert doubtful.usable == 0
    assert doubtful.others == "1 has only weak evidence; 1 is not the same in other samples of the patients"


def test_a_group_of_clusters_counts_once_and_can_be_relied_on_if_one_of_its_parts_can() -> None:
    described = [
        card(evidence, stability) | {"number": number}
        for number, evidence, stability in (
            (1, "clear", "stable"),
            (2, "clear", "unstable"),
            (3, "weak", "stable"),
            (5, "none", "stable"),
        )
    ]
    found = cluster_reliability.standing(described, [100, 50, 100, 150], RULE, [[1, 2], [3, 5]])
    assert (found.usable, found.total, found.share, found.kind) == (1, 2, "37.5 %", "groups of clusters")
    assert found.others == "1 says little or nothing of a patient beyond disease, age, sex and amount of record", (
        "of the largest part"
    )
    alone = cluster_reliability.standing(described, [100, 50, 100, 150], RULE, [[1], [2], [3], [5]])
    assert (alone.usable, alone.total, alone.kind) == (1, 4, "clusters")


def test_the_limits_of_stability_are_those_of_the_settings() -> None:
    assert cluster_reliability.limits(0.6).startswith("stable at 0.75 or more, unstable below 0.60, doubtful between")
    assert cluster_reliability.limits(0.8).startswith("stable at 0.80 or more, unstable below 0.80")
