"""Prediction of attributes against a plain reference: each chunk alone through the encoder, one attribute after the other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ehr_pipeline.encoder import packing
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.objectives import objective_of, traits_of
from ehr_pipeline.encoder.objectives.metadata import FEWEST_TOKENS, Metadata
from ehr_pipeline.encoder.patient_attributes import Traits
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import ContrastiveSettings, MetadataSettings
from ehr_pipeline.errors import UserError
from ehr_pipeline_tests.encoder import test_train
from ehr_pipeline_tests.encoder.data import learnable, vocabulary_of, write_shard, write_split

SIZE, SLOTS = 45, 32
NAMES = ("sex", "birth_decade")
SETTINGS = replace(
    test_train.SETTINGS, layers=2, context=SLOTS, metadata=MetadataSettings(weight=0.5, attributes=NAMES)
)
DEVICE = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return learnable(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def traits(data: dict[str, Path]) -> Traits:
    return Traits.read(data["dataset"], data["split"], NAMES)


@pytest.fixture(scope="module")
def batch(data: dict[str, Path]) -> packing.Batch:
    sequences = Sequences.open(data["dataset"], SLOTS, "year", 514)
    order = packing.order_of_epoch(len(sequences.chunks), 0, 0)
    return packing.build(sequences, next(packing.group_rows(sequences, order, SLOTS, 12)), SLOTS, height=14)


def test_values_are_those_of_the_patients_and_rare_ones_are_unknown(data: dict[str, Path], traits: Traits) -> None:
    shard = Sequences.open(data["dataset"], SLOTS, "year", 514).shards[0]
    decades = 1970 + shard.birth_day.astype("datetime64[D]").astype("datetime64[Y]").astype(int)
    decades -= decades % 10
    trained = np.arange(len(decades)) % 10 > 0
    frequent = [d for d in sorted(set(decades.tolist())) if (trained & (decades == d)).sum() >= 10]
    assert len(frequent) >= 2
    expected = [frequent.index(d) if d in frequent else -1 for d in decades.tolist()]
    assert traits.values["birth_decade"].tolist() == expected
    assert traits.counts["birth_decade"].tolist() == [(trained & (decades == d)).sum() for d in frequent]
    assert traits.of("sex", np.array([[3, -1]])).tolist() == [[traits.values["sex"][3], -1]]
    assert traits.of("region", np.array([3])).tolist() == [-1]


def test_a_value_that_few_training_patients_have_is_no_class(tmp_path: Path) -> None:
    record = ("1950-07-01", "year", [("2000-01-01", [5])])
    sexes = ["F"] * 12 + ["M"] * 12 + ["I"] * 9 + [""] * 12
    write_shard(tmp_path / "patients" / "00000.arrow", [record] * len(sexes), sexes)
    write_split(tmp_path / "split" / "00000.arrow", ["train"] * len(sexes))
    found = Traits.read(tmp_path / "patients", tmp_path / "split", ["sex"])
    assert found.counts["sex"].tolist() == [12, 12]
    assert found.values["sex"].tolist() == [0] * 12 + [1] * 12 + [-1] * 21
    alone = replace(SETTINGS, metadata=MetadataSettings(weight=1, attributes=("birth_decade",)))
    one = Traits.read(tmp_path / "patients", tmp_path / "split", traits_of(alone))
    with pytest.raises(UserError, match=r"attributes: 'birth_decade' has fewer than two values"):
        objective_of(alone, vocabulary_of(SIZE), 0, one)


def test_losses_and_scores_equal_those_of_each_chunk_alone(batch: packing.Batch, traits: Traits) -> None:
    sexes = traits.values["sex"].copy()
    sexes[::5] = -1
    traits = Traits(traits.values | {"sex": sexes}, traits.counts)
    torch.manual_seed(3)
    loss = Metadata(SETTINGS, traits)
    model = PackedEncoder(new_model(config_for(SETTINGS, SIZE, "x"), seed=1), loss).eval()
    part = loss.prepare(batch, ())
    total, asked, right = 0.0, [0, 0], [0, 0]
    for chunk in np.unique(batch.chunks[batch.chunks >= 0]):
        mine = batch.chunks == chunk
        if mine.sum() < FEWEST_TOKENS:
            continue
        tokens, positions = (torch.from_numpy(a[mine])[None] for a in (batch.tokens_RT, batch.positions_RT))
        with torch.no_grad():
            mean = model.hidden(tokens, positions, torch.ones_like(tokens))[0].mean(0)
            for number, name in enumerate(NAMES):
                value = int(traits.values[name][batch.patients_RT[mine][0]])
                if value >= 0:
                    shares = loss.heads[number](mean).log_softmax(0)
                    total -= float(shares[value])
                    asked[number] += 1
                    right[number] += int(shares.argmax()) == value
    assert part.count == sum(asked) > 20
    assert min(asked) < max(asked), "otherwise no value is missing"
    with torch.no_grad():
        assert model(*part.tensors(DEVICE)).item() == pytest.approx(total, rel=1e-5)
        sums = torch.from_numpy(loss.no_sums())
        loss.score(model, sums, *part.tensors(DEVICE))
    assert sums[0].sum().item() == pytest.approx(total, rel=1e-5)
    assert sums[1:].tolist() == [right, asked]
    base = loss.baseline([part], np.zeros(SIZE, np.int64))
    assert base[2].tolist() == asked
    counts = traits.counts["sex"]
    values = part.arrays[-1][:, :, 0]
    assert base[1, 0] == (values == counts.argmax()).sum()
    assert base[0, 0] == pytest.approx(-np.log(counts[values[values >= 0]] / counts.sum()).sum())


def test_the_encoder_reads_nothing_of_the_attributes(batch: packing.Batch, traits: Traits) -> None:
    """Whatever the values are, the encoder is given the same arrays."""
    other = Traits({name: np.zeros_like(values) for name, values in traits.values.items()}, traits.counts)
    one, two = (Metadata(SETTINGS, each).prepare(batch, ()).arrays for each in (traits, other))
    assert all(np.array_equal(a, b) for a, b in zip(one[:-1], two[:-1], strict=True))
    assert not np.array_equal(one[-1], two[-1])


def test_attributes_are_read_only_where_a_loss_needs_them() -> None:
    assert traits_of(test_train.SETTINGS) == ()
    assert traits_of(SETTINGS) == NAMES
    contrast = ContrastiveSettings(weight=1)
    assert traits_of(replace(SETTINGS, contrastive=contrast)) == NAMES
    assert traits_of(replace(test_train.SETTINGS, contrastive=contrast)) == ("sex",)
    assert traits_of(replace(test_train.SETTINGS, contrastive=replace(contrast, like_age=0))) == ()
    off = replace(SETTINGS, metadata=replace(SETTINGS.metadata, weight=0))
    assert traits_of(off) == off.predicted == ()
