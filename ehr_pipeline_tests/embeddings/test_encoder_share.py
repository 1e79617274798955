"""The share of the encoder: taken where it shows groups that the profile does not, and not where it only identifies patients."""

from pathlib import Path

import numpy as np
import pytest

from ehr_pipeline.embeddings import encoder_share
from ehr_pipeline.embeddings.encoder_share import ChosenShare, TriedShare
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.patient_blocks import Estimate
from ehr_pipeline.store.artifacts import Artifact

PATIENTS, WIDTH = 600, 12
ALIKE = np.arange(PATIENTS) // 10
"""Blocks of ten similar patients."""


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def grouped(rng: np.random.Generator, labels: np.ndarray, strength: float) -> encoder_share.Three:
    """Whole records and both halves: the group's direction, and noise that differs between the halves."""
    centres = rng.normal(size=(int(labels.max()) + 1, WIDTH))

    def part(noise: float) -> np.ndarray:
        return unit_length((strength * centres[labels] + noise * rng.normal(size=(PATIENTS, WIDTH))).astype(np.float32))

    return part(0.7), part(1.0), part(1.0)


def chosen(profiles: encoder_share.Three, network: encoder_share.Three) -> ChosenShare:
    return encoder_share.compared(profiles, None, network, ALIKE, most=8, seed=0)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_share, "GROUPS", (4,))
    monkeypatch.setattr(encoder_share, "STARTS", 2)
    return


def test_an_encoder_that_shows_groups_gets_a_share(fast: None, rng: np.random.Generator) -> None:
    """Groups lie across the blocks of similar patients; the profile does not know of them."""
    groups = rng.integers(0, 4, PATIENTS)
    found = chosen(grouped(rng, groups, 0.0), grouped(rng, groups, 1.5))
    assert found.share == 0.5
    assert found.adds is not None
    assert found.adds.gain.low > 0.2
    assert [one.share for one in found.tried] == [0.0, *encoder_share.SHARES]


def test_an_encoder_of_noise_gets_none(fast: None, rng: np.random.Generator) -> None:
    groups = rng.integers(0, 4, PATIENTS)
    found = chosen(grouped(rng, groups, 1.5), grouped(rng, groups, 0.0))
    assert found.share == 0.0
    assert found.tried[-1].gain.high < 0
    assert found.adds is not None
    assert found.adds.share > 0, "what the network would add is said of a share that was tried"


def test_what_patients_alike_have_in_common_earns_nothing(fast: None, rng: np.random.Generator) -> None:
    """The encoder knows the block, as it may know age and disease; halves of different patients of a block agree as well."""
    found = chosen(grouped(rng, rng.integers(0, 4, PATIENTS), 1.0), grouped(rng, ALIKE % 4, 2.0))
    assert found.share == 0.0


def test_agreement_is_what_exceeds_that_of_patients_alike(fast: None, rng: np.random.Generator) -> None:
    groups = rng.integers(0, 4, PATIENTS)
    centres = 5 * np.eye(4, WIDTH, dtype=np.float32)
    clear = centres[groups] + 0.01 * rng.normal(size=(PATIENTS, WIDTH)).astype(np.float32)
    noise = rng.normal(size=(2, PATIENTS, WIDTH)).astype(np.float32)
    alone = np.arange(PATIENTS)
    others = np.mean([(groups[block == ALIKE] == groups[patient]).sum() - 1 for patient, block in enumerate(ALIKE)]) / 9
    assert encoder_share.agreement(clear, (clear, clear), ALIKE, 0).mean() == pytest.approx(1 - others)
    assert encoder_share.agreement(clear, (noise[0], noise[1]), ALIKE, 0).mean() == pytest.approx(0, abs=0.05)
    assert not encoder_share.agreement(clear, (clear, clear), alone, 0).any(), (
        "a patient alone in the block tells nothing"
    )


def test_what_was_chosen_is_read_back_from_the_counts(tmp_path: Path) -> None:
    tried = (TriedShare(0.0, 0.4, Estimate(0.0, 0.0, 0.0)), TriedShare(0.1, 0.5, Estimate(0.1, 0.05, 0.15)))
    chosen = ChosenShare(0.1, 900, tried)
    assert ChosenShare.of(Artifact(tmp_path, {"counts": {"encoder_share": chosen.as_dict()}})) == chosen
    assert ChosenShare.of(Artifact(tmp_path, {"counts": {}})) is None, "set by hand"


def test_what_the_network_adds_is_said_of_the_chosen_share() -> None:
    gains = {0.0: 0.0, 0.1: 0.02, 0.2: 0.05, 0.3: 0.04}
    tried = tuple(TriedShare(at, 0.5, Estimate(gain, gain - 0.03, gain + 0.03)) for at, gain in gains.items())
    assert ChosenShare(0.2, 900, tried).adds == tried[2]
    assert ChosenShare(0.0, 900, tried).adds == tried[2]
    assert ChosenShare(0.0, 20, ()).adds is None
