"""How fast is training on a GPU? Stands alone: torch, transformers, numpy, pyarrow and triton are enough, and a checkout.

`check`: loss and gradients of one update beside float32 on the CPU, in float32 and bfloat16, compiled and not. `speed`: updates of
several sizes with the loader that training uses, timed only when nothing is compiled any more. `head`: the loss of the vocabulary
head alone, in several ways. `rest`: a checkpoint, and an evaluation. Real tokens count, padding does not.

Each measurement (a cell) runs in a process of its own with a limit of wall time, so that one that hangs or compiles for long costs
only itself. Its row is printed, added to --rows and written to RESULTS.md at once: what was measured before an interruption stays.

Without CUDA the same code runs with a tiny model on the CPU and says so, here and in RESULTS.md: its figures mean nothing.

Usage: PYTHONPATH=. python benchmarks/gpu_training.py [--only check speed] [--presets published] [--objectives masked next_visit]
    [--slots 32768 131072] [--seconds 5] [--limit 120] [--rows build/gpu_training.jsonl] [--peak 989e12]
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import results
import token_data
import torch

from ehr_pipeline.encoder import evaluate, loader, optimizer, softmax
from ehr_pipeline.encoder.devices import autocast, compiles, name_of
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.objectives import objective_of
from ehr_pipeline.encoder.objectives.base import Objective
from ehr_pipeline.encoder.resume import Checkpoints, Position
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.encoder.stopping import Flatness
from ehr_pipeline.encoder.train import plan_for

EPOCHS, TOKENS_PER_EPOCH = 18, 2.4e9
PEAK = 989e12  # bf16 without sparsity, H100 and H200 (NVIDIA's data sheet)
TINY: dict[str, Any] = {"hidden_size": 32, "layers": 2, "heads": 2, "feed_forward": 64}
CONCEPTS = {"cuda": 36_058, "cpu": 300}
CPU = torch.device("cpu")
HEADERS = {
    "check": ("", "loss", "gradient, relative", "seconds", ""),
    "speed": (
        *(
            "",
            "slots",
            "compiled",
            "real tokens/s",
            "slowest second",
            "share of peak",
            "ms an update",
            "of it launching",
        ),
        *("waiting for the loader", "GB", "graphs", "seconds to warm up"),
    ),
    "head": ("way", "tokens", "ms, with gradients", "GB"),
    "rest": ("", "seconds"),
}
TITLES = {
    "check": "Beside float32 on the CPU:",
    "speed": "Updates of several sizes:",
    "head": "The loss of the vocabulary head alone, bfloat16:",
    "rest": "What a training does beside updates, preset `published`:",
}
Cell = dict[str, Any]


def device_here() -> torch.device:
    """The first GPU, or the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else CPU


def settings_of(cell: Cell) -> EncoderSettings:
    """The settings of a cell: a preset with an objective, or a tiny model where there is no GPU."""
    values = EncoderSettings.PRESETS[cell["preset"]] | {key: cell[key] for key in ("preset", "objective", "precision")}
    settings = EncoderSettings(**values | {"tokens_per_step": cell["slots"]})
    return settings if torch.cuda.is_available() else replace(settings, **TINY)


def flops_per_token(settings: EncoderSettings, vocabulary: int) -> float:
    """Operations that a token needs, backwards included; the last layer needs them in full for chosen tokens only."""
    d, share = settings.hidden_size, settings.mask_share
    layers = settings.layers - 1 + share
    own, shared = 2 * d * d + 2 * d * settings.feed_forward, 2 * d * d
    matrices = own * layers + shared * settings.layers + share * (d * d + d * vocabulary)
    return 6 * matrices + 12 * d * settings.context * layers


class Bench:
    """What a cell needs: data, objective, models."""

    def __init__(self, cell: Cell, data: dict[str, Path]):
        self.cell, self.data, self.device = cell, data, device_here()
        self.settings, self.size = settings_of(cell), CONCEPTS[self.device.type] + 5
        vocabulary = token_data.masked(self.settings, self.size).vocabulary
        self.objective: Objective = objective_of(self.settings, vocabulary, 0)

    def model(self, device: torch.device, compiled: bool) -> PackedEncoder:
        """A new model on a device, from seed 0."""
        stock = new_model(config_for(self.settings, self.size, "benchmark"), 0)
        model = PackedEncoder(stock, self.objective).to(device).train()
        if compiled:
            if not compiles(device, "on"):
                raise SystemExit("nothing can be compiled here")
            model.compile_layers()
        return model

    def updates(self, device: torch.device, compiled: bool) -> Iterator[loader.Update]:
        """Updates, epoch after epoch, divided as a training divides them."""
        sequences = token_data.opened(self.data, self.settings, "train")
        plan = plan_for(self.settings, device, fixed=compiled)
        for epoch in itertools.count():
            yield from loader.updates(sequences, self.objective, plan, seed=0, epoch=epoch)


