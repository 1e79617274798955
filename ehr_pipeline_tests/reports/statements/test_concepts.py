"""What is said of neighbours: evidence first, and "cannot tell" where a measure cannot."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from ehr_pipeline.concepts.recorded_together import JointVisits, Visits, joint_visits
from ehr_pipeline.reports.statements import concepts
from ehr_pipeline.reports.statements.concepts import TypeAgreement
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (
            JointVisits(80, 1000, 1.42, 1.3, 1.5, 0.0025),
            "In the visits of about 80 patients who were held out from the training of the encoder, concepts and their neighbours"
            " (1,000 pairs) are recorded together 1.42 times as often as other pairs of equally frequent",
        ),
        (
            JointVisits(80, 1000, 1.42, 1.3, 1.5, 0.0025),
            "(95 % interval 1.30–1.50 over patients; permutation p < 0.005, 400 permutations). So the neighbours reflect",
        ),
        (
            JointVisits(80, 1000, 1.1, 1.01, 1.2, 0.06),
            "p = 0.060, 400 permutations). That is no more than expected by chance",
        ),
        (JointVisits(80, 1000, 1.1, 0.99, 1.2, 0.04), "That is no more than expected by chance: do not rely"),
        (None, "not known whether neighbours are recorded together"),
    ],
)
def test_what_is_recorded_together(found: JointVisits | None, told: str) -> None:
    assert told in str(concepts.recorded_together(found, "about 80"))
    assert concepts.recorded_together(found, "about 80").rate == ("neighbours" if found else "none: description")


@pytest.mark.parametrize(
    ("agreement", "told"),
    [
        (TypeAgreement(130, 0.14, 0.13, -0.01), "no more than expected by chance: semantic types do not support"),
        (TypeAgreement(130, 0.21, 0.13, 0.02), "That is more than expected by chance, but less than twice as much."),
        (TypeAgreement(130, 0.6, 0.2, 0.3), "at least twice what is expected by chance"),
        (
            TypeAgreement(130, 0.6, 0.2, 0.3),
            "20 % are expected by chance (95 % interval of the difference over concepts: +30 to +50 points)",
        ),
        (
            TypeAgreement(130, 1.0, 1.0, 0.0),
            "cannot show whether neighbours are meaningful: most of the vocabulary",
        ),
        (TypeAgreement(9, 0.9, 0.1, 0.5), "cannot show whether neighbours are meaningful: there are too few concepts"),
    ],
)
def test_what_types_say(agreement: TypeAgreement, told: str) -> None:
    assert told in str(concepts.types(agreement, None))


def test_types_of_the_cohorts_own_diseases() -> None:
    interest, few = TypeAgreement(130, 0.6, 0.2, 0.3), TypeAgreement(5, 0.1, 0.15, float("-inf"))
    told = str(concepts.types(interest, few))
    assert "of the cohort (5 concepts; the first rows below), it is 10 %; 15 % are expected by chance." in told
    assert told.endswith("These are too few concepts to rely on."), "five concepts cannot tell"
    assert str(concepts.types(interest, TypeAgreement(15, 0.1, 0.15, -0.2))).endswith(
        "That is no more than expected by chance."
    )
    assert "17 % are expected by chance" in (more := str(concepts.types(interest, TypeAgreement(15, 0.46, 0.17, 0.1))))
    assert more.endswith("That is more than expected by chance.")
    assert str(concepts.types(interest, TypeAgreement(15, 0.9, 0.8, 0.01))).endswith("points)."), (
        "nothing could be twice 80 %"
    )
    assert "own diseases" not in str(concepts.types(interest, None))
    assert concepts.types(None, None) is None


def test_companions_among_the_neighbours_are_not_said_to_mean_nothing() -> None:
    """Every companion is among its concept's nearest, but companions are of any type: 47 % are of the same, by chance 54 %."""
    rng = np.random.default_rng(0)
    group, size = np.arange(60) // 6, 60
    patient = np.repeat(np.arange(100), 20)
    there = rng.random((len(patient), size)) < np.where(group[None] == patient[:, None] % 10, 0.2, 0.03)
    padded = np.concatenate([np.zeros((len(patient), FIRST_CONCEPT), bool), there], axis=1)
    pairs = (
        np.array([(a, b) for a in range(size) for b in range(size) if a != b and group[a] == group[b]]) + FIRST_CONCEPT
    )
    found = joint_visits(Visits(csr_array(padded.astype(np.int32)), patient), *pairs.T, seed=0)
    said = [concepts.recorded_together(found, "about 80"), concepts.types(TypeAgreement(60, 0.47, 0.54, -0.1), None)]
    told = " ".join(map(str, said))
    assert "the neighbours reflect what is recorded together" in told
    assert "This measure cannot show" in told
    assert "no more than chance" not in told


def test_what_an_ontology_says() -> None:
    found = {"concepts": 1200, "neighbours": 10, "share": 0.3, "share_interval": (0.28, 0.32), "chance": 0.1}
    found |= {"excess": 0.2, "excess_interval": (0.18, 0.22)}
    told = str(concepts.ontology(found))
    assert "1,200 concepts" in told
    assert "30.0 % (95 % interval 28.0–32.0 %) belong to one of the groups of the concept; 10.0 %" in told
    assert "20.0 points (18.0–22.0) above chance" in told
    assert "no more than expected by chance" in str(concepts.ontology(found | {"excess_interval": (-0.01, 0.1)}))
    assert "Only 3 concepts" in str(concepts.ontology({"concepts": 3}))
    assert "was not measured, because no ontology is set (concepts.ontology)" in str(concepts.ontology(None))


def test_sets_that_are_left_out() -> None:
    assert concepts.more_sets(0) is None
    assert str(concepts.more_sets(1)).startswith("substitutes.csv of the asset patient_embeddings lists 1 more set")
    assert str(concepts.more_sets(2)).startswith("substitutes.csv of the asset patient_embeddings lists 2 more sets")
