from dataclasses import replace

from ehr_pipeline.clusters.occlusion import AGE, ConceptUse, Occlusion
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.statements import occlusion as say
from ehr_pipeline.vocabulary.table import Concept, Vocabulary

VOCABULARY = Vocabulary(tuple(Concept(5 + n, f"C{n}", name, (), 1, 1) for n, name in enumerate(("Gout", "Acne"))), "x")
USED = [ConceptUse(5, 40, 0.42, 0.3), ConceptUse(AGE, 60, 0.2, 0.1), ConceptUse(6, 9, 0.1, 0.05)]
FOUND = Occlusion(0.9, {1: 60, 2: 60}, {1: 0.3, 2: -0.1}, {1: USED, 2: []})


def told(number: int, below: int, verdict: str = "clear") -> str:
    return str(say.rests_on(FOUND, number, VOCABULARY, Disclosure(below), verdict=verdict) or "")


def test_concepts_of_enough_members_are_named_in_their_order() -> None:
    assert told(1, 10).endswith(": Gout (42 %), mean age (20 %).")
    assert "Acne (10 %)" in told(1, 9)
    assert told(1, 50).endswith(": mean age (20 %).")


def test_it_is_said_how_many_concepts_are_left_out() -> None:
    """Six concepts were named as if the vectors depended on nothing else."""
    for number, end in ((6, "Gout (90 %)."), (7, "Gout (90 %), and 1 more.")):
        many = replace(FOUND, used={1: [ConceptUse(5, 40, 0.9, 0.3)] * number})
        told = str(say.rests_on(many, 1, VOCABULARY, Disclosure(10), verdict="clear"))
        assert told.endswith(f"Gout (90 %), {end}")
        assert told.count("Gout") == 6


def test_more_than_all_of_the_lead_is_all_of_it() -> None:
    lost = replace(FOUND, used={1: [ConceptUse(5, 40, 1.82, 1.3), ConceptUse(6, 40, 0.99, 0.5)]})
    told = str(say.rests_on(lost, 1, VOCABULARY, Disclosure(10), verdict="clear"))
    assert told.endswith(": Gout (all), Acne (99 %).")


def test_a_cluster_without_a_lead_is_called_what_is_left_over() -> None:
    assert told(2, 10).endswith("it contains patients who fit no other cluster.")
    assert not told(2, 10, "none")
    assert str(say.first(FOUND, 2, VOCABULARY, Disclosure(10), verdict="differ")).startswith("nothing:")


def test_nothing_is_said_without_evidence() -> None:
    assert not told(1, 10, "none")
    assert say.rests_on(None, 1, VOCABULARY, Disclosure(10), verdict="clear") is None
    assert say.explained(None) is None


def test_clusters_that_rest_on_one_concept_are_warned_of() -> None:
    found = {
        1: [ConceptUse(5, 40, 0.97, 0.9)],
        2: USED,
        3: [ConceptUse(AGE, 60, 1.4, 1.2)],
        4: [ConceptUse(6, 9, 0.95, 0.9)],
        5: [],
    }
    lost = replace(FOUND, used=found, lead={2: 0.3})
    resting = say.single_concepts(lost, VOCABULARY, Disclosure(10), verdict="differ")
    assert resting == {1: "Gout", 3: "mean age"}, "concepts of few members are not named"
    told = say.one_concept(resting)
    assert str(told) == (
        "If just one concept or the mean age were left out, clusters 1 (Gout) and 3 (mean age) would lose at least 90 % of what"
        " separates their patients from the nearest other cluster."
    )
    assert told is not None
    assert told.rate == "cluster"
    assert str(say.one_concept({1: "<Gout>"})).startswith(
        "If just one concept were left out, cluster 1 (<Gout>) would lose at least 90 % of what separates its"
    )
    assert str(say.how_many_rest_on_one(resting, 9)).startswith(
        "If just one concept or the mean age were left out, 2 of the 9 clusters would lose at least 90 %"
    )
    assert "Another concept can have the same role in the same cluster." in str(say.one_concept_means())
    assert say.one_concept({}) is None
    assert say.single_concepts(lost, VOCABULARY, Disclosure(10), verdict="none") == {}
    assert say.single_concepts(None, VOCABULARY, Disclosure(10), verdict="differ") == {}
    first = [say.first(lost, number, VOCABULARY, Disclosure(10), verdict="differ") for number in range(1, 6)]
    assert list(map(str, first)) == ["Gout (97 %)", "Gout (42 %)", "mean age (all)", "None", "None"]


def test_what_was_not_left_out_is_said() -> None:
    assert "accounts for 90 % of the squared distance. The encoder’s part was not changed" in str(say.explained(FOUND))
    alone = str(say.explained(replace(FOUND, decides=1.0)))
    assert alone.endswith("so the parts do not add up.")
