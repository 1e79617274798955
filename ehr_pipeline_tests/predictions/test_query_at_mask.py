"""The encoder's answer at an appended mask, against the stock model on a sequence laid out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.patients.histories import ALWAYS, cut
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.predictions.query_at_mask import at_mask, log_odds, logits
from ehr_pipeline.vocabulary.table import MASK
from ehr_pipeline_tests.encoder.stock_class import stock_of
from ehr_pipeline_tests.patients.test_histories import Record, shard_of

SETTINGS = EncoderSettings(hidden_size=16, layers=2, heads=2, feed_forward=32, dropout=0.0, attention_dropout=0.0)
HOW = Inference(context=6, age_unit="year", max_positions=514, batch_tokens=12, precision="float32")
YEAR = 365.2425
RECORDS: list[Record] = [
    [(-5_000, [5, 6]), (-2_000, [7]), (0, [8, 9, 10]), (3_000, [11])],
    [],
    [(-100, [12])],
]


@pytest.fixture
def model() -> PackedEncoder:
    return PackedEncoder(new_model(config_for(SETTINGS, 20, "x"), seed=3)).eval()


def answers(model: PackedEncoder, shard: Shard, day: int, how: Inference = HOW, before: int = 0) -> np.ndarray:
    """The logits (H, V) in the order of the histories."""
    found = np.full((len(shard.birth_day), 20), np.nan, np.float32)
    for rows, hidden in at_mask(model, shard, np.full(len(found), day), how, before):
        assert np.isnan(found[rows]).all()
        found[rows] = logits(model, hidden, how.precision).numpy()
    return found


def by_hand(model: PackedEncoder, tokens: list[int], days: list[int], birth: int, by_year: bool) -> np.ndarray:
    if by_year:
        years = [int(str(np.datetime64(d, "D"))[:4]) - int(str(np.datetime64(birth, "D"))[:4]) for d in days]
    else:
        years = [int((d - birth) // YEAR) for d in days]
    with torch.no_grad():
        scores = stock_of(model)(
            input_ids=torch.tensor([[*tokens, MASK]]), position_ids=torch.tensor([[age + 1 for age in years]])
        ).logits[0, -1]
    return scores.numpy()


def test_the_answer_is_that_of_the_stock_model(model: PackedEncoder) -> None:
    found = answers(model, shard_of(RECORDS), 4_000)
    expected = [
        by_hand(model, [7, 8, 9, 10, 11], [-2_000, 0, 0, 0, 3_000, 4_000], -20_000, False),  # five of seven tokens fit
        by_hand(model, [], [4_000], -19_999, True),
        by_hand(model, [12], [-100, 4_000], -19_998, False),
    ]
    assert np.allclose(found, np.stack(expected), atol=1e-5)


def test_fewer_tokens_before_the_mask(model: PackedEncoder) -> None:
    found = answers(model, shard_of(RECORDS), 4_000, before=2)
    assert np.allclose(found[0], by_hand(model, [10, 11], [0, 3_000, 4_000], -20_000, False), atol=1e-5)
    assert np.allclose(found, answers(model, shard_of(RECORDS), 4_000, replace(HOW, context=3)), atol=1e-5)
    assert np.array_equal(answers(model, shard_of(RECORDS), 4_000, before=9), answers(model, shard_of(RECORDS), 4_000))
    with pytest.raises(ValueError, match="from 0"):
        answers(model, shard_of(RECORDS), 4_000, before=-1)


def test_nothing_after_the_cut_changes_the_answer(model: PackedEncoder) -> None:
    """The leak is planted: a record that goes on after the cut, with the outcome."""
    everybody, last = np.arange(3), np.full(3, -1)
    histories = cut(shard_of(RECORDS), everybody, np.full(3, ALWAYS), last)
    without = shard_of([[visit for visit in record if visit[0] < 0] for record in RECORDS])
    assert np.allclose(answers(model, histories, 100), answers(model, without, 100), atol=1e-6)
    assert not np.allclose(answers(model, histories, 100)[0], answers(model, shard_of(RECORDS), 100)[0], atol=1e-3)


def test_the_age_at_the_mask_is_read(model: PackedEncoder) -> None:
    assert not np.allclose(answers(model, shard_of(RECORDS), 4_000)[2], answers(model, shard_of(RECORDS), 9_000)[2])


def test_log_odds_of_a_list() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0, -3.0], [60.0, 0.0, 0.0, 0.0]])
    share = torch.softmax(scores.double(), 1)
    found = log_odds(scores, [np.array([1, 3]), np.array([0]), np.array([], np.int64)])
    inside = share[0, 1] + share[0, 3]
    assert found[0, 0] == pytest.approx(float(torch.log(inside / (1 - inside))), abs=1e-5)
    assert found[1, 1] == pytest.approx(60 - np.log(3), abs=1e-4)  # the sum itself is 1 in float32
    assert np.isneginf(found[:, 2]).all()
