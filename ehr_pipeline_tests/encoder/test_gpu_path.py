"""What a GPU is asked to do in an update, counted without one: on the device `meta`, where whatever waits for a result raises."""

import ast
import inspect
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from ehr_pipeline.encoder import loader, optimizer, softmax, train
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.objectives import objective_of, spans
from ehr_pipeline.encoder.objectives.base import Objective, Part
from ehr_pipeline.encoder.objectives.contrastive import Contrastive
from ehr_pipeline.encoder.objectives.masked import Masked
from ehr_pipeline.encoder.objectives.metadata import Metadata
from ehr_pipeline.encoder.objectives.next_visit import NextVisit
from ehr_pipeline.encoder.objectives.weighted import WeightedSum
from ehr_pipeline.encoder.patient_attributes import Traits
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import ContrastiveSettings, EncoderSettings, MetadataSettings
from ehr_pipeline_tests.encoder.data import learnable, vocabulary_of
from ehr_pipeline_tests.encoder.test_softmax import arrays
from ehr_pipeline_tests.encoder.test_softmax import gradients as gradients_of
from ehr_pipeline_tests.encoder.test_train import SETTINGS, job

CPU, META = torch.device("cpu"), torch.device("meta")
SIZE = 45
ROWS = 8
CONTRAST = ContrastiveSettings(weight=0.3, fewest_tokens=3, most_tokens=6)
METADATA = MetadataSettings(weight=0.2, attributes=("sex",))
SEXES = Traits({"sex": np.arange(120, dtype=np.int16) % 3 - 1}, {"sex": np.array([40, 40])})
SUMS: dict[str, dict[str, Any]] = {
    "masked+contrastive": {"contrastive": CONTRAST},
    "masked+metadata": {"metadata": METADATA},
    "next_visit+contrastive+metadata": {"contrastive": CONTRAST, "metadata": METADATA},
}
"""Weighted sums: an objective, and the settings of what is learned beside it."""
COMPARED = {"tokens_per_step": 4 * 16}
"""Four rows are compared, so an update has two parts."""
OBJECTIVES = ["masked", "next_visit", *SUMS]
EACH = pytest.mark.parametrize("objective", OBJECTIVES)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return learnable(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def sequences(data: dict[str, Path]) -> Sequences:
    return Sequences.open(data["dataset"], 16, "year", 514)


def of(objective: str, **changes: Any) -> tuple[EncoderSettings, Objective]:
    main = objective.partition("+")[0]
    settings = replace(SETTINGS, objective=main, **SUMS.get(objective, {}), **(COMPARED | changes))  # type: ignore[arg-type]
    return settings, objective_of(settings, vocabulary_of(SIZE), 0, SEXES)


def updates(sequences: Sequences, objective: Objective, rank: int = 0, processes: int = 1, **plan: Any) -> list[Any]:
    together = objective.together
    made = loader.Plan(16, ROWS, -(-plan.pop("micro_rows", 4) // together) * together, rank, processes, **plan)
    return list(loader.updates(sequences, objective, made, seed=0, epoch=0))


# Shapes.


@EACH
def test_all_parts_of_an_epoch_have_the_same_shapes(sequences: Sequences, objective: str) -> None:
    _, made = of(objective)
    for rank, processes in ((0, 1), (0, 3), (2, 3)):
        found = updates(sequences, made, rank, processes, micro_rows=3, fixed=True)
        shapes = {tuple(array.shape for array in part.arrays) for update in found for part in update.parts}
        assert len(shapes) == 1
    free = updates(sequences, made, micro_rows=3)
    assert len({tuple(array.shape for array in part.arrays) for update in free for part in update.parts}) > 1


@EACH
def test_padding_changes_neither_loss_nor_gradients(sequences: Sequences, objective: str) -> None:
    settings, made = of(objective)
    found = []
    for fixed in (False, True):
        model = PackedEncoder(new_model(config_for(settings, SIZE, "x"), 0), made).train()
        total = torch.zeros(2, dtype=torch.float64)
        for update in updates(sequences, made, micro_rows=3, fixed=fixed)[-2:]:
            total += optimizer.gradients(model, update, CPU, "float32")
        found.append((total, [parameter.grad for parameter in model.parameters()]))
    (total, gradients), (padded_total, padded) = found
    assert total[1] == padded_total[1]
    assert total[0].item() == pytest.approx(padded_total[0].item(), rel=1e-6)
    for one, other in zip(gradients, padded, strict=True):
        assert one is not None
        assert other is not None
        assert torch.allclose(one, other, atol=1e-4)


def test_more_predictions_than_foreseen_fill_a_further_block() -> None:
    objective = Masked(replace(SETTINGS, mask_share=0.15), vocabulary_of(SIZE))
    rows = np.zeros((64, 16), np.int64)
    lengths = []
    for count in (0, 100, 256, 257):
        arrays = (rows, rows, rows, np.arange(count), np.full(count, 7))
        *_, chosen_M, targets_M = objective.padded(Part(arrays, count)).arrays
        assert (targets_M == softmax.NO_TARGET).sum() == len(chosen_M) - count
        lengths.append(len(chosen_M))
    assert lengths == [256, 256, 256, 512]


@pytest.mark.parametrize(("processes", "rows"), [(1, 100), (8, 13)])
def test_parts_of_compiled_code_share_an_update_out_evenly(
    processes: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """128 rows in parts of at most 100: two of 64, and not one of 100 and one of 28."""
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    settings = EncoderSettings(
        tokens_per_step=128 * 256 if processes == 1 else 100 * 256, micro_batch_tokens=rows * 256
    )
    plan = train.plan_for(settings, CPU, fixed=True)
    assert plan.micro_rows == {1: 64, 8: 13}[processes]
    assert train.plan_for(settings, CPU).micro_rows == rows


# The head.


@pytest.mark.parametrize("factor", [1.0, 0.25])
@pytest.mark.parametrize("chunk", [3, 4096])
def test_the_head_in_chunks_is_the_usual_cross_entropy(
    factor: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "CHUNK", chunk)
    monkeypatch.setattr(softmax, "ALIGNED", 2)
    hidden, weight, bias, targets = arrays()
    targets[2] = softmax.NO_TARGET
    ours = softmax._InChunks.apply(hidden, weight, bias, targets, softmax.shares) * factor  # type: ignore[no-untyped-call]
    here = softmax.cross_entropy(hidden, weight, bias, targets) * factor
    usual = (
        F.cross_entropy(F.linear(hidden, weight, bias), targets, reduction="sum", ignore_index=softmax.NO_TARGET)
        * factor
    )
    parts = (hidden, weight, bias, targets)
    expected = gradients_of(usual, parts)
    for loss in (ours, here):
        assert torch.allclose(loss, usual, atol=1e-5)
        for found, one in zip(gradients_of(loss, parts), expected, strict=True):
            assert torch.allclose(found, one, atol=1e-5)


def test_the_head_in_chunks_is_near_in_bfloat16_and_takes_no_token_at_all() -> None:
    parts = arrays(tokens=70)
    exact = softmax.cross_entropy(*parts)
    with torch.autocast("cpu", torch.bfloat16):
        low = softmax._InChunks.apply(*parts, softmax.shares)  # type: ignore[no-untyped-call]
    assert low.item() == pytest.approx(exact.item(), rel=0.02)
    for found, expected in zip(gradients_of(low, parts), gradients_of(exact, parts), strict=True):
        assert (found - expected).norm() < 0.03 * expected.norm()
    none = arrays(tokens=0)
    loss = softmax._InChunks.apply(*none, softmax.shares)  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert all((part == 0).all() for part in gradients_of(loss, none))


# Waiting, and operations.


def on_meta(settings: EncoderSettings, objective: Objective, size: int = SIZE) -> PackedEncoder:
    with torch.device("meta"):
        return PackedEncoder(new_model(config_for(settings, size, "x"), 0), objective).train().to(META)


@EACH
def test_the_host_waits_for_nothing_while_it_computes_gradients(sequences: Sequences, objective: str) -> None:
    settings, made = of(objective, dropout=0.1, attention_dropout=0.1)
    model = on_meta(settings, made)
    update = next(update for update in updates(sequences, made, fixed=True) if len(update.parts) > 1)
    total = optimizer.gradients(model, update, META, "float32")
    assert total.shape == (2,)
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    with pytest.raises(RuntimeError):
        optimizer.step(model, optimizer.optimizer_of(model, settings), total, 0.1, settings)


WAITING = {"item", "cpu", "numpy", "tolist", "nonzero", "synchronize", "tensor", "float", "int", "bool", "unique"}


def waits(function: Callable[..., Any]) -> list[str]:
    """Calls in the text of a function which have the host wait for the device, or copy to it from memory it cannot read."""
    calls = [
        node for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))) if isinstance(node, ast.Call)
    ]
    found = []
    for call in calls:
        if isinstance(call.func, ast.Attribute):
            name, array = call.func.attr, not call.args or ast.unparse(call.func.value) == "torch"
            if name in WAITING and name not in ("float", "bool", "int") and array:
                found.append(ast.unparse(call))
        elif isinstance(call.func, ast.Name) and call.func.id in ("float", "int", "bool"):
            found.append(ast.unparse(call))
    return found


def test_no_call_in_the_loop_over_parts_waits() -> None:
    """`meta` does not notice `torch.tensor(value, device=...)`, which waits on a GPU."""
    functions = (
        *(optimizer.gradients, PackedEncoder.hidden, PackedEncoder._attention, PackedEncoder._heads),
        PackedEncoder.forward,
        *(softmax._InChunks.forward, softmax._InChunks.backward, softmax.shares, softmax.cross_entropy),
        *(Masked.forward, NextVisit.forward, NextVisit._logits),
        *(
            WeightedSum.forward,
            optimizer._divisors,
            Contrastive.forward,
            Contrastive._losses,
            spans.means,
            Metadata.forward,
            Metadata._predicted,
        ),
    )
    assert {function.__qualname__: waits(function) for function in functions if waits(function)} == {}
    assert waits(optimizer.step), "otherwise the test above could not fail: the one place where the host may wait"


class Counting(TorchDispatchMode):
    """Counts operations that launch a kernel, and bytes of arrays (M, V) that are read or written."""

    FREE = ("view", "reshape", "transpose", "t.", "permute", "expand", "slice", "select", "unsqueeze", "squeeze")
    FREE += ("detach", "split", "alias", "empty", "_unsafe_view", "unbind", "as_strided")

    def __init__(self, wide: int):
        super().__init__()
        self.wide, self.launches, self.bytes = wide, 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if not str(function).removeprefix("aten.").startswith(self.FREE):
            self.launches += 1
            arrays = [each for each in torch.utils._pytree.tree_leaves((args, out)) if isinstance(each, torch.Tensor)]
            self.bytes += sum(
                each.numel() * each.element_size() for each in arrays if each.ndim == 2 and each.shape[1] == self.wide
            )
        return out


@contextmanager
def fused() -> Iterator[Callable[..., Any]]:
    """The head's function between products, as one kernel that reads its array twice and writes one of the same size."""
    yield lambda scores, bias, targets: (torch.empty_like(scores[:, 0], dtype=torch.float32), scores.sigmoid())


def test_an_update_has_few_operations_and_passes_over_the_logits_few_times() -> None:
    """The shape of `published`: 128 rows of 256. Launches cost a GPU more than its work where updates are small."""
    settings = EncoderSettings()
    size = 36_063
    objective = Masked(settings, vocabulary_of(100))
    model = on_meta(settings, objective, size)
    rng = np.random.default_rng(0)
    rows = [rng.integers(5, size, (128, 256)), rng.integers(1, 100, (128, 256)), np.ones((128, 256), np.int64)]
    places = np.flatnonzero(rng.random(128 * 256) < settings.mask_share)
    part = objective.padded(Part((*rows, places, rows[0].reshape(-1)[places]), len(places)))
    tokens = len(part.arrays[-1])
    assert tokens < 1.1 * len(places)
    wide = size + -size % softmax.ALIGNED
    assert wide == 36_096
    update = loader.Update((part,), 128 * 256, 128 * 256, 0)
    with Counting(wide) as counted, fused() as shares:
        model.shares = shares
        optimizer.gradients(model, update, META, "float32")
    assert counted.launches <= 320  # 314
    # Products write the logits and read their gradient twice, the bias reads it once, and the kernel between reads and writes.
    assert counted.bytes <= 5.2 * tokens * wide * 4


# Compiled.


@pytest.mark.slow
def test_a_training_is_compiled_into_two_graphs_at_most(sequences: Sequences) -> None:
    """Two epochs with a short last update. No code is made, which would take a minute: dynamo decides about graphs."""
    for objective in OBJECTIVES:
        torch._dynamo.reset()  # else it takes the code of the objective before
        torch._dynamo.utils.counters.clear()
        settings, made = of(objective)
        model = PackedEncoder(new_model(config_for(settings, SIZE, "x"), 0), made).train()
        model.layers = torch.compile(model.hidden, backend="eager", dynamic=None)
        for _ in range(2):
            for update in updates(sequences, made, micro_rows=3, fixed=True):
                optimizer.gradients(model, update, CPU, "float32")
        counters = torch._dynamo.utils.counters
        # One graph for chosen places, and one for all states, which losses beside the objective take the mean of.
        assert counters["stats"]["unique_graphs"] == (2 if objective in SUMS else 1), objective
        assert not counters["graph_break"], objective
    torch._dynamo.utils.counters.clear()
    shares = torch.compile(softmax.shares, backend="eager", dynamic=True, fullgraph=True)
    bias = torch.zeros(64)
    for tokens in (128, 256, 384):
        for found, expected in zip(
            *(
                function(torch.ones(tokens, 64), bias, torch.arange(tokens) % 64)
                for function in (shares, softmax.shares)
            ),
            strict=True,
        ):
            assert torch.allclose(found, expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()


RANK = """
import json, os, sys
import torch
from ehr_pipeline.encoder import loader, model, optimizer, train
from ehr_pipeline.encoder.devices import process_group
from ehr_pipeline.work import jobs
from ehr_pipeline_tests.encoder.test_gpu_path import SIZE, of
from ehr_pipeline_tests.encoder.test_train import job
from ehr_pipeline.encoder.sequences import Sequences

def compile_layers(self):
    self.layers = torch.compile(self.hidden, backend="eager", dynamic=None)

with process_group(1) as device:
    settings, objective = of("masked", tokens_per_step=80)
    sequences = Sequences.open(__import__("pathlib").Path(sys.argv[1]), 16, "year", 514)
    torch.manual_seed(0)
    own = model.PackedEncoder(model.new_model(model.config_for(settings, SIZE, "x"), 0), objective).train()
    compile_layers(own)
    trained = train._shared(own)
    updater = optimizer.optimizer_of(own, settings)
    plan = loader.Plan(16, 5, 2, jobs.rank(), jobs.world_size(), fixed=True)
    losses, parts = [], []
    for update in loader.updates(sequences, objective, plan, seed=0, epoch=0):
        parts.append(len(update.parts))
        done = optimizer.step(own, updater, optimizer.gradients(trained, update, device, "float32"), 0.01, settings)
        losses.append(done.loss / done.targets)
    total = float(sum(parameter.double().sum() for parameter in own.parameters()))
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with open(f"{sys.argv[2]}/{jobs.rank()}", "w") as stream:
        json.dump({"losses": losses, "total": total, "parts": parts, "graphs": graphs}, stream)
"""


@pytest.mark.slow
def test_two_compiled_processes_with_uneven_parts_end_with_the_same_weights(
    data: dict[str, Path], tmp_path: Path
) -> None:
    """Five rows in parts of two: the first process has two parts and the second one, but for the last update."""
    (tmp_path / "rank.py").write_text(RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(tmp_path / "rank.py"), str(data["dataset"]), str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / str(rank)).read_text()) for rank in (0, 1))
    assert first["losses"] == second["losses"]
    assert first["total"] == second["total"]
    assert sum(first["losses"][-4:-1]) < sum(first["losses"][:3])
    assert first["parts"] != second["parts"]
    assert max(first["graphs"], second["graphs"]) <= 2


# A kill between two checkpoints.


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_when_checkpoints_are_made_changes_no_result(seconds: float, data: dict[str, Path], tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_epochs=2, dropout=0.1)
    described = replace(
        job(tmp_path / "run", data, replace(settings, checkpoint_seconds=seconds)), resume=tmp_path / "made"
    )
    train.run(described)
    other = job(tmp_path / "other", data, settings)
    train.run(other)
    one, two = ((each.out / "checkpoint" / "model.safetensors").read_bytes() for each in (described, other))
    assert one == two
    steps = sorted(int(path.name[-9:]) for path in (tmp_path / "made").glob("update-*"))
    ends = [row["updates"] for row in json.loads((other.out / "metrics.json").read_text())["epochs"]]
    assert steps == ([ends[-1] - 1, ends[-1]] if seconds == 0 else ends)
