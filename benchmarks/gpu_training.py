"""How fast is training on a GPU? Stands alone: torch, transformers, numpy, pyarrow and triton are enough, and a checkout.

First the model on the GPU is checked against float32 on the CPU (loss and gradients; float32 and bfloat16, compiled and not). Then
updates of several sizes are timed with the loader that training uses, and the largest rate is turned into the hours that 18 epochs
of 2.4 bn tokens take. Real tokens count, padding does not.

Without CUDA the same code runs with a tiny model on the CPU and says so, here and in RESULTS.md: its figures mean nothing.

Usage: PYTHONPATH=. python benchmarks/gpu_training.py [--seconds 10] [--slots 32768 65536 131072 262144] [--peak 989e12]
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import results
import token_data
import torch

from ehr_pipeline.encoder import loader, optimizer
from ehr_pipeline.encoder.devices import compiles
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.settings import EncoderSettings

EPOCHS, TOKENS_PER_EPOCH = 18, 2.4e9
PEAK = 989e12  # bf16 without sparsity, H100 and H200 (NVIDIA's data sheet)
TINY: dict[str, Any] = {"hidden_size": 32, "layers": 2, "heads": 2, "feed_forward": 64}


def flops_per_token(settings: EncoderSettings, vocabulary: int) -> float:
    """Operations that a token needs, backwards included; the last layer needs them in full for chosen tokens only."""
    d, share = settings.hidden_size, settings.mask_share
    layers = settings.layers - 1 + share
    own, shared = 2 * d * d + 2 * d * settings.feed_forward, 2 * d * d
    matrices = own * layers + shared * settings.layers + share * (d * d + d * vocabulary)
    return 6 * matrices + 12 * d * settings.context * layers


def fresh(settings: EncoderSettings, vocabulary: int, device: torch.device, compiled: bool) -> PackedEncoder:
    """A new model on a device, from seed 0."""
    stock = new_model(config_for(settings, vocabulary, "benchmark"), 0)
    model = PackedEncoder(stock, token_data.masked(settings, vocabulary)).to(device).train()
    if compiled and compiles(device, "on"):
        model.compile_layers()
    return model


def endless(sequences: Any, settings: EncoderSettings, vocabulary: int, plan: loader.Plan) -> Iterator[loader.Update]:
    """Updates, epoch after epoch."""
    objective = token_data.masked(settings, vocabulary)
    for epoch in itertools.count():
        yield from loader.updates(sequences, objective, plan, seed=0, epoch=epoch)


def check(sequences: Any, settings: EncoderSettings, vocabulary: int, device: torch.device) -> list[tuple[str, ...]]:
    """Loss and gradients of one update on the device beside those of float32 on the CPU. Raises SystemExit when they differ."""
    settings = replace(settings, dropout=0.0, attention_dropout=0.0)
    update = next(endless(sequences, settings, vocabulary, loader.Plan(settings.context, 8, 8)))

    def computed(where: torch.device, precision: str, compiled: bool) -> tuple[float, torch.Tensor]:
        model = fresh(settings, vocabulary, where, compiled)
        total, chosen = optimizer.gradients(model, update, where, precision)
        flat = torch.cat([p.grad.flatten().float().cpu() for p in model.parameters() if p.grad is not None])
        return total / chosen, flat / chosen

    true_loss, true_gradient = computed(torch.device("cpu"), "float32", False)
    rows: list[tuple[str, ...]] = []
    failed = False
    for precision, compiled in itertools.product(("float32", "bfloat16"), (False, True)):
        loss, gradient = computed(device, precision, compiled)
        away = float((gradient - true_gradient).norm() / true_gradient.norm())
        limits = (1e-3, 1e-2) if precision == "float32" else (2e-2, 5e-2)
        wrong = abs(loss - true_loss) > limits[0] or not away < limits[1]
        failed |= wrong
        name = f"{precision}{', compiled' if compiled else ''}"
        rows.append((name, f"{loss - true_loss:+.1e}", f"{away:.1e}", "DIFFERS" if wrong else "agrees"))
        print(*rows[-1], flush=True)
    if failed:
        raise SystemExit("the model on this device does not compute what float32 on the CPU does; no speed is measured")
    return rows


def timed(
    sequences: Any, settings: EncoderSettings, vocabulary: int, device: torch.device, compiled: bool, seconds: float
) -> tuple[float, float, float]:
    """Real tokens a second, the largest memory in bytes, and the share of the time that the loader was waited for."""
    rows = settings.tokens_per_step // settings.context
    model = fresh(settings, vocabulary, device, compiled)
    updater = optimizer.optimizer_of(model, settings)
    updates = endless(
        sequences, settings, vocabulary, loader.Plan(settings.context, rows, min(rows, 65536 // settings.context))
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    tokens, waited, began = 0, 0.0, 0.0
    for number in itertools.count():
        if number == 5:  # compiled and warm
            tokens, waited, began = 0, 0.0, time.perf_counter()
        before = time.perf_counter()
        update = next(updates)
        waited += time.perf_counter() - before
        _, chosen = optimizer.gradients(model, update, device, settings.precision)
        optimizer.step(model, updater, chosen, 1e-3, settings)  # waits for the device: the norm is read
        tokens += update.real_tokens
        if number > 5 and time.perf_counter() - began > seconds:
            break
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    took = time.perf_counter() - began
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return tokens / took, memory, waited / took


def main() -> None:
    """Check, sweep, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each timing")
    parser.add_argument("--slots", type=int, nargs="+", default=[32768, 65536, 131072, 262144])
    parser.add_argument("--patients", type=int, default=20_000)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument(
        "--peak", type=float, default=PEAK, help="bf16 operations a second of the device, from its data sheet"
    )
    options = parser.parse_args()
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    concepts = 36_058 if cuda else 300
    if not cuda:
        print("NO CUDA DEVICE: a tiny model runs on the CPU to show that this script works. Its figures mean nothing.")
        options.slots, options.seconds, options.patients = [512], min(options.seconds, 0.5), 250
    torch.backends.cuda.matmul.allow_tf32 = False
    settings = EncoderSettings(
        dropout=options.dropout,
        attention_dropout=options.dropout,
        precision="bfloat16" if cuda else "float32",
        **({} if cuda else TINY),
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = token_data.write(token_data.Tokens.drawn(options.patients, concepts), concepts + 5, Path(folder))
        sequences = token_data.opened(paths, settings, "train")
        checked = check(sequences, settings, concepts + 5, device)
        rows, best = [], 0.0
        for slots, compiled in itertools.product(options.slots, (False, True) if cuda else (False,)):
            sized = replace(settings, tokens_per_step=slots)
            rate, memory, waited = timed(sequences, sized, concepts + 5, device, compiled, options.seconds)
            best = max(best, rate)
            share = rate * flops_per_token(settings, concepts + 5) / options.peak
            figures = (f"{rate:,.0f}", f"{share:.1%}", f"{memory / 1e9:.2f}", f"{waited:.0%}")
            row = (f"{slots:,}", "yes" if compiled else "no", *figures)
            rows.append(row)
            print(*row, flush=True)
    hours = EPOCHS * TOKENS_PER_EPOCH / best / 3600
    header = ("slots of an update", "compiled", "real tokens/s", "share of peak", "GB", "waiting for the loader")
    text = (
        f"{torch.cuda.get_device_name(device) if cuda else 'no GPU'}, torch {torch.__version__}, dropout {options.dropout}.\n\n"
        "Beside float32 on the CPU:\n\n"
        + results.table(("on the device", "loss", "gradient, relative", ""), checked)
        + "\n\n"
        + results.table(header, rows)
        + f"\n\nAt best **{best:,.0f} real tokens/s**: 18 epochs of 2.4 bn tokens in **{hours:.1f} hours**"
        " (published: 264 V100-hours)."
    )
    if not cuda:
        print(text)
        text = (
            "**Not measured: no CUDA device was at hand.** The script ran on the CPU with a tiny model, where what it computes"
            " agrees with float32; its figures mean nothing and are left out. The aim on one H200: 4 M real tokens/s."
        )
    results.write("gpu_training.py", "Training on a GPU", text)


if __name__ == "__main__":
    main()
