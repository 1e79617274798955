import numpy as np
import pytest

from ehr_pipeline.encoder.masking import mask
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, MASK

VOCABULARY = 1005
TOKENS = np.random.default_rng(1).integers(FIRST_CONCEPT, VOCABULARY, (400, 256))


def test_observed_rates_on_a_hundred_thousand_tokens() -> None:
    masked = mask(TOKENS, 0.15, VOCABULARY, np.random.default_rng(0))
    share = masked.chosen_RT.mean()
    before, after = TOKENS[masked.chosen_RT], masked.inputs_RT[masked.chosen_RT]
    assert share == pytest.approx(0.15, abs=0.004)
    assert (after == MASK).mean() == pytest.approx(0.8, abs=0.01)
    assert ((after != MASK) & (after != before)).mean() == pytest.approx(0.1, abs=0.01)
    assert (after == before).mean() == pytest.approx(0.1, abs=0.01)


def test_what_is_not_chosen_stays_and_the_input_is_not_changed() -> None:
    tokens = TOKENS.copy()
    masked = mask(tokens, 0.15, VOCABULARY, np.random.default_rng(0))
    assert np.array_equal(tokens, TOKENS)
    assert np.array_equal(masked.inputs_RT[~masked.chosen_RT], TOKENS[~masked.chosen_RT])
    assert np.array_equal(masked.targets, TOKENS[masked.chosen_RT])


def test_special_tokens_are_never_chosen_nor_put_in() -> None:
    tokens = TOKENS.copy()
    tokens[:, :128] = np.arange(128) % FIRST_CONCEPT
    masked = mask(tokens, 0.5, VOCABULARY, np.random.default_rng(0))
    assert not masked.chosen_RT[:, :128].any()
    put_in = masked.inputs_RT[masked.chosen_RT]
    assert set(put_in[put_in < FIRST_CONCEPT]) == {MASK}


def test_masks_are_a_function_of_the_generator() -> None:
    one, two, three = (mask(TOKENS, 0.15, VOCABULARY, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one.inputs_RT, two.inputs_RT)
    assert not np.array_equal(one.chosen_RT, three.chosen_RT)


def test_there_is_always_something_to_predict() -> None:
    tokens = np.array([[0, 7, 0]])
    assert mask(tokens, 1e-12, VOCABULARY, np.random.default_rng(0)).targets.tolist() == [7]
