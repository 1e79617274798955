"""Fine-tuning: gradients and starts against plain references, what is frozen, what is learned, and that nothing leaks into it."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file
from scipy.optimize import minimize
from torch import nn

from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.errors import UserError
from ehr_pipeline.patients.histories import ALWAYS, cut
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.predictions import heads, tuning, tuning_files, tuning_inputs
from ehr_pipeline.predictions.answers_job import mean_vectors
from ehr_pipeline.predictions.compare import as_written
from ehr_pipeline.predictions.fitted import Fitted
from ehr_pipeline.predictions.heads import Start, Tuned, fitted_start, freeze, parts
from ehr_pipeline.predictions.learners import Sample
from ehr_pipeline.predictions.query_at_mask import laid
from ehr_pipeline.predictions.rows import FIT, JUDGE
from ehr_pipeline.predictions.settings import FineTuning, PredictionsSettings
from ehr_pipeline.predictions.table import TaskResults
from ehr_pipeline.predictions.tuned_weights import TunedModel
from ehr_pipeline.vocabulary.table import MASK, Vocabulary
from ehr_pipeline_tests.encoder.stock_class import stock_of
from ehr_pipeline_tests.patients.test_histories import Record, shard_of
from ehr_pipeline_tests.predictions.data import Planted
from ehr_pipeline_tests.predictions.test_build import rows_of

SETTINGS = EncoderSettings(hidden_size=16, layers=2, heads=2, feed_forward=32, dropout=0.0, attention_dropout=0.0)
HOW = Inference(context=6, age_unit="year", max_positions=514, batch_tokens=12, precision="float32")
RECORDS: list[Record] = [
    [(-5_000, [5, 6]), (-2_000, [7]), (0, [8, 9, 10]), (3_000, [11])],
    [],
    [(-100, [12])],
]
OUTCOME, DAY = np.array([8, 9]), np.full(3, 4_000)
LABEL = torch.tensor([1.0, 0.0, 1.0])
ALL = ("classifier", "sum", "mask")
FEW = PredictionsSettings(models=("masked", "vectors"), labels=(10, 50), bootstrap=200)


def encoder() -> PackedEncoder:
    return PackedEncoder(new_model(config_for(SETTINGS, 20, "x"), seed=3)).eval()


def sequences(head: str) -> Any:
    return laid([shard_of(RECORDS)], [DAY], HOW, mask=head != "sum")


def tuned_of(head: str, *, stops: bool = False) -> Tuned:
    found = Tuned(encoder(), head, OUTCOME, stops=stops, precision="float32")
    weight = np.random.default_rng(1).normal(size=16) if head == "classifier" else np.zeros(0)
    found.begin(Start(weight, 0.3 if head != "classifier" else 0.0, -0.2))
    return found


def by_hand(stock: nn.Module, head: str, weight: torch.Tensor) -> torch.Tensor:
    """The log-odds of the three records by the stock class, one record at a time."""
    lines = [  # the last five tokens and the mask, at ages in years; birthdays differ by a day
        ([7, 8, 9, 10, 11, MASK], [49, 54, 54, 54, 62, 65]),
        ([MASK], [65]),
        ([12, MASK], [54, 65]),
    ]
    found = []
    for tokens, ages in lines:
        shown = slice(0, max(len(tokens) - 1, 1)) if head == "sum" else slice(None)
        ids, places = torch.tensor([tokens[shown]]), torch.tensor([ages[shown]])
        states = stock.roberta_prelayernorm(input_ids=ids, position_ids=places + 1).last_hidden_state[0]  # type: ignore[operator]
        if head == "classifier":
            found.append(states[-1] @ weight - 0.2)
            continue
        logits = stock.lm_head(states.mean(0) if head == "sum" else states[-1])  # type: ignore[operator]
        share = torch.softmax(logits.double(), 0)[torch.from_numpy(OUTCOME)].sum()
        found.append((np.exp(0.3) * torch.log(share / (1 - share)) - 0.2).float())
    return torch.stack(found)


@pytest.mark.parametrize("head", ALL)
def test_log_odds_and_gradients_are_those_of_the_stock_class(head: str) -> None:
    own = tuned_of(head)
    stock = stock_of(own.encoder)
    odds, loss = torch.zeros(3), torch.zeros(())
    for part in parts(sequences(head), np.arange(3), HOW, torch.device("cpu")):
        these = own(part)
        odds[part.rows] = these.detach()
        loss = loss + nn.functional.binary_cross_entropy_with_logits(these, LABEL[part.rows], reduction="sum")
    loss.backward()  # type: ignore[no-untyped-call]
    expected = by_hand(stock, head, own.weight.detach())
    nn.functional.binary_cross_entropy_with_logits(expected, LABEL, reduction="sum").backward()  # type: ignore[no-untyped-call]
    assert torch.allclose(odds, expected.detach(), atol=1e-4)
    others, compared = dict(stock.named_parameters()), 0
    for name, parameter in own.encoder.stock.named_parameters():
        if parameter.grad is not None and others[name].grad is not None:
            assert torch.allclose(parameter.grad, others[name].grad, atol=1e-4), name  # type: ignore[arg-type]
            compared += bool(parameter.grad.abs().max() > 1e-4)
    assert compared > 20


def test_an_end_of_a_treatment_is_spoken_against() -> None:
    for head in ("sum", "mask"):
        plain, against = (
            tuned_of(head, stops=stops).odds(sequences(head), np.arange(3), HOW) for stops in (False, True)
        )
        assert np.allclose(plain + 0.2, -(against + 0.2), atol=1e-6)


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("head", ALL)
def test_frozen_layers_stay_bit_by_bit_and_others_do_not(head: str, layers: int) -> None:
    own = tuned_of(head)
    freeze(own.encoder, layers)
    before = {name: each.detach().clone() for name, each in own.named_parameters()}
    updater = torch.optim.Adam(own.trained(), lr=1e-2)
    for part in parts(sequences(head), np.arange(3), HOW, torch.device("cpu")):
        nn.functional.binary_cross_entropy_with_logits(own(part), LABEL[part.rows]).backward()  # type: ignore[no-untyped-call]
    updater.step()
    same = {name for name, each in own.named_parameters() if torch.equal(each, before[name])}
    base = "encoder.stock.roberta_prelayernorm."
    assert {f"{base}encoder.layer.{number}.output.dense.weight" in same for number in range(layers)} <= {True}
    assert not {f"{base}encoder.layer.{number}.output.dense.weight" in same for number in range(layers, 2)} & {True}
    assert (f"{base}embeddings.word_embeddings.weight" in same) == (layers > 0)
    assert (f"{base}LayerNorm.weight" in same) == (layers == 2)
    assert "shift" not in same


def test_more_frozen_layers_than_there_are_is_an_error() -> None:
    with pytest.raises(UserError, match="frozen_layers is 3, but the encoder has 2 layers"):
        freeze(encoder(), 3)


def test_a_start_keeps_the_order_of_the_encoder_whatever_the_labels_say() -> None:
    rng = np.random.default_rng(0)
    odds, weight = rng.normal(-4, 2, 300), rng.uniform(0.5, 2, 300)
    label = rng.random(300) < 1 / (1 + np.exp(-(0.6 * odds + 1)))
    found = fitted_start(odds, label, weight)

    def loss(tried: np.ndarray) -> float:
        fitted = np.exp(tried[0]) * odds + tried[1]
        return float(weight @ np.logaddexp(0, np.where(label, -fitted, fitted)) + tried[0] ** 2 / 2)

    expected = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).x
    assert (found.log_scale, found.shift) == pytest.approx(tuple(expected), abs=1e-4)
    against = fitted_start(odds[:10], odds[:10] < np.median(odds[:10]), weight[:10])
    assert np.isfinite(against.log_scale), (
        "labels that speak against the encoder shrink its log-odds, and do not turn them"
    )


def test_nothing_after_the_cut_reaches_a_head() -> None:
    everybody = np.arange(3)
    histories = cut(shard_of(RECORDS), everybody, np.full(3, ALWAYS), np.full(3, -1))
    without = shard_of([[visit for visit in record if visit[0] < 0] for record in RECORDS])
    for head in ALL:
        own = tuned_of(head)
        found, expected, whole = (
            own.odds(laid([shard], [np.full(3, 100)], HOW, mask=head != "sum"), everybody, HOW)
            for shard in (histories, without, shard_of(RECORDS))
        )
        assert np.array_equal(found, expected)
        assert not np.allclose(found[0], whole[0], atol=1e-4)


def test_the_rate_rises_over_a_tenth_and_falls_to_nothing() -> None:
    rates = [tuning.rate(step, 40) for step in range(41)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[-2:] == pytest.approx([1 / 36, 0.0])
    assert tuning.rate(0, 1) == 1.0


def test_patients_are_held_back_whole() -> None:
    rng = np.random.default_rng(0)
    rows: Any = type("Rows", (), {"patient": np.repeat(np.arange(400), 2).astype(np.uint64)})
    label = rng.random(800) < 0.5
    sample = Sample(np.arange(0, 800), label, np.ones(800), 0.5)
    kept = tuning_inputs.training_rows(rows, sample, 0)
    assert kept is not None
    assert kept.mean() == pytest.approx(0.8)
    assert np.array_equal(kept[::2], kept[1::2])
    assert tuning_inputs.training_rows(rows, sample.take(np.arange(150)), 0) is None


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"))


def tuning_with(**changes: Any) -> PredictionsSettings:
    return replace(FEW, fine_tuning=FineTuning(**{"heads": ALL, **changes}))


def auroc(results: TaskResults, model: str, labels: int | None = None) -> float:
    return float(np.mean([row["auroc"] for row in results.of("risky", model, labels)]))


@pytest.fixture(scope="module")
def at_start(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> TaskResults:
    return planted.results(tmp_path_factory.mktemp("start") / "out", tuning_with(epochs=0))


def test_without_an_epoch_each_head_is_its_start(at_start: TaskResults) -> None:
    """The classifier is the logistic regression on the vectors, in every figure; the order at the mask is that without labels."""
    compared = 0
    for labels in (10, 50, None):
        probes, own = (at_start.of("risky", model, labels) for model in ("vectors", "tuned_classifier"))
        for probe, row in zip(probes, own, strict=True):
            figures = ("auroc", "brier", "slope", "intercept", "brier_after")
            assert [row[name] for name in figures] == pytest.approx([probe[name] for name in figures], abs=1e-4)
            compared += 1
        zero = auroc(at_start, "masked", 0)
        assert all(row["auroc"] == pytest.approx(zero, abs=1e-4) for row in at_start.of("risky", "tuned_mask", labels))
    assert compared == 11
    assert auroc(at_start, "tuned_sum") != pytest.approx(auroc(at_start, "masked", 0), abs=1e-4)


@pytest.mark.slow
def test_what_is_planted_is_learned(planted: Planted, at_start: TaskResults, tmp_path: Path) -> None:
    """The encoder has new weights, so at the mask it knows nothing of the risk until it is trained."""
    made = planted.results(tmp_path / "out", tuning_with(epochs=8, learning_rate=5e-3))
    before, after = ({head: auroc(results, f"tuned_{head}") for head in ALL} for results in (at_start, made))
    assert before["mask"] < 0.55
    assert after["mask"] > 0.7
    assert after["sum"] > before["sum"] + 0.05
    assert after["classifier"] >= before["classifier"] - 0.01, (
        "the start was good already, which a part of the labels tells"
    )
    nothing = [row for row in made.results if row["task"] == "null" and row["model"].startswith("tuned")]
    final = [row for row in nothing if row["labels"] is None]
    assert len(final) == len(ALL)
    assert all(row["auroc_low"] < 0.53 and row["auroc_high"] > 0.47 for row in final)
    assert all(row["passed"] is True for row in made.guards)
    assert all(row["model"] != "tuned_mask" or row["verdict"] for row in made.differences)


def test_the_same_seed_gives_the_same_figures_whatever_stands_beside(planted: Planted, tmp_path: Path) -> None:
    both = planted.results(tmp_path / "both", tuning_with(heads=("classifier", "mask"), epochs=1))
    one = planted.results(tmp_path / "one", replace(tuning_with(heads=("mask",), epochs=1), models=("masked",)))

    def of_mask(results: TaskResults) -> list[Any]:
        return [row for row in results.results if row["model"] == "tuned_mask"]

    assert of_mask(both) == of_mask(one)
    assert of_mask(one)


def test_labels_of_the_test_side_are_not_read(planted: Planted, tmp_path: Path) -> None:
    """With the labels of everybody else turned round, the answers stay the same."""
    (tmp_path / "work").mkdir()
    found = []
    for turned in (False, True):
        job, task, vectors = laid_out(planted, tmp_path / f"work{turned}", turned=turned)
        tuning_inputs.write(job.work, task, vectors, tuning_with(epochs=1), 0)
        tuning.run(job)
        told = tuning_inputs.answers(job.work, "risky")
        found.append([told(f"tuned_{head}", 50, 0) for head in ALL])
    assert np.array_equal(found[0], found[1], equal_nan=True)
    fitted = task.rows.on(FIT)
    assert np.isnan(found[0][0][fitted]).all()
    assert np.isfinite(np.delete(found[0][0], fitted)).all()


@pytest.mark.parametrize("head", ALL)
def test_kept_weights_give_new_histories_the_log_odds_of_the_page(
    planted: Planted, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where layers are frozen: only what changed is kept."""
    monkeypatch.setattr(tuning_files, "FEWEST_TO_CHOOSE", 1_000_000)  # else the best number of epochs may be none
    frozen = {"classifier": 0, "sum": 1, "mask": 0}[head]
    kept = replace(
        tuning_with(heads=(head,), epochs=1, learning_rate=1e-2, frozen_layers=frozen), models=("counts",), labels=(10,)
    )
    made = planted.results(tmp_path / "out", kept)
    (verdict,) = (row for row in made.verdicts if row["task"] == "risky")
    assert verdict["model"] == f"tuned_{head}"
    own = Fitted.read(tmp_path / "out", "risky")
    assert own.applies(verdict["model"])
    rows = rows_of(planted)
    judged = rows.take(rows.on(JUDGE))
    paths = sorted((planted.folder / "dataset/patients").glob("*.arrow"))
    how = Inference(32, "year", 514, 4096, "float32")
    model = checkpoint.load(
        planted.folder / "encoder/checkpoint", Vocabulary.read(planted.folder / "vocabulary"), torch.device("cpu")
    )
    applied = TunedModel.read(own.tuned[verdict["model"]], deepcopy(model), head, own.facts.tokens, stops=False)
    assert applied.reads_vectors == (head == "classifier")
    found = []
    for number, path in enumerate(paths):
        mine = judged.take(judged.shard == number)
        histories = cut(Shard.read(path), mine.row, mine.first, mine.last)
        vectors = mean_vectors(model, histories, how) if applied.reads_vectors else np.zeros((len(mine), 0), np.float32)
        found.append(applied.log_odds(histories, mine.query_day, (how, 0), vectors))
    told = pq.read_table(tmp_path / "out/predictions/risky" / f"tuned_{head}.parquet")
    expected = told.column("predicted_boolean_probability").to_numpy()
    assert np.allclose(as_written(np.concatenate(found)), expected, atol=1e-6)
    assert len(np.unique(expected)) > 50
    names = load_file(own.tuned[verdict["model"]]).keys()
    assert ("encoder.stock.roberta_prelayernorm.embeddings.word_embeddings.weight" in names) == (frozen == 0)


