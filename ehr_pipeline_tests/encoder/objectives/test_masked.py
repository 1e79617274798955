from dataclasses import replace

import numpy as np
import pytest

from ehr_pipeline.encoder.objectives.base import Part
from ehr_pipeline.encoder.objectives.masked import Masked
from ehr_pipeline.encoder.packing import Batch
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, MASK
from ehr_pipeline_tests.encoder.data import vocabulary_of

VOCABULARY = vocabulary_of(1005)
TOKENS = np.random.default_rng(1).integers(FIRST_CONCEPT, VOCABULARY.size, (400, 256))


def masked(share: float = 0.15) -> Masked:
    return Masked(EncoderSettings(mask_share=share), VOCABULARY)


def batch_of(tokens: np.ndarray) -> Batch:
    return Batch(tokens, tokens * 0, tokens * 0 + 1, tokens * 0, tokens * 0, tokens * 0, 0)


def mask(tokens: np.ndarray, share: float = 0.15, seed: int = 0) -> Part:
    objective = masked(share)
    return objective.prepare(batch_of(tokens), objective.draw(tokens.shape, np.random.default_rng(seed)))


def chosen_of(part: Part) -> np.ndarray:
    chosen = np.zeros(part.arrays[0].shape, bool)
    chosen.reshape(-1)[part.arrays[3]] = True
    return chosen


def test_observed_rates_on_a_hundred_thousand_tokens() -> None:
    part = mask(TOKENS)
    share = chosen_of(part).mean()
    before, after = TOKENS[chosen_of(part)], part.arrays[0][chosen_of(part)]
    assert share == pytest.approx(0.15, abs=0.004)
    assert (after == MASK).mean() == pytest.approx(0.8, abs=0.01)
    assert ((after != MASK) & (after != before)).mean() == pytest.approx(0.1, abs=0.01)
    assert (after == before).mean() == pytest.approx(0.1, abs=0.01)


def test_what_is_not_chosen_stays_and_the_input_is_not_changed() -> None:
    tokens = TOKENS.copy()
    part = mask(tokens)
    assert np.array_equal(tokens, TOKENS)
    assert np.array_equal(part.arrays[0][~chosen_of(part)], TOKENS[~chosen_of(part)])
    assert np.array_equal(part.arrays[4], TOKENS[chosen_of(part)])
    assert part.count == chosen_of(part).sum()


def test_special_tokens_are_never_chosen_nor_put_in() -> None:
    tokens = TOKENS.copy()
    tokens[:, :128] = np.arange(128) % FIRST_CONCEPT
    part = mask(tokens, share=0.5)
    assert not chosen_of(part)[:, :128].any()
    put_in = part.arrays[0][chosen_of(part)]
    assert set(put_in[put_in < FIRST_CONCEPT]) == {MASK}


def test_masks_are_a_function_of_the_generator() -> None:
    one, two, three = (mask(TOKENS, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one.arrays[0], two.arrays[0])
    assert not np.array_equal(one.arrays[3], three.arrays[3])


def test_a_part_gets_the_masks_that_it_gets_within_the_whole() -> None:
    objective = masked()
    draws = objective.draw(TOKENS.shape, np.random.default_rng(0))
    whole = objective.prepare(batch_of(TOKENS), draws)
    rows = np.array([3, 17, 20])
    part = objective.prepare(batch_of(TOKENS[rows]), tuple(drawn[rows] for drawn in draws))
    assert np.array_equal(part.arrays[0], whole.arrays[0][rows])


def test_nothing_is_asked_in_rows_of_padding() -> None:
    objective = masked(share=0.99)
    part = objective.prepare(batch_of(np.zeros((1, 16), np.int64)), objective.draw((1, 16), np.random.default_rng(0)))
    assert part.count == 0
    assert not part.arrays[0].any()


def test_the_baseline_predicts_by_frequency() -> None:
    objective = masked()
    targets = np.array([FIRST_CONCEPT, FIRST_CONCEPT, FIRST_CONCEPT + 1, FIRST_CONCEPT + 20])
    counts = np.zeros(VOCABULARY.size, np.int64)
    counts[FIRST_CONCEPT], counts[FIRST_CONCEPT + 1] = 4000, 1000
    part = Part((targets,), len(targets))
    scores = objective.scores(objective.baseline([part, part], counts))
    probability = (counts[targets] + 1) / (counts.sum() + VOCABULARY.size - FIRST_CONCEPT)
    assert scores == {
        "loss": pytest.approx(-np.log(probability).mean()),
        "top1": 0.5,
        "top10": 0.75,
        "masked_tokens": 8,
    }


def test_details_are_by_semantic_type_where_enough_was_asked() -> None:
    typed = [replace(one, semantic_types=("T047",)) for one in VOCABULARY.concepts[:2]]
    rare = [replace(one, semantic_types=("T184", "T047")) for one in VOCABULARY.concepts[2:3]]
    objective = Masked(EncoderSettings(), replace(VOCABULARY, concepts=(*typed, *rare, *VOCABULARY.concepts[3:])))
    sums = objective.no_sums()
    sums[:, FIRST_CONCEPT : FIRST_CONCEPT + 3] = [[30.0, 50.0, 8.0], [20, 10, 0], [50, 10, 4], [100, 60, 8]]
    (row,) = objective.details(sums, sums * [[2], [0], [0], [1]])
    assert (row["type"], row["masked_tokens"]) == ("T047", 168)
    assert (row["loss"], row["baseline_loss"]) == (pytest.approx(88 / 168), pytest.approx(176 / 168))
    assert (row["top1"], row["top10"], row["baseline_top10"]) == (pytest.approx(30 / 168), pytest.approx(64 / 168), 0)
