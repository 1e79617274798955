"""The answers in short: none, one and many of everything that is counted."""

from dataclasses import replace
from typing import Any

import pytest

from ehr_pipeline.reports.bias_audit import Effect
from ehr_pipeline.reports.cluster_reliability import Standing
from ehr_pipeline.reports.cohort_lists import DiseaseConcepts
from ehr_pipeline.reports.marks_of_others import Carried
from ehr_pipeline.reports.statements import short, vectors


def card(number: int, **other: Any) -> dict[str, Any]:
    return {
        "number": number,
        "hidden": False,
        "title": f"<{number}>",
        "size": "120",
        "age": "54 (40–60)",
        "carried": None,
    } | other


def who(
    cards: list[dict[str, Any]], verdict: str, sure: list[list[int]], profile: bool = True, ages: bool = True
) -> str:
    made = short.why_clustered(profile=profile, ages=ages)
    return " ".join(map(str, short.who(cards, verdict, sure, made=made, fewest=10)))


def test_who_is_in_the_clusters() -> None:
    cards = [card(1), card(2), card(3, hidden=True)]
    assert (
        who(cards, "none", [[1]])
        == "The cohort was divided into 3 clusters, but there is no evidence that they mean anything."
    )
    assert who([card(3, hidden=True)], "clear", []) == "No cluster has 10 patients, so no cluster is described."
    told = who(cards, "clear", [[2], [3]])
    assert told.endswith("by themselves: 2 <2> (120 patients, median age 54).")
    assert "similar concepts in similar shares, recorded at similar ages" in told
    assert "gives its patients and their ages." in told
    assert "their ages and their most frequent disease." in who([card(1, diseases=[("Asthma", "60 %")])], "clear", [])
    assert "ages" not in who([card(1)], "clear", [], ages=False).replace("their ages", "")
    assert who(cards, "clear", [[1, 2, 3]]).endswith("by themselves: 1 and 2 <1> (2 parts).")
    assert "relied on" not in who(cards, "clear", [])
    assert "the encoder finds their records similar" in who(cards, "clear", [], profile=False)


@pytest.mark.parametrize(
    ("sure", "told"),
    [
        ([], "Of the 20 clusters, none is both"),
        ([[4]], "Of the 20 clusters, 1 (number 4) is both"),
        ([[1], [4], [9]], "Of the 20 clusters, 3 (numbers 1, 4 and 9) are both"),
    ],
)
def test_which_can_be_relied_on(sure: list[list[int]], told: str) -> None:
    assert str(short.relied_on("weak", sure, 20, 20)).startswith(told)
    assert short.relied_on("none", sure, 20, 20) is None


def test_clusters_that_hold_what_lasts_are_not_called_subgroups() -> None:
    told = str(short.relied_on("differ", [[1], [4]], 20, 20))
    assert told.startswith("Of the 20 clusters, 2 (numbers 1 and 4) are stable")
    assert told.endswith("That alone does not show a subgroup of a disease.")
    assert str(short.relied_on("differ", [], 20, 20)).startswith("None of the 20 clusters is both stable")
    assert "relied on" not in told + who([card(1), card(4)], "differ", [[1], [4]])


@pytest.mark.parametrize(
    ("verdict", "total", "kind", "told"),
    [
        ("clear", 10, "clusters", "clusters, of which 2 can be relied on by themselves"),
        ("differ", 10, "clusters", "clusters, none of which is shown to be a subgroup of a disease"),
        ("none", 10, "groups of clusters", "groups of clusters"),
        ("none", 1, "clusters", "cluster"),
    ],
)
def test_the_words_below_the_number_of_clusters(verdict: str, total: int, kind: str, told: str) -> None:
    assert short.headline(Standing(2, total, "40 %", "", kind), verdict) == told


def test_groups_of_clusters_count_once() -> None:
    told = str(short.relied_on("clear", [[1, 3], [2]], 20, 10))
    assert told.startswith("Of the 10 groups that 20 clusters make, 2 (numbers 1 + 3 and 2) are both")


