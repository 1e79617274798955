"""Which concepts stand on the cards, by the mark test and by the published ranking."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from ehr_pipeline.clusters.marker_concepts import Marks
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import cards, enrichment, ranking
from ehr_pipeline.reports.enrichment import Enrichment
from ehr_pipeline.vocabulary.table import Concept, Vocabulary

NUMBERS = np.array([2, 5])
VOCABULARY = Vocabulary(tuple(Concept(t, f"C{t}", f"concept {t}", (), 9, 9) for t in range(5, 11)), "x")
MARKS = Marks(
    NUMBERS,
    np.array([5, 6, 8, 9, 10]),
    np.array([[9.0, 12.0, 0.0, -8.0, -9.0], [-9.0, 1.0, 0.0, 9.0, 0.0]]),
    np.array([[True, True, True, True, False], [True] * 5]),
)


@pytest.fixture
def found() -> Enrichment:
    rng = np.random.default_rng(0)
    counts = np.hstack([np.zeros((200, 5)), rng.poisson(1.0, (200, 6))])
    counts[:, 9] = np.arange(200) < 4
    counts[1::4, 5], counts[1::4, 6] = 0, 0
    return enrichment.test(csr_array(counts), np.arange(200) % 2, 2)


def test_only_what_passes_stands_on_a_card_the_smallest_p_first_in_each_direction() -> None:
    tested = ranking.tested(MARKS, NUMBERS, 11, 50)
    assert tested.tokens == [[6, 5, 9], [9, 5]]
    assert [np.flatnonzero(row).tolist() for row in tested.marks] == [[5, 6], [9]]
    assert [row[tokens].tolist() for row, tokens in zip(tested.over, tested.tokens, strict=True)] == [
        [True, True, False],
        [True, False],
    ]
    assert tested.log_q[0, 6] == MARKS.log_q[0, 1]
    assert ranking.tested(MARKS, NUMBERS, 11, 1).tokens == [[6, 9], [9, 5]]


def test_a_cluster_that_was_not_tested_has_an_empty_card() -> None:
    tested = ranking.tested(MARKS, np.array([2, 4, 5]), 11, 50)
    assert tested.tokens == [[6, 5, 9], [], [9, 5]]
    assert not tested.marks[1].any()


def test_titles_are_made_of_what_passes(found: Enrichment) -> None:
    tables = cards.concept_tables(found, ranking.tested(MARKS, NUMBERS, 11, 50), VOCABULARY, Disclosure(10))
    assert cards.title(tables[0], "") == "concept 6, concept 5"
    assert cards.marks(tables[0]) == ["concept 6", "concept 5"]
    assert [row.name for row in tables[1]] == ["concept 5"], "few patients have concept 9: it is not named"
    assert cards.title(tables[1], "") == "less often concept 5", "it was said that nothing marks it"
    assert tables[0][0].q == cards.p_text(MARKS.log_q[0, 1])


def test_a_cluster_is_called_first_by_what_is_less_frequent_where_that_is_stronger(found: Enrichment) -> None:
    """Young patients without other diagnoses were called "Fatigue", by a chance of one in 10⁵, where seven diagnoses were rarer."""
    row = cards.concept_tables(found, ranking.tested(MARKS, NUMBERS, 11, 50), VOCABULARY, Disclosure(10))[0][0]
    over = replace(row, name="Fatigue", over=True, lifted=True, share="30.9 %", importance=5.0)
    under = [replace(row, name=name, over=False, lifted=False, importance=11.0) for name in ("Acne", "Eczema")]
    assert cards.title([over, *under], "") == "less often Acne, Eczema; more often Fatigue (30.9 %)"
    assert cards.title([replace(over, importance=12.0), *under], "") == "Fatigue (30.9 %)"
    assert cards.title([replace(over, lifted=False), *under], "Asthma") == "Asthma: less often Acne, Eczema"


def test_a_mark_whose_lift_may_be_1_gives_no_cluster_its_name(found: Enrichment) -> None:
    """It passes the test among patients alike and stands in the table, but words would say more than its lift."""
    ranked, size = ranking.tested(MARKS, NUMBERS, 11, 50), len(found.cluster_patients)
    same = replace(found, patients=np.tile(found.patients.sum(axis=0) // size, (size, 1)))
    table = cards.concept_tables(same, ranked, VOCABULARY, Disclosure(10))[0]
    assert [row.name for row in table if row.over] == ["concept 6", "concept 5"]
    assert cards.marks(table) == []
    assert cards.title(table, "") == cards.UNLIFTED
    assert cards.title(table, "Psoriasis") == "Psoriasis: marks only among similar patients"


def test_the_published_ranking_fills_the_cards_of_a_random_division(found: Enrichment) -> None:
    listed = ranking.published(found, 50, 1.0)
    assert listed.tokens == [found.top(cluster, 50, 1.0) for cluster in range(2)]
    assert not listed.is_tested
    assert np.array_equal(listed.log_p, found.log_p)
    assert not listed.marks[found.ratio < 2].any()
