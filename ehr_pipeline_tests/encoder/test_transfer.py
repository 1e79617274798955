"""An encoder that begins from the checkpoint of another study, whose vocabulary overlaps in part."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ehr_pipeline.encoder import checkpoint, shape_check, train, transfer, vectors_from_names
from ehr_pipeline.encoder.initial_weights import Facts
from ehr_pipeline.encoder.model import config_for, new_model
from ehr_pipeline.encoder.settings import EncoderSettings, TransferSettings
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.store.artifacts import hash_of
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Concept, Vocabulary
from ehr_pipeline_tests.encoder.data import learnable
from ehr_pipeline_tests.encoder.test_train import SETTINGS, job, weights

TOKENS, BIAS = "roberta_prelayernorm.embeddings.word_embeddings.weight", "lm_head.bias"


def vocabulary(*concepts: tuple[str, str], often: int = 1) -> Vocabulary:
    """A vocabulary of (id, name)."""
    found = tuple(
        Concept(FIRST_CONCEPT + n, concept, name, (), often, often) for n, (concept, name) in enumerate(concepts)
    )
    return Vocabulary(found, hash_of([one.concept for one in found]))


def other_study(folder: Path, known: Vocabulary, seed: int = 3) -> Path:
    """A checkpoint with the weights of a seed, and random biases."""
    model = new_model(config_for(SETTINGS, known.size, known.hash), seed)
    with torch.no_grad():
        model.output_bias.copy_(torch.randn(known.size, generator=torch.Generator().manual_seed(seed)))
    checkpoint.save(folder, model, known)
    return folder


def begun_from(source: Path, unknown: str = "names", **changes: object) -> EncoderSettings:
    settings: EncoderSettings = replace(
        SETTINGS, transfer=TransferSettings(checkpoint=str(source), unknown=unknown, **changes)
    )
    return settings


def begun(source: Path, own: Vocabulary, out: Path, unknown: str = "names") -> tuple[dict[str, torch.Tensor], Facts]:
    facts = transfer.begin(source, own, begun_from(source, unknown), out)
    model = checkpoint.load(out, own, torch.device("cpu")).stock
    return {name: parameter.detach() for name, parameter in model.named_parameters()}, facts


THEIRS = vocabulary(("C1", "asthma"), ("C2", "psoriasis"), ("C3", "fracture of wrist"), ("C4", "only there"))


def test_concepts_are_matched_by_their_id_and_nothing_else(tmp_path: Path) -> None:
    source = other_study(tmp_path / "theirs", THEIRS)
    before = checkpoint.load(source, THEIRS, torch.device("cpu")).stock
    own = vocabulary(("C3", "another name"), ("C9", "asthma"), ("C1", "asthma"))
    found, facts = begun(source, own, tmp_path / "own", "mean")
    assert (facts.matched, facts.not_matched, facts.share_of_events) == (2, 1, round(1 / 3, 4))
    for name, parameter in before.named_parameters():
        now = found[name]
        if name not in (TOKENS, BIAS):
            assert torch.equal(now, parameter), name
            continue
        assert torch.equal(now[:FIRST_CONCEPT], parameter[:FIRST_CONCEPT]), "special tokens keep their rows"
        assert torch.equal(now[own.token_of["C3"]], parameter[THEIRS.token_of["C3"]])
        assert torch.equal(now[own.token_of["C1"]], parameter[THEIRS.token_of["C1"]])
        torch.testing.assert_close(now[own.token_of["C9"]], parameter[FIRST_CONCEPT:].mean(0))


@pytest.mark.parametrize("unknown", ["names", "mean"])
def test_the_same_vocabulary_gives_the_same_weights(tmp_path: Path, unknown: str) -> None:
    source = other_study(tmp_path / "theirs", THEIRS)
    found, facts = begun(source, THEIRS, tmp_path / "own", unknown)
    assert facts.share_of_events == 0
    assert (tmp_path / "own/model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    assert found[TOKENS].shape[0] == THEIRS.size


def named(count: int) -> list[tuple[str, str]]:
    """Concepts whose names are of three kinds."""
    kinds = ("asthma of type {}", "fracture of bone {}", "allergy to food {}")
    return [(f"K{n}", kinds[n % 3].format(n)) for n in range(count)]


def test_the_order_of_either_vocabulary_does_not_matter(tmp_path: Path) -> None:
    theirs, unknown = named(30), [("U1", "asthma, unusual"), ("U2", "allergy to food 99"), ("U3", "asthma, unusual")]
    one = other_study(tmp_path / "one", vocabulary(*theirs))
    model = checkpoint.load(one, vocabulary(*theirs), torch.device("cpu")).stock
    turned = vocabulary(*reversed(theirs))
    with torch.no_grad():
        for parameter in (model.token_vectors, model.output_bias):
            parameter[FIRST_CONCEPT:] = parameter[FIRST_CONCEPT:].flip(0)
    model.config = replace(model.config, vocabulary_hash=turned.hash)
    checkpoint.save(tmp_path / "two", model, turned)
    rows = []
    for source, order in ((one, 1), (tmp_path / "two", -1)):
        own = vocabulary(*[*theirs[:10], *unknown][::order])
        found, _ = begun(source, own, tmp_path / f"own {order}")
        rows.append({each.concept: (found[TOKENS][each.token_id], found[BIAS][each.token_id]) for each in own.concepts})
    for concept, (vector, bias) in rows[0].items():
        assert torch.equal(vector, rows[1][concept][0]), concept
        assert torch.equal(bias, rows[1][concept][1]), concept
    assert torch.equal(rows[0]["U1"][0], rows[0]["U3"][0]), "one name, one beginning"


def test_names_put_unknown_concepts_where_those_with_names_alike_are(tmp_path: Path) -> None:
    """Three kinds of concepts have learned three directions; new names of a kind begin in its direction."""
    theirs = vocabulary(*named(90))
    model = new_model(config_for(SETTINGS, theirs.size, theirs.hash), 0)
    directions = torch.eye(SETTINGS.hidden_size)[:3]
    with torch.no_grad():
        noise = 0.1 * torch.randn(90, SETTINGS.hidden_size, generator=torch.Generator().manual_seed(0))
        model.token_vectors[FIRST_CONCEPT:] = directions[torch.arange(90) % 3] + noise
        model.output_bias[FIRST_CONCEPT:] = -(torch.arange(90) % 3).float()
    checkpoint.save(tmp_path / "theirs", model, theirs)
    own = vocabulary(*named(9), ("U0", "severe asthma"), ("U1", "fracture of a bone"), ("U2", "allergy to a food"))
    found, facts = begun(tmp_path / "theirs", own, tmp_path / "own")
    assert facts.explained_by_names > 0.7
    for kind in range(3):
        token = own.token_of[f"U{kind}"]
        assert int((directions @ found[TOKENS][token]).argmax()) == kind
    biases = [float(found[BIAS][own.token_of[f"U{kind}"]]) for kind in range(3)]
    assert biases[0] > biases[1] > biases[2]


def test_names_that_tell_nothing_begin_near_the_mean() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 8))
    words = [" ".join(rng.permutation(["alpha", "beta", "gamma", "delta", str(n)])) for n in range(230)]
    found = vectors_from_names.predict(words[:200], rows, words[200:])
    assert found.explained < 0.05
    assert np.abs(found.rows - rows.mean(0)).max() < 0.3, "rows themselves differ by about 1"
    few = vectors_from_names.predict(words[:5], rows[:5], words[5:7])
    assert few.explained == 0
    assert np.array_equal(few.rows, np.tile(rows[:5].mean(0), (2, 1)))


def test_vectors_of_names_put_real_synonyms_together() -> None:
    """Names that the UMLS has for one concept, beside those of others."""
    pairs = (
        ("Psoriasis vulgaris", "Plaque psoriasis (psoriasis vulgaris)"),
        ("Essential hypertension", "Hypertension, essential"),
        ("Diabetes mellitus type 2", "Type 2 diabetes mellitus"),
        ("Atopic dermatitis", "Dermatitis, atopic"),
        ("Malignant melanoma of skin", "Melanoma, malignant, of skin"),
        ("Fracture of distal radius", "Distal radius fracture"),
    )
    found = vectors_from_names.vectors([name for pair in pairs for name in pair])
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    alike = found @ found.T
    np.fill_diagonal(alike, -1)
    assert alike.argmax(1).tolist() == [n + 1 - 2 * (n % 2) for n in range(len(found))]


def test_the_objective_may_be_any_that_trains_the_same_model_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = other_study(tmp_path / "theirs", THEIRS)
    settings = replace(begun_from(source), objective="next_visit")
    with pytest.raises(InputError, match=r'Set encoder\.objective = "masked"'):
        shape_check.look(source, settings)
    monkeypatch.setattr("ehr_pipeline.encoder.configuration.CAUSAL_OBJECTIVES", ())
    assert shape_check.look(source, settings)["model_type"] == "roberta-prelayernorm"


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    source, own = other_study(tmp_path / "theirs", THEIRS), vocabulary(("S7", "asthma"))
    with pytest.raises(
        InputError, match=r"no concept of this study is in the vocabulary.*such as C1 there and S7 here"
    ):
        begun(source, own, tmp_path / "own")
    other = replace(begun_from(source), hidden_size=64, age_unit="quarter", context=32, objective="next_visit")
    with pytest.raises(InputError) as told:
        shape_check.look(source, other)
    wanted = ("encoder.hidden_size = 32", 'encoder.age_unit = "year"', "encoder.context = 16", 'objective = "masked"')
    assert all(text in str(told.value) for text in wanted)
    assert "encoder.layers" not in str(told.value)
    (source / "SHA256SUMS").unlink()
    with pytest.raises(InputError, match="has no SHA256SUMS"):
        shape_check.look(source, begun_from(source))
    with pytest.raises(InputError, match=r"has no config\.json"):
        shape_check.look(tmp_path / "absent", begun_from(source))
    changed = other_study(tmp_path / "changed", THEIRS)
    other_study(tmp_path / "more", THEIRS, seed=4)
    (changed / "model.safetensors").write_bytes((tmp_path / "more/model.safetensors").read_bytes())
    with pytest.raises(UserError, match="not as it was written"):
        begun(changed, THEIRS, tmp_path / "own")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return learnable(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def elsewhere(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = job(tmp_path_factory.mktemp("trained"), data)
    train.run(own)
    return own.out / "checkpoint"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Another study with the same structure: half of its concepts have other ids, and all have other token ids."""
    found = learnable(tmp_path_factory.mktemp("here"), seed=1)
    folder = found["vocabulary"]
    ids = [f"C{token}" if token % 2 else f"H{token}" for token in range(FIRST_CONCEPT, FIRST_CONCEPT + 40)]
    lines = [f"{FIRST_CONCEPT + n},{one},concept {FIRST_CONCEPT + n},T047,false,1,1,1" for n, one in enumerate(ids)]
    head = "token_id,concept,name,semantic_types,untyped,events,appearances,patients"
    (folder / "vocabulary.csv").write_text("\n".join([head, *lines]) + "\n")
    (folder / "hash.txt").write_text(hash_of(ids) + "\n")
    return found