def check(bench: Bench) -> list[str]:
    """Loss and gradients of one update on the device beside those of float32 on the CPU, without dropout."""
    cell = bench.cell
    bench.settings = replace(bench.settings, dropout=0.0, attention_dropout=0.0)

    def computed(device: torch.device, precision: str, compiled: bool) -> tuple[float, torch.Tensor, float]:
        model, update = bench.model(device, compiled), next(bench.updates(device, compiled))
        began = time.perf_counter()
        loss, count = optimizer.gradients(model, update, device, precision).tolist()
        flat = torch.cat([p.grad.flatten().float().cpu() for p in model.parameters() if p.grad is not None])
        return loss / count, flat / count, time.perf_counter() - began

    true_loss, true_gradient, _ = computed(CPU, "float32", False)
    loss, gradient, took = computed(bench.device, cell["precision"], cell["compiled"])
    away = float((gradient - true_gradient).norm() / true_gradient.norm())
    limits = (1e-3, 1e-2) if cell["precision"] == "float32" else (2e-2, 5e-2)
    agrees = abs(loss - true_loss) < limits[0] and away < limits[1]
    name = f"{cell['objective']}, {cell['precision']}{', compiled' if cell['compiled'] else ''}"
    return [name, f"{loss - true_loss:+.1e}", f"{away:.1e}", f"{took:.1f}", "agrees" if agrees else "DIFFERS"]


def graphs() -> int:
    """Graphs that were compiled so far in this process."""
    if "torch._dynamo" not in sys.modules:
        return 0
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gigabytes(device: torch.device) -> str:
    """The largest memory that tensors on a GPU took."""
    return f"{torch.cuda.max_memory_allocated(device) / 1e9:.2f}" if device.type == "cuda" else "-"


