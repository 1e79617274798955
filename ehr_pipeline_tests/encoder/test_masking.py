import numpy as np
import pytest

from ehr_pipeline.encoder import masking
from ehr_pipeline.encoder.masking import Draws, Masked
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, MASK

VOCABULARY = 1005
TOKENS = np.random.default_rng(1).integers(FIRST_CONCEPT, VOCABULARY, (400, 256))


def mask(tokens: np.ndarray, share: float, vocabulary: int, rng: np.random.Generator) -> Masked:
    return masking.mask(tokens, Draws.draw(tokens.shape, share, vocabulary, rng))


def chosen_of(masked: Masked) -> np.ndarray:
    chosen = np.zeros(masked.inputs_RT.shape, bool)
    chosen.reshape(-1)[masked.chosen_M] = True
    return chosen


def test_observed_rates_on_a_hundred_thousand_tokens() -> None:
    masked = mask(TOKENS, 0.15, VOCABULARY, np.random.default_rng(0))
    share = chosen_of(masked).mean()
    before, after = TOKENS[chosen_of(masked)], masked.inputs_RT[chosen_of(masked)]
    assert share == pytest.approx(0.15, abs=0.004)
    assert (after == MASK).mean() == pytest.approx(0.8, abs=0.01)
    assert ((after != MASK) & (after != before)).mean() == pytest.approx(0.1, abs=0.01)
    assert (after == before).mean() == pytest.approx(0.1, abs=0.01)


def test_what_is_not_chosen_stays_and_the_input_is_not_changed() -> None:
    tokens = TOKENS.copy()
    masked = mask(tokens, 0.15, VOCABULARY, np.random.default_rng(0))
    assert np.array_equal(tokens, TOKENS)
    assert np.array_equal(masked.inputs_RT[~chosen_of(masked)], TOKENS[~chosen_of(masked)])
    assert np.array_equal(masked.targets_M, TOKENS[chosen_of(masked)])


def test_special_tokens_are_never_chosen_nor_put_in() -> None:
    tokens = TOKENS.copy()
    tokens[:, :128] = np.arange(128) % FIRST_CONCEPT
    masked = mask(tokens, 0.5, VOCABULARY, np.random.default_rng(0))
    assert not chosen_of(masked)[:, :128].any()
    put_in = masked.inputs_RT[chosen_of(masked)]
    assert set(put_in[put_in < FIRST_CONCEPT]) == {MASK}


def test_masks_are_a_function_of_the_generator() -> None:
    one, two, three = (mask(TOKENS, 0.15, VOCABULARY, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one.inputs_RT, two.inputs_RT)
    assert not np.array_equal(one.chosen_M, three.chosen_M)


def test_a_part_gets_the_masks_that_it_gets_within_the_whole() -> None:
    draws = Draws.draw(TOKENS.shape, 0.15, VOCABULARY, np.random.default_rng(0))
    whole = masking.mask(TOKENS, draws)
    rows = np.array([3, 17, 20])
    assert np.array_equal(masking.mask(TOKENS[rows], draws.rows(rows)).inputs_RT, whole.inputs_RT[rows])
