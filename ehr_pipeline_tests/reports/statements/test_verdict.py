"""The banner: one verdict for each outcome of the split-half test."""

from typing import Any

import pytest

from ehr_pipeline.reports.cluster_reliability import Standing
from ehr_pipeline.reports.statements import verdict


def evidence(word: str, p: float = 0.02) -> dict[str, Any]:
    found = word in ("clear", "weak")
    traits = {"p": 0.012, "diseases": {"a": 3.0, "b": 2.0}, "others": 20, "own": None, "found": found}
    return {
        "verdict": word,
        "recognised": 0.504,
        "expected": 0.2,
        "excess": 0.38,
        "interval": [0.35, 0.41],
        "tested": "about 1,200",
        "permutations": 200,
        "p": p,
        "persistent": {"none": False, "untested": None}.get(word, True),
        "explained": [],
        "balance": {"age": 0.2, "amount": 0.3},
        "again": {"practice": {"excess": 0.021, "exchanged": 0.09}},
        "traits": traits,
    }


GOOD = Standing(9, 12, "84.1 %", "3 have only weak evidence")
NOBODY = Standing(0, 12, "–", "")
UNTOLD = "the records do not tell whether there are subgroups"


def test_no_evidence_is_said_with_what_the_clusters_mirror() -> None:
    told = str(verdict.banner(evidence("none"), NOBODY, ["age", "<year>"]))
    assert told.startswith(
        "No evidence of subgroups in this cohort. Of about 1,200 patients tested, the cluster of one random half"
    )
    assert "recognised from the other half for 50 %" in told
    assert "an excess of 0.38 (95 % interval 0.35 to 0.41), where 0 is chance and 1 is certain" in told
    assert "sex and amount of record do (above all, they reflect age and <year>; see the bias audit)." in told
    assert "mirror" not in str(verdict.banner(evidence("none"), NOBODY, []))
    assert "<year>" not in verdict.banner(evidence("none"), NOBODY, ["<year>"]).text, "names are escaped"


def test_what_clusters_are_where_there_is_no_evidence_of_subgroups() -> None:
    for word in ("differ", "untested"):
        told = verdict.relation(word, 9, tested=word == "differ")
        assert ("does not exclude them" in str(told)) == (word == "differ")
        assert str(told).startswith("The 9 clusters in the list sort the patients by what is in their records")
        assert "Whether a disease has subgroups is another question, and the clusters are no evidence for it" in str(
            told
        )
        assert told.rate == "subgroups"
    for word in ("clear", "weak"):
        assert str(verdict.relation(word, 1, tested=True)) == (
            "The 1 cluster in the list sorts the patients by what is in their records; the fact that conditions go together does"
            " not make any of them a subgroup."
        )


@pytest.mark.parametrize(
    ("index", "match"), [(0.056, "hardly match them"), (0.4, "match them in part"), (0.9, "match most of them")]
)
def test_where_groups_were_planted_the_first_lines_say_whether_they_were_found(index: float, match: str) -> None:
    vectors = {
        "this_run": {"adjusted_rand_index": index, "within_diseases": 0.049},
        "counts": {"adjusted_rand_index": 0.171, "within_diseases": 0.031},
    }
    told = str(verdict.invented({"groups": 10, "disease": 0.5, "vectors": vectors}, evidence("clear")))
    assert f"the same number of clusters by this page’s method {match} (adjusted Rand index {index:.2f};" in told
    assert "0.17 by concept counts without a model, 0.50 by the disease alone)" in told
    assert told.endswith("Among patients of one disease, it is 0.05, and 0.03 by concept counts.")


def test_planted_groups_of_which_the_tests_find_no_evidence_are_called_a_miss() -> None:
    found = {"adjusted_rand_index": 0.04, "within_diseases": 0.04}
    planted = {"groups": 10, "disease": 0.5, "vectors": {"this_run": found, "counts": found}}
    told = "The answer below, no evidence of subgroups, misses them."
    for word in ("none", "differ"):
        assert str(verdict.invented(planted, evidence(word))).endswith(told)
        assert told not in str(verdict.invented(planted | {"disease": 1.0}, evidence(word))), (
            "the groups are the diseases"
        )
        assert told not in str(verdict.invented(planted | {"groups": 1}, evidence(word)))
    untested = evidence("differ") | {"traits": {"p": None, "found": None}}
    for given in (untested, evidence("weak"), evidence("clear"), evidence("untested")):
        assert told not in str(verdict.invented(planted, given))


def test_a_world_without_groups_is_told_as_such() -> None:
    """Finding none is right there, and labels that mean nothing are not held against the clusters."""
    said = str(verdict.invented({"groups": 0}, evidence("differ")))
    assert "It planted no groups" in said
    assert "is a miss" not in said


def test_too_few_patients() -> None:
    assert str(verdict.banner(evidence("untested"), NOBODY, ["age"])).startswith("Too few patients to test")