def test_how_strong_the_evidence_is() -> None:
    told = str(short.subgroups("clear", told=True))
    assert told.startswith(
        "Clear evidence of lasting differences between patients. Their conditions go together beyond chance"
    )
    assert "with one gradient such as severity; the test cannot distinguish" in told
    assert str(short.subgroups("none", told=True)) == "There is no evidence of subgroups."
    assert "no evidence of subgroups" in str(short.subgroups("differ", told=True))
    assert "do not tell whether there are subgroups" in str(short.subgroups("differ", told=False)), "as the verdict"
    assert short.subgroups("untested", told=False).rate == "none: description"


def test_what_the_clusters_go_with() -> None:
    strong = [Effect("age", "η²", 0.3, p=0.005), Effect("practice", "Cramér's V", 0.31, p=0.005)]
    assert str(short.followed("clear", strong)).startswith(
        "The clusters are associated with age at the last visit (large effect) and practice (medium effect): see"
    )
    assert "too few patients to know" in str(short.followed("untested", []))
    assert "small effects at most" in str(short.followed("clear", []))


def test_groups_that_are_cut_into_several_clusters() -> None:
    assert short.divided("clear", [[1], [2]]) is None
    assert short.divided("none", [[1, 2]]) is None
    assert str(short.divided("clear", [[1, 2], [3]])).startswith("1 group is divided into several clusters, by age")
    assert str(short.divided("weak", [[1, 2], [3, 4]])).startswith("2 groups are divided into several")


def test_clusters_that_carry_the_marks_of_another() -> None:
    carrying = [card(n, carried=Carried("Psoriasis", 1, ("a", "b"))) for n in (3, 5)]
    assert short.mixed("clear", [card(1)]) is None
    assert str(short.mixed("clear", carrying[:1])).startswith("Cluster 3 contains mostly patients")
    assert str(short.mixed("clear", carrying)).startswith("Each of the clusters 3 and 5 contains mostly patients")


def test_what_is_so_by_construction() -> None:
    one, two = (DiseaseConcepts(tuple("ab"[:n]), 1200, frozenset()) for n in (1, 2))
    assert "1 of the 1,200 concepts from which the patients’ vectors are made is a code of the" in str(
        short.by_construction(one, ages=False)
    )
    told = str(short.by_construction(two, ages=True))
    assert told.startswith("Clusters follow disease and age by construction: 2 of the 1,200 concepts")
    assert "are codes of the cohort’s diseases" in told
    assert str(short.by_construction(None, ages=True)).startswith("Clusters follow age by construction")
    assert short.by_construction(DiseaseConcepts((), 1200, frozenset()), ages=False) is None


def test_what_came_in() -> None:
    told = str(short.came_in(["2019-04-01"], 6, 0, "99.3 %"))
    assert (
        told
        == "Read: extract 2019-04-01 (6 files; every file in its folder). 99.3 % of the rows of events have a usable patient,"
        " date and code; the flow below shows how many of the codes have a concept."
    )
    told = str(short.came_in(["2019-04-01", "2019-07-01", "2019-10-01"], 1, 2, "50.0 %"))
    assert "3 extracts, 2019-04-01 to 2019-10-01 (1 file; 2 other files in their folders are in no setting, and" in told
    assert "1 other file in its folder is in no setting, and is not read" in str(short.came_in(["a"], 1, 1, "1 %"))
    assert "2000 to 2019" in str(short.years("2000 to 2019"))
    assert "In no calendar year" in str(short.years(""))


def test_whether_it_may_be_released() -> None:
    assert "fewer than 10 patients" in str(short.suppressed(10))
    assert "after output checking" in str(short.suppressed(10))
    assert "do not share it" in str(short.suppressed(1))
    assert "ask the owner of the data" in str(short.under_terms({}))
    assert str(short.under_terms({"protocol": "24-001", "expires": "2030-01-01"})) == (
        "Terms: protocol 24-001; expires 2030-01-01."
    )