def speed(bench: Bench) -> list[str]:
    """Real tokens a second: the median and the least of windows of a second, after two updates without a new graph."""
    cell, device, settings = bench.cell, bench.device, bench.settings
    model, updates = bench.model(device, cell["compiled"]), bench.updates(device, cell["compiled"])
    updater = optimizer.optimizer_of(model, settings)
    launching = waiting = 0.0

    def one() -> int:
        nonlocal launching, waiting
        times = [time.perf_counter()]
        update = next(updates)
        times.append(time.perf_counter())
        total = optimizer.gradients(model, update, device, cell["precision"])
        times.append(time.perf_counter())
        if not optimizer.step(model, updater, total, 1e-4, settings).finite:
            raise SystemExit("the loss is not finite")
        waiting, launching = waiting + times[1] - times[0], launching + times[2] - times[1]
        return update.real_tokens

    began, quiet = time.perf_counter(), 0
    while quiet < 3:
        before = graphs()
        one()
        quiet = 0 if graphs() > before else quiet + 1
    synchronize(device)
    warm, before, launching, waiting = time.perf_counter() - began, graphs(), 0.0, 0.0
    rates, done, begun = [], 0, time.perf_counter()
    while time.perf_counter() - begun < cell["seconds"]:
        window, tokens = time.perf_counter(), 0
        while time.perf_counter() - window < min(1.0, cell["seconds"]):
            tokens, done = tokens + one(), done + 1
        synchronize(device)
        rates.append(tokens / (time.perf_counter() - window))
    took, rate = time.perf_counter() - begun, sorted(rates)[len(rates) // 2]
    if graphs() > before:
        raise SystemExit("something was compiled while it was timed")
    masked = settings.objective == "masked"
    share = f"{rate * flops_per_token(settings, bench.size) / cell['peak']:.1%}" if masked else "-"
    return [
        f"{cell['preset']}, {cell['objective']}",
        f"{cell['slots']:,}",
        "yes" if cell["compiled"] else "no",
        f"{rate:,.0f}",
        f"{min(rates):,.0f}",
        share,
        f"{1000 * took / done:.2f}",
        f"{launching / took:.0%}",
        f"{waiting / took:.0%}",
        gigabytes(device),
        str(graphs()),
        f"{warm:.0f}",
    ]


def head(bench: Bench) -> list[str]:
    """Milliseconds of the head's loss and its gradients, for the tokens that an update chooses."""
    cell, device, width = bench.cell, bench.device, bench.settings.hidden_size
    tokens = -(-int(bench.settings.mask_share * cell["slots"]) // 128) * 128
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=generator).to(device).requires_grad_()
    weight = (0.02 * torch.randn(bench.size, width, generator=generator)).to(device).requires_grad_()
    bias = torch.zeros(bench.size, device=device, requires_grad=True)
    targets = torch.randint(bench.size, (tokens,), generator=generator).to(device)
    fused = torch.compile(softmax.shares, dynamic=True) if cell["way"] == "in chunks, compiled" else softmax.shares
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "in place, as on a CPU": lambda: softmax._InPlace.apply(hidden, weight, bias, targets),  # type: ignore[no-untyped-call]
        "in chunks": lambda: softmax._InChunks.apply(hidden, weight, bias, targets, fused),  # type: ignore[no-untyped-call]
        "in chunks, compiled": lambda: softmax._InChunks.apply(hidden, weight, bias, targets, fused),  # type: ignore[no-untyped-call]
        "torch's cross_entropy": lambda: torch.nn.functional.cross_entropy(
            torch.nn.functional.linear(hidden, weight, bias).float(), targets, reduction="sum"
        ),
    }
    times = []
    for _ in range(8):
        synchronize(device)
        began = time.perf_counter()
        with autocast(device, cell["precision"]):
            loss = ways[cell["way"]]()
        loss.backward()  # type: ignore[no-untyped-call]
        synchronize(device)
        times.append(time.perf_counter() - began)
    return [cell["way"], f"{tokens:,}", f"{1000 * sorted(times[3:])[2]:.2f}", gigabytes(device)]


def rest(bench: Bench) -> list[str]:
    """Seconds of a checkpoint, or of an evaluation of a million tokens."""
    device, settings = bench.device, bench.settings
    model, updates = bench.model(device, False), bench.updates(device, False)
    updater = optimizer.optimizer_of(model, settings)
    total = optimizer.gradients(model, next(updates), device, bench.cell["precision"])
    optimizer.step(model, updater, total, 1e-4, settings)
    if bench.cell["what"] == "checkpoint":
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            Checkpoints(Path(folder), {}, 1).save(Position(), Flatness(0.1, 1), model, updater)
            return ["a checkpoint", f"{time.perf_counter() - began:.2f}"]
    sequences = token_data.opened(bench.data, settings, "validation")
    at_once = evaluate.AT_ONCE[device.type]
    began = time.perf_counter()
    parts = evaluate.evaluation_parts(bench.objective, sequences, settings.context, 0, at_once)
    evaluate.evaluate(model, bench.objective, parts, device, bench.cell["precision"])
    took = 1e6 * (time.perf_counter() - began) / sequences.token_count
    return ["an evaluation, for each million tokens", f"{took:.2f}"]


KINDS: dict[str, Callable[[Bench], list[str]]] = {"check": check, "speed": speed, "head": head, "rest": rest}


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    """All cells, in the order in which they are worth measuring."""
    cuda = torch.cuda.is_available()
    precision = "bfloat16" if cuda else "float32"
    base = {"preset": "published", "objective": "masked", "slots": 8192 if cuda else 512, "peak": options.peak}
    base |= {"precision": precision, "compiled": False, "seconds": options.seconds}
    either = (False, True) if cuda else (False,)
    for objective in options.objectives:
        for kind, compiled in itertools.product(("float32", "bfloat16"), either):
            yield base | {"kind": "check", "objective": objective, "precision": kind, "compiled": compiled}
    for preset, objective in itertools.product(options.presets, options.objectives):
        for slots, compiled in itertools.product(options.slots if cuda else [512], either):
            own = {"preset": preset, "objective": objective, "slots": slots, "compiled": compiled}
            yield base | {"kind": "speed"} | own
    ways = ("in place, as on a CPU", "in chunks", "in chunks, compiled", "torch's cross_entropy")
    for way in ways if cuda else (ways[0], ways[1]):
        yield base | {"kind": "head", "slots": 32768 if cuda else 512, "way": way}
    for what in ("checkpoint", "evaluation"):
        yield base | {"kind": "rest", "what": what}


