"""Directions on which the halves of records agree: found where planted, none where there are none, against numpy's own solution."""

import numpy as np

from ehr_pipeline.embeddings import canonical_correlation


def halves(rng: np.random.Generator, patients: int, signal: float) -> tuple[np.ndarray, np.ndarray]:
    """Two noisy looks (P, 6) at one state, which lies along the first two axes."""
    state = rng.normal(size=(patients, 2)) * signal
    noise = rng.normal(size=(2, patients, 6)) * [1, 1, 3, 3, 0.2, 0.2]
    return tuple((side + np.pad(state, ((0, 0), (0, 4)))).astype(np.float32) for side in noise)  # type: ignore[return-value]


def test_what_the_halves_share_is_found_and_weighed_by_its_reliability() -> None:
    one, other = halves(np.random.default_rng(0), 4000, signal=2.0)
    found = canonical_correlation.fit(one, other, most=6, seed=0)
    assert found is not None
    assert len(found.reliabilities) == 2
    assert np.allclose(found.reliabilities, 0.8, atol=0.03)  # variance 4 of the state in 5 of a half
    assert np.abs(found.directions[2:] * np.array([[3], [3], [0.2], [0.2]])).max() < 0.05
    moved = found.apply(one)
    assert np.allclose(moved.std(0), found.reliabilities, rtol=0.05)
    assert np.allclose(np.corrcoef(moved.T)[0, 1], 0, atol=0.03)


def test_halves_of_strangers_share_nothing() -> None:
    one, other = halves(np.random.default_rng(5), 2000, signal=0.0)
    assert canonical_correlation.fit(one, other, most=6, seed=0) is None


def test_one_direction_is_none() -> None:
    one, other = (side[:, 1:] for side in halves(np.random.default_rng(6), 3000, signal=2.0))
    alone = canonical_correlation.fit(one, other, most=1, seed=0)
    assert alone is not None
    assert len(alone.reliabilities) == 1
    assert canonical_correlation.fit(one, other, most=6, seed=0) is None, "vectors of length 1 would be its two signs"


def test_at_most_so_many_directions_the_most_reliable_first() -> None:
    one, other = halves(np.random.default_rng(2), 3000, signal=2.0)
    both, first = (canonical_correlation.fit(one, other, most, seed=0) for most in (6, 1))
    assert both is not None
    assert first is not None
    assert np.allclose(first.directions[:, 0], both.directions[:, 0])
    assert np.array_equal(first.reliabilities, both.reliabilities[:1])


def test_too_few_patients() -> None:
    one, other = halves(np.random.default_rng(3), canonical_correlation.FEWEST_PATIENTS - 1, signal=9.0)
    assert canonical_correlation.fit(one, other, most=6, seed=0) is None


def test_the_scale_of_the_axes_does_not_matter() -> None:
    one, other = halves(np.random.default_rng(4), 3000, signal=2.0)
    scales = np.array([3, 0.5, 1, 2, 5, 1], np.float32)
    plain, scaled = (
        canonical_correlation.fit(one, other, 6, 0),
        canonical_correlation.fit(one * scales, other * scales, 6, 0),
    )
    assert plain is not None
    assert scaled is not None
    assert np.allclose(plain.reliabilities, scaled.reliabilities, atol=5e-3)