def test_weights_are_not_kept_if_the_settings_say_so(planted: Planted, tmp_path: Path) -> None:
    few = replace(tuning_with(heads=("mask",), epochs=0, keep_weights=False), models=("counts",), labels=())
    planted.results(tmp_path / "out", few)
    assert not list((tmp_path / "out").rglob("tuned_*.safetensors"))
    assert not Fitted.read(tmp_path / "out", "risky").applies("tuned_mask")


def laid_out(
    planted: Planted, work: Path, *, turned: bool
) -> tuple[tuning.TuningJob, tuning_inputs.TuningTask, np.ndarray]:
    rows = rows_of(planted)
    if turned:
        rows = replace(rows, label=np.where(rows.side == FIT, rows.label, ~rows.label))
    vectors = np.random.default_rng(0).normal(size=(len(rows), 32)).astype(np.float32)
    job = tuning.TuningJob(
        checkpoint=planted.folder / "encoder/checkpoint",
        vocabulary=planted.folder / "vocabulary",
        dataset=planted.folder / "dataset/patients",
        work=work,
        settings=Inference(32, "year", 514, 4096, "float32"),
        tokens_before=0,
        fine_tuning=FineTuning(heads=ALL, epochs=1),
        seed=0,
        threads=1,
    )
    return job, tuning_inputs.TuningTask("risky", rows, np.array([6]), False), vectors


