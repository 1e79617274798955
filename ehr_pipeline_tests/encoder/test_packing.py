from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.encoder import packing
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline_tests.encoder.data import learnable


@given(st.lists(st.integers(1, 16), max_size=200))
def test_every_chunk_is_packed_once_and_no_row_overflows(lengths: list[int]) -> None:
    rows = list(packing.pack_rows(np.array(lengths, np.int64), 16))
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= 16 for row in rows)


def test_little_is_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 257, 5000)
    rows = list(packing.pack_rows(lengths, 256))
    assert lengths.sum() / (256 * len(rows)) > 0.92


def test_a_batch_is_filled_up_with_rows_of_padding(tmp_path: Path) -> None:
    sequences = Sequences.open(learnable(tmp_path)["dataset"], 8, "year", 514)
    rows = next(packing.group_rows(sequences, packing.order_of_epoch(len(sequences.chunks), 0, 0), 8, 3))
    batch, higher, none = (packing.build(sequences, *given) for given in ((rows, 8), (rows, 8, 5), ([], 8, 2)))
    assert higher.tokens_RT.shape == (5, 8)
    assert np.array_equal(higher.tokens_RT[:3], batch.tokens_RT)
    assert not higher.segments_RT[3:].any()
    assert (higher.chunks[3:] == -1).all()
    assert none.tokens_RT.shape == (2, 8)
    assert none.real_tokens == 0


def test_a_batch_lays_chunks_side_by_side(tmp_path: Path) -> None:
    sequences = Sequences.open(learnable(tmp_path)["dataset"], 8, "year", 514)
    rows = next(packing.group_rows(sequences, packing.order_of_epoch(len(sequences.chunks), 0, 0), 8, 16))
    batch = packing.build(sequences, rows, 8)
    assert batch.tokens_RT.shape == (16, 8)
    for number, row in enumerate(rows):
        expected = sequences.select(sequences.chunks[row])
        filled = batch.segments_RT[number] > 0
        assert batch.tokens_RT[number][filled].tolist() == expected.tokens.tolist()
        assert batch.positions_RT[number][filled].tolist() == expected.positions.tolist()
        assert batch.chunks[number][filled].tolist() == np.repeat(row, sequences.chunks.length[row]).tolist()
        assert (batch.tokens_RT[number][~filled] == 0).all()
        assert (batch.chunks[number][~filled] == -1).all()
    assert batch.real_tokens == sum(int(sequences.chunks.length[row].sum()) for row in rows)


def test_an_epoch_shows_every_token_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    sequences = Sequences.open(learnable(tmp_path)["dataset"], 8, "year", 514)

    def epoch(number: int) -> list[int]:
        order = packing.order_of_epoch(len(sequences.chunks), 3, number)
        return [int(chunk) for group in packing.group_rows(sequences, order, 8, 4) for row in group for chunk in row]

    assert sorted(epoch(0)) == list(range(len(sequences.chunks)))
    assert epoch(0) == epoch(0) != epoch(1)