def made(**settings: Any) -> vectors.VectorMethod:
    usual = {"profile": 64, "encoder_share": 0.1, "course": True, "ages": True, "kinship": 0.3}
    neighbours = settings.pop("neighbours", True)
    return vectors.VectorMethod(usual | settings, "recommended", False, "list", neighbours, 649, 1387, False, True)


def test_what_decides_most_is_said_first() -> None:
    told = " ".join(map(str, vectors.what_decides(made())))
    assert told.startswith("The concept profile accounts for 90 % of the squared distance")
    assert (
        "their shares in the record, how these shares changed from the earlier half of the record to the later half, and the mean"
        " age" in told
    )
    assert told.index("profile accounts") < told.index("The encoder, a neural network, accounts for 10 %")
    assert "agree between two random halves" in told
    assert "how these shares changed" not in str(vectors.profile(made(course=False)))
    assert "Similar concepts" not in str(vectors.profile(made(kinship=0)))


def test_concepts_without_types_are_not_said_to_be_chosen_by_type() -> None:
    for chosen, told in (
        (58, "all recorded concepts"),
        (57, "the recorded concepts of chosen semantic types (57 of 58 concepts)"),
    ):
        assert vectors.concepts(replace(made(), pooling="types", chosen=chosen, vocabulary=58)) == told


def test_an_encoder_that_decides_more_is_said_first() -> None:
    told = list(map(str, vectors.what_decides(made(encoder_share=0.8))))
    assert told[0].startswith("The encoder, a neural network, accounts for 80 %")
    assert told[1].startswith("The concept profile accounts for 20 %")
    assert not [said for said in map(str, vectors.what_decides(made(encoder_share=0.0))) if "neural network" in said]


def test_clusters_in_which_the_network_has_no_part_are_said_not_to_rest_on_it() -> None:
    bare = {"encoder_share": 0.0, "kinship": 0.0, "neighbours": False}
    told = "The encoder, a neural network, accounts for 0 % of the distances between patients: the clusters do not depend on it."
    assert str(vectors.no_part(made(**bare))) == str(vectors.learned(made(**bare))) == told
    assert "concepts that are on a list (649 of 1,387 concepts)" in str(vectors.profile(made(**bare)))
    assert "on a list or are nearest to a concept that is (649" in str(vectors.profile(made()))
    for part in ({"encoder_share": 0.1}, {"kinship": 0.3}, {"neighbours": True}, {"profile": 0}):
        assert vectors.no_part(made(**bare | part)) is None
        assert str(vectors.learned(made(**bare | part))).startswith("The encoder learned")


def test_vectors_of_the_network_alone() -> None:
    (told,) = vectors.what_decides(made(profile=0))
    assert str(told).startswith(
        "Each patient’s vector is the mean of the vectors that the encoder, a neural network, computes for those recorded"
    )
    assert "(649 of 1,387 concepts)" in str(told)


def test_a_reliable_cluster_whose_figures_may_be_worse_is_named() -> None:
    """The words go by estimates: their error rates were measured so."""

    def reliable(number: int, at_least: str, low: float) -> dict[str, Any]:
        stability = {"words": "stable", "jaccard": 0.9, "between": [low, 0.95]}
        return card(number, evidence="clear", at_least=at_least, stability=stability)

    sure = [reliable(2, "clear", 0.8), reliable(8, "weak", 0.8), reliable(11, "clear", 0.4)]
    told = str(
        short.wavering("differ", [*sure, card(3, evidence="weak", at_least="none", stability={"words": "stable"})])
    )
    assert told == (
        "These words depend on estimates: given the interval of the excess, 8 may be less than clearly recognised; in some halves"
        " of the patients, 11 were less than stable."
    )
    assert short.wavering("clear", sure[:1]) is None
    assert short.wavering("none", sure) is None
