"""Contrast of patients against a plain reference: each span alone through the encoder, one comparison after the other."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ehr_pipeline.encoder import packing
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.objectives import contrastive
from ehr_pipeline.encoder.objectives.base import Part
from ehr_pipeline.encoder.objectives.contrastive import Contrastive
from ehr_pipeline.encoder.patient_attributes import Traits
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import ContrastiveSettings, EncoderSettings
from ehr_pipeline_tests.encoder import test_train
from ehr_pipeline_tests.encoder.data import learnable, write_shard

SIZE, SLOTS, ROWS = 45, 32, 10
OWN = ContrastiveSettings(weight=0.5, fewest_tokens=4, most_tokens=8, anchors=2, age_shift=7, like_age=12)
SETTINGS = replace(
    test_train.SETTINGS, layers=2, context=SLOTS, tokens_per_step=4 * SLOTS, contrastive=OWN, max_positions=90
)
DEVICE = torch.device("cpu")


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Sequences:
    return Sequences.open(learnable(tmp_path_factory.mktemp("data"))["dataset"], SLOTS, "year", 90)


@pytest.fixture(scope="module")
def batch(sequences: Sequences) -> packing.Batch:
    order = packing.order_of_epoch(len(sequences.chunks), 0, 0)
    return packing.build(sequences, next(packing.group_rows(sequences, order, SLOTS, ROWS)), SLOTS)


@pytest.fixture(scope="module")
def traits(sequences: Sequences) -> Traits:
    """Two sexes, and every seventh patient's unknown."""
    numbers = np.arange(len(sequences.shards[0].birth_day))
    return Traits({"sex": np.where(numbers % 7 == 0, -1, numbers % 2).astype(np.int16)}, {})


def prepared(batch: packing.Batch, traits: Traits, seed: int = 0, settings: EncoderSettings = SETTINGS) -> Part:
    loss = Contrastive(settings, traits)
    return loss.prepare(batch, loss.draw(batch.tokens_RT.shape, np.random.default_rng(seed)))


def found(batch: packing.Batch, part: Part) -> dict[tuple[int, int], np.ndarray]:
    """Places in its row of each span, by row and number from 0."""
    spans = part.arrays[2]
    return {
        (row, int(number) - 1): np.flatnonzero(spans[row] == number)
        for row in range(len(spans))
        for number in np.unique(spans[row])
        if number
    }


def test_spans_are_whole_visits_of_one_chunk_that_share_none(batch: packing.Batch, traits: Traits) -> None:
    lengths = {0: [], 1: []}
    chunks_with, cut_at = set(), set()
    for seed in range(30):
        part = prepared(batch, traits, seed)
        spans = found(batch, part)
        assert all((row, number ^ 1) in spans for row, number in spans), "each has its partner"
        for (row, number), places in spans.items():
            assert np.array_equal(places, np.arange(places[0], places[-1] + 1))
            own = {int(chunk) for chunk in batch.chunks[row, places]}
            assert len(own) == 1
            assert own == {int(chunk) for chunk in batch.chunks[row, spans[row, number ^ 1]]}
            chunks_with |= own
            inside = set(zip(batch.segments_RT[row, places], batch.visits_RT[row, places], strict=True))
            outside = np.setdiff1d(np.arange(SLOTS), places)
            others = set(zip(batch.segments_RT[row, outside], batch.visits_RT[row, outside], strict=True))
            assert not inside & others, "whole visits"
            assert len(places) >= OWN.fewest_tokens
            lengths[number % 2].append(len(places))
            cut_at.add((row, int(places[0])))
    assert np.mean(lengths[0]) > np.mean(lengths[1]), "anchors are longer than their partners"
    assert len(cut_at) > len(found(batch, prepared(batch, traits))) * 2, "other draws give other spans"
    expected = set()
    for chunk in np.unique(batch.chunks[batch.chunks >= 0]):
        visits = batch.visits_RT[batch.chunks == chunk]
        at = np.flatnonzero(np.diff(visits)) + 1
        if ((at >= OWN.fewest_tokens) & (len(visits) - at >= OWN.fewest_tokens)).any():
            expected.add(int(chunk))
    assert chunks_with == expected, "all that can be cut, and no other"