def test_any_number_of_processes_gives_the_same_answers(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for processes in (1, 3):
        job, task, vectors = laid_out(planted, tmp_path / str(processes), turned=False)
        tuning_inputs.write(job.work, task, vectors, replace(tuning_with(), labels=(10,)), 0)
        monkeypatch.setattr(tuning.jobs, "world_size", lambda processes=processes: processes)
        monkeypatch.setattr(tuning, "process_group", lambda threads, needs_gpu: _alone())
        for rank in range(processes):
            monkeypatch.setattr(tuning.jobs, "rank", lambda rank=rank: rank)
            tuning.run(job)
        answers = sorted((job.work / tuning_files.FOLDER / "risky").glob("*.npy"))
        found.append({path.name: np.load(path) for path in answers})
    assert len(found[0]) == 3 * 6
    assert found[0].keys() == found[1].keys()
    assert all(np.array_equal(found[0][name], found[1][name], equal_nan=True) for name in found[0])


def _alone() -> Any:
    from contextlib import nullcontext

    torch.set_num_threads(1)
    return nullcontext(torch.device("cpu"))


def test_a_death_has_only_a_classifier(planted: Planted, tmp_path: Path) -> None:
    job, task, vectors = laid_out(planted, tmp_path, turned=False)
    tuning_inputs.write(job.work, replace(task, tokens=np.zeros(0, np.int64)), vectors, tuning_with(), 0)
    assert [each.heads for each in tuning_files.Task.all(job.work)] == [("classifier",)]


def test_a_loss_that_is_not_finite_ends_it(planted: Planted, tmp_path: Path) -> None:
    job, task, vectors = laid_out(planted, tmp_path, turned=False)
    tuning_inputs.write(job.work, task, vectors, replace(tuning_with(heads=("mask",)), labels=(50,)), 0)
    wild = replace(job, fine_tuning=FineTuning(heads=("mask",), learning_rate=1e30, epochs=3))
    with pytest.raises(UserError, match=r"predictions\.fine_tuning\.learning_rate"):
        tuning.run(wild)


def test_heads_are_read_once() -> None:
    assert heads.mean_states(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]), 2).tolist() == [[2.0], [5.0]]
