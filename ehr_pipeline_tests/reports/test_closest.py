import numpy as np
from scipy.sparse import csr_array

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import enrichment
from ehr_pipeline.reports.closest import closest
from ehr_pipeline.vocabulary.table import Concept, Vocabulary

LABELS = np.repeat([0, 1, 2], [60, 60, 5])
CENTRES = np.array([[1.0, 0.1], [0.9, 0.4], [1.0, 0.2]])
VOCABULARY = Vocabulary(
    tuple(Concept(5 + i, f"C{i}", name, (), 1, 1) for i, name in enumerate(["eczema", "acne", "rash"])), "x"
)


def counts() -> csr_array:
    table = np.zeros((125, 8))
    table[:50, 5] = 1  # eczema: of cluster 0
    table[60:115, 6] = 1  # acne: of cluster 1
    table[:4, 7] = 1  # rash: four patients of cluster 0 only
    return csr_array(table)


def test_the_closest_cluster_and_what_tells_the_two_apart() -> None:
    found = enrichment.test(counts(), LABELS, 3)
    near = closest(CENTRES[LABELS].astype(np.float32), LABELS, found, VOCABULARY, max_p=0.1, disclosure=Disclosure(10))
    first, second, small = near
    assert first is not None
    assert second is not None
    assert (first.other, second.other) == (1, 0), "cluster 2 is nearer, but too small to be told of"
    assert (first.here, first.there) == (("eczema",), ("acne",))
    assert (second.here, second.there) == (("acne",), ("eczema",))
    assert small is None


def test_concepts_of_a_few_patients_are_not_named_and_one_cluster_has_no_neighbour() -> None:
    found = enrichment.test(counts(), LABELS, 3)
    open_table = closest(
        CENTRES[LABELS].astype(np.float32), LABELS, found, VOCABULARY, max_p=1.0, disclosure=Disclosure(1)
    )
    assert open_table[0] is not None
    assert open_table[0].other == 2
    one = np.zeros(125, np.int64)
    alone = closest(
        CENTRES[LABELS].astype(np.float32),
        one,
        enrichment.test(counts(), one, 1),
        VOCABULARY,
        max_p=0.1,
        disclosure=Disclosure(10),
    )
    assert alone == [None]


def test_what_differs_by_chance_alone_is_not_named() -> None:
    """Of a thousand concepts that are spread alike over two clusters, dozens have a p value below 0.05."""
    rng = np.random.default_rng(0)
    concepts = tuple(Concept(5 + i, f"C{i}", f"concept {i}", (), 1, 1) for i in range(1000))
    labels = np.repeat([0, 1], 150)
    found = enrichment.test(csr_array((rng.random((300, 1005)) < 0.3).astype(float)), labels, 2)
    log_p, _ = enrichment.between(found, 0, 1)
    assert (log_p < np.log(0.05)).sum() > 10
    near, _ = closest(
        rng.normal(size=(300, 2)).astype(np.float32),
        labels,
        found,
        Vocabulary(concepts, "x"),
        max_p=0.05,
        disclosure=Disclosure(10),
    )
    assert near is not None
    assert (near.here, near.there) == ((), ())