def measured(cell: Cell, data: dict[str, Path], limit: float) -> list[str]:
    """Measure a cell in a process of its own. Returns its row, or what became of it."""
    command = [sys.executable, __file__, "--cell", json.dumps(cell), "--data", json.dumps(data, default=str)]
    name = ", ".join(str(cell[key]) for key in ("preset", "objective", "precision", "slots"))
    name += ", compiled" * cell["compiled"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return [name, f"not within {limit:g} s"]
    if done.returncode:
        return [name, f"failed (code {done.returncode})"]
    row: list[str] = json.loads(done.stdout.splitlines()[-1])
    return row


def write(rows: list[tuple[str, list[str]]], options: argparse.Namespace) -> None:
    """Write the section with what has been measured so far."""
    text = [f"{name_of(device_here())}, torch {torch.__version__}, limit of a cell {options.limit:g} s."]
    for kind in KINDS:
        own = [row + [""] * (len(HEADERS[kind]) - len(row)) for name, row in rows if name == kind]
        if own:
            text += [TITLES[kind], results.table(HEADERS[kind], own)]
    rates = [float(row[3].replace(",", "")) for kind, row in rows if kind == "speed" and row[0] == "published, masked"]
    if rates:
        hours = EPOCHS * TOKENS_PER_EPOCH / max(rates) / 3600
        text.append(
            f"At best **{max(rates):,.0f} real tokens/s**: 18 epochs of 2.4 bn tokens in **{hours:.1f} hours** (published: 264"
            " V100-hours)."
        )
    if not torch.cuda.is_available():
        print("\n\n".join(text))
        text = [
            "**Not measured: no CUDA device was at hand.** The script ran on the CPU with a tiny model, where what it computes"
            " agrees with float32; its figures mean nothing and are left out. The aim on one H200: 4 M real tokens/s."
        ]
    results.write("gpu_training.py", "Training on a GPU", "\n\n".join(text))


def main() -> None:
    """Measure all cells, and write each row at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--presets", nargs="+", choices=list(EncoderSettings.PRESETS), default=["published"])
    parser.add_argument("--objectives", nargs="+", choices=["masked", "next_visit"], default=["masked"])
    parser.add_argument("--slots", type=int, nargs="+", default=[32768, 65536, 131072, 262144], help="of an update")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each timing")
    parser.add_argument("--limit", type=float, default=120.0, help="wall seconds of a cell, compiling included")
    parser.add_argument("--patients", type=int, default=20_000)
    parser.add_argument(
        "--rows", type=Path, default=Path("build/gpu_training.jsonl"), help="file to which each row is added"
    )
    parser.add_argument(
        "--peak", type=float, default=PEAK, help="bf16 operations a second of the device, from its data sheet"
    )
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        torch.backends.cuda.matmul.allow_tf32 = False
        data = {name: Path(path) for name, path in options.data.items()}
        print(json.dumps(KINDS[options.cell["kind"]](Bench(options.cell, data))))
        return
    device = device_here()
    if device.type == "cpu":
        print("NO CUDA DEVICE: a tiny model runs on the CPU to show that this script works. Its figures mean nothing.")
        options.seconds, options.patients = min(options.seconds, 0.3), 250
    concepts, rows = CONCEPTS[device.type], []
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{folder}/inductor")
        paths = token_data.write(
            token_data.Tokens.drawn(options.patients, concepts), concepts + 5, Path(folder, "data")
        )
        for cell in cells(options):
            if cell["kind"] in options.only:
                row = measured(cell, paths, options.limit)
                rows.append((cell["kind"], row))
                with options.rows.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps({"device": name_of(device), **cell, "row": row}) + "\n")
                print(*row, flush=True)
                if device.type == "cuda":
                    write(rows, options)
                if row[-1] == "DIFFERS":
                    raise SystemExit(
                        "the model on this device does not compute what float32 on the CPU does; no speed is measured"
                    )
    if device.type == "cpu":
        write(rows, options)


if __name__ == "__main__":
    main()