def test_long_chunks_give_more_pairs_and_short_ones_none(tmp_path: Path) -> None:
    """One visit a year of one token: 32, 15 and 7 tokens; with 2 anchors of at most 8 and at least 4, that is 2, 1 and no pair."""
    records = [("1940-07-01", "year", [(f"{1960 + k}-03-01", [5 + k]) for k in range(n)]) for n in (32, 15, 7)]
    path = write_shard(tmp_path / "patients" / "00000.arrow", records)
    sequences = Sequences.open(path.parent, SLOTS, "year", 90)
    batch = packing.build(sequences, [np.array([n]) for n in range(3)], SLOTS)
    part = prepared(batch, Traits())
    assert [sum(1 for row, _ in found(batch, part) if row == n) // 2 for n in range(3)] == [2, 1, 0]
    assert part.count == 6, "the spans of the two patients who have some are told from each other's"
    alone = packing.build(sequences, [np.array([0])], SLOTS)
    assert prepared(alone, Traits()).count == 0, "a patient alone is told from nobody"


def test_ages_of_a_span_move_together_and_stay_in_the_table(batch: packing.Batch, traits: Traits) -> None:
    shifts = []
    for seed in range(20):
        part = prepared(batch, traits, seed)
        for (row, _), places in found(batch, part).items():
            moved = part.arrays[1][row, places] - batch.positions_RT[row, places]
            assert len(set(moved.tolist())) == 1
            shifts.append(int(moved[0]))
        assert part.arrays[1][part.arrays[2] > 0].min() >= 1
        assert part.arrays[1].max() < SETTINGS.max_positions
    assert min(shifts) == -7
    assert max(shifts) == 7
    assert len(set(shifts)) == 15
    still = replace(SETTINGS, contrastive=replace(OWN, age_shift=0))
    part = prepared(batch, traits, settings=still)
    inside = part.arrays[2] > 0
    assert np.array_equal(part.arrays[1][inside], batch.positions_RT[inside])


def test_ages_at_the_ends_of_the_table_do_not_leave_it(tmp_path: Path) -> None:
    births = ("1999-07-01", "1911-07-01")
    visits = [(f"{2000 + k // 4}-0{1 + k % 4}-01", [5 + k]) for k in range(16)]
    path = write_shard(tmp_path / "patients" / "00000.arrow", [(birth, "day", visits) for birth in births])
    sequences = Sequences.open(path.parent, SLOTS, "year", 95)
    batch = packing.build(sequences, [np.array([0]), np.array([1])], SLOTS)
    for seed in range(20):
        part = prepared(batch, Traits(), seed, replace(SETTINGS, max_positions=95))
        inside = part.arrays[2] > 0
        assert part.arrays[1][inside].min() >= 1
        assert part.arrays[1][inside].max() <= 94


def reference(
    model: PackedEncoder, batch: packing.Batch, part: Part, traits: Traits, together: int
) -> tuple[float, int, int]:
    """Sum of the losses, number of spans that are told from others, and of those nearest to their partner; span by span."""
    spans = found(batch, part)
    vectors, about = {}, {}
    for (row, number), places in spans.items():
        tokens, positions = (torch.from_numpy(part.arrays[k][row, places])[None] for k in (0, 1))
        with torch.no_grad():
            states = model.hidden(tokens, positions, torch.ones_like(tokens))[0]
        mean = states.mean(0)
        vectors[row, number] = mean / mean.norm()
        patient = int(batch.patients_RT[row, places[0]])
        about[row, number] = (patient, batch.positions_RT[row, places].mean(), int(traits.values["sex"][patient]))
    total, count, nearest = 0.0, 0, 0
    for one, vector in vectors.items():
        patient, age, sex = about[one]
        others = [o for o in vectors if o[0] // together == one[0] // together and about[o][0] != patient]
        alike = [
            o
            for o in others
            if abs(about[o][1] - age) <= OWN.like_age + 0.01 and (about[o][2] in (sex, -1) or sex == -1)
        ]
        told_from = alike if len(alike) >= contrastive.ENOUGH else others
        if not told_from:
            continue
        own = float(vector @ vectors[one[0], one[1] ^ 1]) / OWN.temperature
        scores = [float(vector @ vectors[o]) / OWN.temperature for o in told_from]
        total += math.log(sum(math.exp(score) for score in (own, *scores))) - own
        count, nearest = count + 1, nearest + (own > max(scores))
    return total, count, nearest


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_losses_and_scores_equal_a_plain_reference(batch: packing.Batch, traits: Traits, seed: int) -> None:
    loss = Contrastive(SETTINGS, traits)
    assert loss.together == 4, "an update has four rows"
    model = PackedEncoder(new_model(config_for(SETTINGS, SIZE, "x"), seed=1), loss).eval()
    part = prepared(batch, traits, seed)
    total, count, nearest = reference(model, batch, part, traits, loss.together)
    assert part.count == count > 10
    with torch.no_grad():
        assert model(*part.tensors(DEVICE)).item() == pytest.approx(total, rel=1e-4)
        sums = torch.from_numpy(loss.no_sums())
        loss.score(model, sums, *part.tensors(DEVICE))
    assert sums[0].item() == pytest.approx(total, rel=1e-4)
    assert sums[1:].tolist() == [nearest, count]


def test_the_reference_compares_with_patients_alike_and_with_all(batch: packing.Batch, traits: Traits) -> None:
    """Both rules are at work in the test above."""
    wide = prepared(batch, traits).arrays[-1][prepared(batch, traits).arrays[4] > 0]
    assert set(wide.tolist()) == {0, 1}
    everyone = prepared(batch, traits, settings=replace(SETTINGS, contrastive=replace(OWN, like_age=0)))
    assert set(everyone.arrays[-1].reshape(-1).tolist()) == {1}


def test_chunks_of_one_patient_are_not_told_from_each_other(tmp_path: Path) -> None:
    visits = [(f"{1960 + k}-03-01", [5 + k % 40]) for k in range(64)]
    path = write_shard(tmp_path / "patients" / "00000.arrow", [("1940-07-01", "year", visits)] * 2)
    sequences = Sequences.open(path.parent, SLOTS, "year", 200)
    batch = packing.build(sequences, [np.array([n]) for n in range(2)], SLOTS)
    part = prepared(batch, Traits())
    assert len(found(batch, part)) > 4
    assert part.count == 0
    both = packing.build(sequences, [np.array([n]) for n in (0, 2)], SLOTS)
    assert prepared(both, Traits()).count > 4


def test_the_baseline_guesses_among_the_spans_that_count(batch: packing.Batch, traits: Traits) -> None:
    loss = Contrastive(SETTINGS, traits)
    part = prepared(batch, traits)
    wide = contrastive.compared(loss.like, *part.arrays[4:]).sum(2)
    sums = loss.baseline([part], np.zeros(SIZE, np.int64))
    numbers = wide[wide > 0]
    assert sums.tolist() == pytest.approx(
        [sum(math.log(1 + n) for n in numbers), sum(1 / (1 + n) for n in numbers), len(numbers)]
    )
