import numpy as np
import pytest

from ehr_pipeline.clusters.microaggregation import BLOCK_SIZE, balance, centred, nearest_blocks, shuffled


def test_blocks_hold_patients_of_one_category_who_are_near_each_other() -> None:
    rng = np.random.default_rng(0)
    sex, age, amount = rng.choice(["F", "M"], 3000), rng.uniform(0, 90, 3000), rng.normal(size=3000)
    blocks = nearest_blocks([sex, np.zeros(3000)], [age, amount])
    sizes = np.bincount(blocks)
    assert sizes.min() >= BLOCK_SIZE
    assert sizes.max() < 2 * BLOCK_SIZE
    assert all(len(set(sex[blocks == block])) == 1 for block in range(len(sizes)))
    assert balance(blocks, {"age": age, "amount": amount})["age"] < 0.15


def test_few_patients_are_one_block_and_their_balance_says_so() -> None:
    rng = np.random.default_rng(1)
    cell, age = np.repeat(np.arange(6), 12), rng.uniform(0, 90, 72)
    blocks = nearest_blocks([cell], [age])
    assert np.array_equal(np.bincount(blocks), np.full(6, 12))
    assert balance(blocks, {"age": age})["age"] == pytest.approx(1, abs=0.15)
    alone = nearest_blocks([np.arange(5)], [np.arange(5.0)])
    assert len(set(alone.tolist())) == 5
    assert np.isnan(balance(alone, {"age": np.arange(5.0)})["age"])


def test_more_numbers_are_matched_less_closely() -> None:
    rng = np.random.default_rng(2)
    numbers = [rng.normal(size=800) for _ in range(4)]
    cell = np.zeros(800)
    two, four = (balance(nearest_blocks([cell], numbers[:k]), {"age": numbers[0]})["age"] for k in (2, 4))
    assert two < 0.35 < four < 0.8


def test_permutations_stay_within_blocks_and_move_everybody_at_some_time() -> None:
    rng = np.random.default_rng(3)
    blocks = rng.integers(8, size=60)
    drawn = np.stack([shuffled(blocks, rng) for _ in range(80)])
    assert (blocks[drawn] == blocks).all()
    assert (np.sort(drawn, axis=1) == np.arange(60)).all()
    assert (drawn != np.arange(60)).any(axis=0).all()


def test_centred_takes_out_the_means_of_blocks() -> None:
    blocks, values = np.array([1, 0, 1, 0]), np.array([[1.0], [5.0], [3.0], [6.0]])
    assert centred(values, blocks).ravel().tolist() == [-1.0, -0.5, 1.0, 0.5]
