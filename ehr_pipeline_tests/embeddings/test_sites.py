"""How far vectors tell the site, on planted data; and that the site can be taken out of them."""

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.embeddings.sites import Removal, cells, matched, predictability

P, D = 2_000, 16


def planted(shift: float, by_age: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Vectors of two sites that differ by `shift` in one direction; the second has older patients, and age moves another one."""
    rng = np.random.default_rng(0)
    second = rng.random(P) < 0.4
    age = rng.normal(50 + 10 * second, 15)
    vectors = rng.normal(size=(P, D))
    vectors[:, 0] += shift * second
    vectors[:, 1] += by_age * (age - 50) / 15
    return vectors, second, np.stack([age, rng.integers(0, 2, P)], axis=1)


def test_vectors_without_a_site_are_at_chance_even_if_patients_differ() -> None:
    for by_age in (0.0, 2.0):
        found = predictability(*planted(0.0, by_age), seed=0)
        assert found is not None
        assert found.low < 0.5 < found.high or abs(found.auroc - 0.5) < 0.03
        assert found.patients < P
    vectors, second, covariates = planted(0.0, 2.0)
    apart = predictability(vectors, second, np.zeros_like(covariates), seed=0)
    assert apart is not None
    assert apart.low > 0.6, "unmatched, the site's older patients are taken for the site"


def test_a_planted_site_is_found_as_well_as_it_can_be() -> None:
    """Two normal distributions one standard deviation apart have an AUROC of 0.76."""
    found = predictability(*planted(1.0), seed=0)
    assert found is not None
    assert 0.72 < found.auroc < 0.78
    assert found.low < found.auroc < found.high
    assert predictability(*planted(1.0), seed=0) == found


def test_the_site_is_taken_out_and_age_is_left() -> None:
    vectors, second, covariates = planted(1.0, 2.0)
    learning = np.arange(P) % 2 == 0
    removal = Removal.fit(vectors[learning], second[learning], covariates[learning])
    assert abs(removal.difference[0] - 1) < 0.2
    assert np.abs(removal.difference[2:]).max() < 0.2
    assert abs(removal.difference[1]) < 0.4, "of 1.33 that the sites differ by because of age"
    rest = removal.apply(vectors, second)
    found = predictability(rest[~learning], second[~learning], covariates[~learning], seed=0)
    assert found is not None
    assert found.auroc < 0.56
    assert np.corrcoef(rest[:, 1], covariates[:, 0])[0, 1] > 0.85


def test_few_patients_and_sites_that_share_nobody_alike_give_none() -> None:
    vectors, second, covariates = planted(1.0)
    assert predictability(vectors[:80], second[:80], covariates[:80], seed=0) is None
    apart = np.stack([second.astype(float), covariates[:, 1]], axis=1)
    assert predictability(vectors, second, apart, seed=0) is None
    assert len(matched(second, apart, np.random.default_rng(0))) == 0


def test_matched_patients_are_as_many_of_each_site_in_every_cell() -> None:
    _, second, covariates = planted(0.0)
    rows = matched(second, covariates, np.random.default_rng(0))
    assert len(np.unique(rows)) == len(rows)
    cell = cells(covariates)[rows]
    assert np.array_equal(np.bincount(cell[second[rows]]), np.bincount(cell[~second[rows]]))
    assert len(np.unique(cells(covariates))) == 10