@pytest.mark.parametrize(
    ("word", "standing", "told"),
    [
        ("clear", GOOD, "Clear evidence of lasting differences between patients in 9 of 12 clusters (84.1 %"),
        ("weak", GOOD, "Weak evidence of lasting differences between patients overall, clear in 9 of 12 clusters (84.1 %"),
        ("weak", NOBODY, "Weak evidence of lasting differences between patients, but in none of the 12 clusters alone."),
        ("clear", Standing(12, 12, "–", ""), "Clear evidence of lasting differences between patients in 12 of 12 clusters."),
        ("clear", Standing(0, 2, "–", "2 say no more"), "Clear evidence of lasting differences between patients, but in none"),
    ],
)  # fmt: skip
def test_some_evidence(word: str, standing: Standing, told: str) -> None:
    said = verdict.banner(evidence(word), standing, [])
    gradient = "Conditions go together within a disease beyond chance, as with subgroups or with one gradient such as severity. "
    assert str(said).startswith(gradient + told)
    assert "This test cannot distinguish subgroups from one gradient, such as severity." in str(said)
    assert said.rate == "subgroups"
    assert ("only for some patients" in str(said)) == (word == "weak")


@pytest.mark.parametrize(
    ("p", "permutations", "told"),
    [(1 / 201, 200, "p < 0.005, 200"), (2 / 201, 200, "p = 0.010, 200"), (4 / 1001, 1000, "p = 0.004, 1,000")],
)
def test_the_smallest_p_is_a_bound(p: float, permutations: int, told: str) -> None:
    given = evidence("clear", p) | {"permutations": permutations}
    assert f"(permutation {told} permutations)" in str(verdict.banner(given, GOOD, []))


def test_what_the_clusters_follow_as_well() -> None:
    told = str(verdict.banner(evidence("clear"), GOOD, ["practice", "age"]))
    assert "The clusters also follow practice and age," in told


def test_the_colour_is_green_only_where_most_clusters_deserve_it() -> None:
    words = ("clear", "weak", "none", "untested")
    assert verdict.colour(evidence("differ"), GOOD) == "weak"
    assert [verdict.colour(evidence(word), GOOD) for word in words] == list(words)
    assert verdict.colour(evidence("clear"), NOBODY) == "weak"


def test_patients_who_differ_make_no_subgroups_by_themselves() -> None:
    told = str(verdict.banner(evidence("differ"), NOBODY, ["practice"]))
    assert told.startswith(
        "Patients differ persistently, but there is no evidence of subgroups. Of about 1,200 patients"
    )
    assert (
        "were not found to go together more than in patients with another of the diseases, or with none of them, of the same sex"
        in told
    )
    assert "The test misses many subgroups" in told
    assert "Groups that differ only in the order of events are not examined." in told
    assert "The clusters also follow practice," in told


@pytest.mark.parametrize(
    ("traits", "told"),
    [
        ({"others": 20, "diseases": {"a": 1.0}}, "more than in patients without the disease of the same sex"),
        ({"others": 0, "diseases": {"a": 1.0, "b": 2.0}}, "more than in patients with another of the diseases of the same sex"),
    ],
)  # fmt: skip
def test_with_whom_traits_were_compared(traits: dict[str, Any], told: str) -> None:
    given = evidence("clear")
    assert told in str(verdict.banner(given | {"traits": given["traits"] | traits}, GOOD, []))


def test_recording_that_explains_the_clusters_is_named() -> None:
    told = str(verdict.banner(evidence("none") | {"explained": ["practice"]}, NOBODY, []))
    assert told.startswith("No evidence of subgroups: recording by practice explains the clusters.")
    assert (
        "same practice, this excess is 0.02; if patients are matched equally closely, but regardless of practice, it is 0.09"
        in told
    )


def test_nobody_to_compare_traits_with() -> None:
    nothing = {"p": None, "diseases": {}, "others": 0, "own": None, "found": None}
    told = str(verdict.banner(evidence("differ") | {"traits": nothing}, NOBODY, []))
    assert told.startswith(f"Patients differ persistently; {UNTOLD}. Of about")
    assert "in a cohort of all patients, there are none" in told


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ((1 / 201, 1 / 201), "they depend on each other (permutation p < 0.005, 200 permutations): some exclude each other"),
        ((1 / 201, 0.6), "they depend on each other (permutation p < 0.005, 200 permutations): some go together"),
        ((0.3, 0.02), "They were not found to depend on each other in the patients of the disease (permutation p = 0.300"),
    ],
)  # fmt: skip
def test_conditions_that_cannot_be_compared_leave_the_question_open(own: tuple[float, float], told: str) -> None:
    """Three planted groups whose conditions only patients of the disease have were told as 'no evidence of subgroups'."""
    p, p_exclude = own
    found = None if p <= 0.02 else False
    given = {"p": 0.4, "own": {"traits": 9, "p": p, "p_exclude": p_exclude}, "found": found}
    said = str(verdict.banner(evidence("differ") | {"traits": evidence("differ")["traits"] | given}, NOBODY, []))
    assert "9 lasting conditions are too rare in patients without the disease to be compared." in said
    assert told in said
    assert (UNTOLD in said) == (found is None)
    assert ("no evidence of subgroups" in said) == (found is False)


def test_conditions_that_go_together_less_than_in_others_exclude_nothing() -> None:
    given = evidence("differ")["traits"] | {"p": 1.0, "found": None}
    said = str(verdict.banner(evidence("differ") | {"traits": given}, NOBODY, []))
    assert UNTOLD in said
    assert "Conditions go together less than in patients with another of the diseases" in said
    assert "no evidence" not in said


def test_a_loose_match_is_said_with_what_was_achieved() -> None:
    assert "close match" not in str(verdict.banner(evidence("clear"), GOOD, []))
    loose = evidence("clear") | {"balance": {"age": 0.84, "amount": 0.3}}
    assert "too few patients for a close match: in the groups compared, age varies 84 % as much as among all" in str(
        verdict.banner(loose, GOOD, [])
    )