def used(folder: Path, here: dict[str, Path], elsewhere: Path, **changes: object) -> Path:
    """The folder of a training that begins from the encoder from elsewhere."""
    settings = replace(begun_from(elsewhere, **changes), max_epochs=2)
    own = job(folder, here, settings)
    transfer.begin(elsewhere, Vocabulary.read(here["vocabulary"]), settings, folder / "begun")
    train.run(replace(own, start=folder / "begun"))
    return own.out


def test_direct_use_trains_nothing(here: dict[str, Path], elsewhere: Path, tmp_path: Path) -> None:
    out = used(tmp_path, here, elsewhere, use="direct")
    metrics = json.loads((out / "metrics.json").read_text())
    (row,) = metrics["epochs"]
    assert (row["epoch"], row["updates"], row["training_loss"]) == (0, 0, None)
    assert metrics["best"] == row
    assert metrics["transfer"]["share_of_events"] == 0.5
    begun = dict(weights_in(tmp_path / "begun"))
    assert all(torch.equal(one, begun[name]) for name, one in weights(out).items())
    card = (out / "checkpoint/README.md").read_text()
    assert "Nothing was trained here: this is the encoder of another study, which knew 20 of these concepts" in card
    assert "50.0% of this study's events" in card
    assert "| training |" not in card
    assert "Learning curves" not in card
    assert str(elsewhere) not in card, "a path is nobody's business"


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_tuning_goes_on_leaves_frozen_layers_and_is_repeatable(
    here: dict[str, Path], elsewhere: Path, tmp_path: Path
) -> None:
    outs = [used(tmp_path / name, here, elsewhere, frozen_layers=1) for name in ("one", "two")]
    assert all(torch.equal(one, weights(outs[1])[name]) for name, one in weights(outs[0]).items())
    begun, now = weights_in(tmp_path / "one/begun"), weights(outs[0])
    for name in now:
        if name.startswith("roberta_prelayernorm.encoder.layer.0."):
            assert torch.equal(now[name], begun[name]), name
    assert not torch.equal(now[TOKENS], begun[TOKENS])
    free = weights(used(tmp_path / "free", here, elsewhere))
    assert not any(
        torch.equal(free[n], begun[n]) for n in free if n.startswith("roberta_prelayernorm.encoder.layer.0.")
    )
    tuned, direct = (
        json.loads((out / "metrics.json").read_text())
        for out in (outs[0], used(tmp_path / "direct", here, elsewhere, use="direct"))
    )
    assert tuned["best"]["validation_loss"] < direct["best"]["validation_loss"]
    card = (outs[0] / "checkpoint/README.md").read_text()
    assert "The training began from the encoder of another study, which knew 20 of these concepts" in card
    assert "`transfer.frozen_layers` | `1`" in card


def test_facts_are_written_and_read(tmp_path: Path) -> None:
    facts = Facts("tuned", "names", 3, 1, 0.25, 0.5)
    facts.write(tmp_path)
    read = Facts.of(tmp_path)
    assert read is not None
    assert asdict(read) == asdict(facts)
    assert Facts.of(tmp_path / "none") is None
