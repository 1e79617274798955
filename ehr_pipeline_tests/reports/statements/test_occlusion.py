from dataclasses import replace

from ehr_pipeline.clusters.occlusion import AGE, Occlusion, Used
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.statements import occlusion as say
from ehr_pipeline.vocabulary.table import Concept, Vocabulary

VOCABULARY = Vocabulary(tuple(Concept(5 + n, f"C{n}", name, (), 1, 1) for n, name in enumerate(("Gout", "Acne"))), "x")
USED = [Used(5, 40, 0.42, 0.3), Used(AGE, 60, 0.2, 0.1), Used(6, 9, 0.1, 0.05)]
FOUND = Occlusion(0.9, {1: 60, 2: 60}, {1: 0.3, 2: -0.1}, {1: USED, 2: []})


def told(number: int, below: int, verdict: str = "clear") -> str:
    return str(say.rests_on(FOUND, number, VOCABULARY, Disclosure(below), verdict=verdict) or "")


def test_concepts_of_enough_members_are_named_in_their_order() -> None:
    assert told(1, 10).endswith(": Gout (42 %), mean age (20 %).")
    assert "Acne (10 %)" in told(1, 9)
    assert told(1, 50).endswith(": mean age (20 %).")


def test_more_than_all_of_the_lead_is_all_of_it() -> None:
    lost = replace(FOUND, used={1: [Used(5, 40, 1.82, 1.3), Used(6, 40, 0.99, 0.5)]})
    told = str(say.rests_on(lost, 1, VOCABULARY, Disclosure(10), verdict="clear"))
    assert told.endswith(": Gout (all), Acne (99 %).")


def test_nothing_is_said_without_evidence_or_without_a_lead() -> None:
    assert not told(1, 10, "none")
    assert not told(2, 10)
    assert say.rests_on(None, 1, VOCABULARY, Disclosure(10), verdict="clear") is None
    assert say.explained(None) is None


def test_what_was_not_left_out_is_said() -> None:
    assert "decides 90 % of the squared distance" in str(say.explained(FOUND))
