import numpy as np
from scipy.sparse import csr_array

from ehr_pipeline.clusters.marker_concepts import Marks
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import enrichment
from ehr_pipeline.reports.nearest_cluster import Closest, closest
from ehr_pipeline.vocabulary.table import Concept, Vocabulary

LABELS = np.repeat([0, 1, 2], [60, 60, 5])
NUMBERS = np.array([1, 4, 6])
CENTRES = np.array([[1.0, 0.1], [0.9, 0.4], [1.0, 0.2]])
VOCABULARY = Vocabulary(
    tuple(Concept(5 + i, f"C{i}", name, (), 1, 1) for i, name in enumerate(["eczema", "acne", "rash", "itch"])), "x"
)
MARKS = Marks(
    NUMBERS,
    np.arange(5, 9),
    np.array([[9.0, -9.0, 9.0, 9.0], [-9.0, 9.0, -9.0, 1.0], [0.0, 0.0, 0.0, 0.0]]),
    np.ones((3, 4), bool),
)


def near(labels: np.ndarray, below: int, everywhere: bool = False) -> list[Closest | None]:
    table = np.zeros((125, 9))
    table[:50, [5, 8]] = 1  # eczema and itch: of cluster 1
    table[60:115, 6] = 1  # acne: of cluster 4
    table[5:60, 6] = everywhere
    table[:4, 7] = 1  # rash: four patients of cluster 1 only
    numbers = NUMBERS[: labels.max() + 1]
    return closest(
        CENTRES[LABELS].astype(np.float32),
        labels,
        enrichment.test(csr_array(table), labels, len(numbers)),
        marks=MARKS,
        numbers=numbers,
        vocabulary=VOCABULARY,
        disclosure=Disclosure(below),
    )


def test_the_closest_cluster_and_what_marks_only_one_of_the_two() -> None:
    """Itch marks the first cluster, but is more frequent in the other, too."""
    first, second, small = near(LABELS, 10)
    assert first is not None
    assert second is not None
    assert (first.other, second.other) == (1, 0), "cluster 6 is nearer, but too small to be told of"
    assert (first.here, first.there) == (("eczema",), ("acne",))
    assert (second.here, second.there) == (("acne",), ("eczema",))
    assert small is None


def test_a_concept_whose_lift_may_be_1_marks_none_of_the_two_in_words() -> None:
    """Acne passes the mark test in the second cluster, but as many have it everywhere."""
    first, second, _ = near(LABELS, 10, everywhere=True)
    assert first is not None
    assert second is not None
    assert (first.here, first.there) == (("eczema",), ())
    assert (second.here, second.there) == ((), ("eczema",))


def test_concepts_of_a_few_patients_are_not_named_and_one_cluster_has_no_neighbour() -> None:
    open_table = near(LABELS, 1)
    assert open_table[0] is not None
    assert open_table[0].other == 2
    assert open_table[1] is not None
    assert open_table[1].there == (), "the nearest is cluster 6"
    assert near(np.zeros(125, np.int64), 10) == [None]


def test_a_concept_that_does_not_pass_the_mark_test_is_not_named() -> None:
    assert MARKS.not_in(4, 6) == []
    assert MARKS.not_in(1, 4) == [5, 7]
