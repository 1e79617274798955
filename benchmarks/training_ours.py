"""One run of ours for `training.py`, in a process of its own: some updates or real tokens, then what was measured, as JSON.

It runs through the library's own loader, model and update; only the schedule is the Trainer's.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import token_data
import torch

from ehr_pipeline.encoder import checkpoint, initial_weights, loader, optimizer
from ehr_pipeline.encoder.devices import compiles, keep_freed_memory, repeatable
from ehr_pipeline.encoder.hardware_choices import precision_for
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.settings import EncoderSettings

VOCABULARY, ROWS, CONTEXT, RATE = 36_063, 16, 256, 1e-3
WARM_UP = 2
FILLED = 0.985
"""Share of the slots of a packed update that hold tokens."""
CPU = torch.device("cpu")


def settings_with(dropout: float, precision: str, compile: str) -> EncoderSettings:
    """The published shape with the Trainer's update."""
    made = EncoderSettings(dropout=dropout, attention_dropout=dropout, weight_decay=0.0, precision=precision)  # type: ignore[arg-type]
    return replace(made, tokens_per_step=ROWS * CONTEXT, learning_rate=RATE, compile=compile)  # type: ignore[arg-type]


SQUARE = (2048, 2048, 2048)
SHAPES = {
    "square": SQUARE,
    "feed-forward": (ROWS * CONTEXT, 256, 1024),
    "its weights' gradient": (256, ROWS * CONTEXT, 1024),
    "head": (600, 256, VOCABULARY),
}


def matrix_rate(threads: int, kind: torch.dtype, shape: tuple[int, int, int] = SQUARE) -> float:
    """Operations a second of a matrix product (m, k) x (k, n), the best of some."""
    torch.set_num_threads(threads)
    m, k, n = shape
    one, two, out = torch.randn(m, k).to(kind), torch.randn(k, n).to(kind), torch.empty(m, n, dtype=kind)
    best = np.inf
    for _ in range(6):
        start = time.perf_counter()
        torch.mm(one, two, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * m * k * n / best


def stream(sequences: Any, settings: EncoderSettings, seed: int, rows: int) -> Iterator[loader.Update]:
    """Updates, epoch after epoch."""
    objective, plan = token_data.masked(settings, VOCABULARY), loader.Plan(settings.context, rows, rows)
    for epoch in range(1000):
        yield from loader.updates(sequences, objective, plan, seed=seed, epoch=epoch)


def ours(options: argparse.Namespace) -> None:
    """Train for some updates or real tokens, and print what was measured."""
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    settings = settings_with(options.dropout, precision_for(options.precision, CPU), options.compile)
    paths = {name: Path(path) for name, path in json.loads(Path(options.data).read_text()).items()}
    sequences = token_data.opened(paths, settings, "train")
    fresh = new_model(config_for(settings, VOCABULARY, "benchmark"), options.seed)
    if options.output_bias == "frequency":
        initial_weights.bias_at_frequencies(fresh, sequences.token_counts(VOCABULARY))
    model = PackedEncoder(fresh, token_data.masked(settings, VOCABULARY)).train()
    if compiles(CPU, settings.compile):
        model.compile_layers()
    updater = torch.optim.AdamW(
        model.parameters(), lr=RATE, weight_decay=0.0, fused=True
    )  # as TrainingArguments has it
    steps = options.updates or round(options.tokens / (options.rows * CONTEXT * FILLED))
    torch.manual_seed(options.seed)
    marks, own, tokens, losses = [time.perf_counter()], [time.process_time()], [], []
    kind = torch.bfloat16 if autocast_low(settings) else torch.float32
    rates = {name: matrix_rate(options.threads, kind, shape) for name, shape in SHAPES.items()}
    with repeatable(CPU):
        updates = stream(sequences, settings, options.seed, options.rows)
        for step, update in zip(range(steps), updates, strict=False):
            total = optimizer.gradients(model, update, CPU, settings.precision)
            done = optimizer.step(model, updater, total, RATE * (1 - step / steps), settings)
            if not done.finite:
                raise SystemExit("a gradient is not finite")
            marks.append(time.perf_counter())
            own.append(time.process_time())
            tokens.append(update.real_tokens)
            losses.append(done.loss / done.targets)
            if options.tokens and sum(tokens) >= options.tokens:
                break
        facts = {
            "tokens_per_s": sum(tokens[WARM_UP:]) / (marks[-1] - marks[WARM_UP]),
            "tokens_per_cpu_s": sum(tokens[WARM_UP:]) / (own[-1] - own[WARM_UP]),
            "first_update_s": marks[1] - marks[0],
            "tokens": sum(tokens),
            "last_loss": float(np.mean(losses[-10:])),
            "matrix_rates": rates,
            "padding": 1 - sum(tokens) / (len(tokens) * options.rows * CONTEXT),
        }
        if options.profile:
            facts["profile"] = profile(model, updater, updates, settings)
    if options.save:
        checkpoint.save_model(Path(options.save), model.stock)
    print(json.dumps(facts))


def autocast_low(settings: EncoderSettings) -> bool:
    """Whether the products are taken in bfloat16."""
    return precision_for(settings.precision, CPU) == "bfloat16"


KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn"),
    "attention": ("scaled_dot_product", "flash_attention"),
    "AdamW and clipping": ("adamw", "norm_except", "linalg_vector_norm", "_foreach"),
    "layer norms and GELU": ("layer_norm", "gelu"),
    "softmax of the head": ("aten::exp", "aten::amax", "aten::sub_", "aten::gather", "aten::scatter", "aten::log"),
    "copies, fills and sums": (
        "aten::copy_",
        "aten::fill_",
        "aten::sum",
        "aten::cat",
        "aten::add",
        "aten::mul",
        "aten::index",
    ),
}


def profile(
    model: PackedEncoder, updater: Any, updates: Iterator[loader.Update], settings: EncoderSettings
) -> dict[str, float]:
    """Where the time goes: share of each kind of operation over three updates."""
    from torch.profiler import ProfilerActivity

    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as watched_:
        for _ in range(3):
            total = optimizer.gradients(model, next(updates), CPU, settings.precision)
            optimizer.step(model, updater, total, 0.0, settings)
    sums: dict[str, float] = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in watched_.key_averages():
        kind = next((name for name, parts in KINDS.items() if any(p in event.key for p in parts)), "everything else")
        sums[kind] += event.self_cpu_time_total
    whole = sum(sums.values())
    return {name: value / whole for name, value in sums.items()}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="JSON file with the folders of the data set")
    parser.add_argument("--updates", type=int, default=0)
    parser.add_argument("--tokens", type=float, default=0, help="real tokens, where no number of updates is given")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of an update")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", default="auto", choices=["auto", "on", "off"])
    parser.add_argument("--output-bias", default="zero", choices=["zero", "frequency"])
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--save", help="folder for the weights")
    ours(parser.parse_args())


if __name__ == "__main__":
    main()
