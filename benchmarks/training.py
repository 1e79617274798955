"""Is this the fastest MLM training of this model? Ours beside transformers' Trainer, in turn, on the same sequences.

Both sides: the 12.6 M model, updates of 16 x 256 token slots, AdamW as the Trainer sets it, the same dropout, a learning rate that
falls to zero in a line, the same number of real tokens. Both save their weights, and one function scores them: the float32 loss on
the same 200 held-out patients with the same masks. Ours runs through the library's own loader, model and update.

The sequences come from `make_sequences.py` of the folder given with --baseline, the Trainer's recipe from `hf_trainer_baseline.py`
there; it needs `accelerate` (the extra `benchmarks`). Speeds leave out the first two updates.

Usage: python benchmarks/training.py --baseline FOLDER [--tokens 2e6] [--seeds 0 1 2] [--speed-updates 12] [--repeats 3]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import results
import token_data
import torch
from transformers import RobertaPreLayerNormForMaskedLM
from watch import watched

from ehr_pipeline.encoder import evaluate, loader, optimizer
from ehr_pipeline.encoder.devices import compiles, fast_bfloat16, keep_freed_memory, repeatable
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.settings import EncoderSettings

VOCABULARY, ROWS, CONTEXT, RATE = 36_063, 16, 256, 1e-3
WARM_UP = 2
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Run:
    """One run of a side."""

    rate: float
    """Real tokens a second."""
    peak: int
    """Bytes of memory, all processes."""
    facts: dict[str, Any]


def settings_with(dropout: float, precision: str, compile: str) -> EncoderSettings:
    """The published shape with the Trainer's update."""
    made = EncoderSettings(dropout=dropout, attention_dropout=dropout, weight_decay=0.0, precision=precision)  # type: ignore[arg-type]
    return replace(made, tokens_per_step=ROWS * CONTEXT, learning_rate=RATE, compile=compile)  # type: ignore[arg-type]


def flops_per_token(settings: EncoderSettings, attended: float, chosen: float) -> float:
    """Floating-point operations that a token needs, backwards included: what the mathematics asks for, not what is computed.

    `attended` tokens are seen by a token, `chosen` is the share that is predicted; the last layer needs queries, the output product
    and the feed-forward part of those only.
    """
    d, f = settings.hidden_size, settings.feed_forward
    own, shared = 2 * d * d + 2 * d * f, 2 * d * d  # query and output, feed-forward; key and value
    layers = settings.layers - 1 + chosen
    matrices = own * layers + shared * settings.layers + chosen * (d * d + d * VOCABULARY)
    return 6 * matrices + 12 * d * attended * layers


def matrix_rate(threads: int, kind: torch.dtype, size: int = 2048) -> float:
    """Operations a second of a matrix product, the best of some."""
    torch.set_num_threads(threads)
    one, two = (torch.randn(size, size).to(kind) for _ in range(2))
    best = np.inf
    for _ in range(6):
        start = time.perf_counter()
        one @ two
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def stream(sequences: Any, settings: EncoderSettings, seed: int) -> Iterator[loader.Update]:
    """Updates, epoch after epoch."""
    for epoch in range(1000):
        yield from loader.updates(sequences, settings, VOCABULARY, seed, epoch, loader.Plan(ROWS, ROWS))


def ours(options: argparse.Namespace) -> None:
    """Train for some updates or real tokens, and print what was measured as JSON. Runs in a process of its own."""
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    settings = settings_with(options.dropout, options.precision, options.compile)
    paths = json.loads(Path(options.data).read_text())
    sequences = token_data.opened(paths, settings, "train")
    model = PackedEncoder(new_model(config_for(settings, VOCABULARY, "benchmark"), options.seed)).train()
    if compiles(CPU, settings.compile):
        model.compile_layers()
    updater = torch.optim.AdamW(
        model.parameters(), lr=RATE, weight_decay=0.0, fused=True
    )  # as TrainingArguments has it
    steps = options.updates or round(options.tokens / (ROWS * CONTEXT * 0.985))
    torch.manual_seed(options.seed)
    marks, own, tokens, losses = [time.perf_counter()], [time.process_time()], [], []
    kind = torch.bfloat16 if autocast_low(settings) else torch.float32
    rate_before = matrix_rate(options.threads, kind)
    with repeatable(CPU):
        updates = stream(sequences, settings, options.seed)
        for step, update in zip(range(steps), updates, strict=False):
            total, chosen = optimizer.gradients(model, update, CPU, settings.precision)
            if not optimizer.step(model, updater, chosen, RATE * (1 - step / steps), settings):
                raise SystemExit("a gradient is not finite")
            marks.append(time.perf_counter())
            own.append(time.process_time())
            tokens.append(update.real_tokens)
            losses.append(total / chosen)
            if options.tokens and sum(tokens) >= options.tokens:
                break
        facts = {
            "tokens_per_s": sum(tokens[WARM_UP:]) / (marks[-1] - marks[WARM_UP]),
            "tokens_per_cpu_s": sum(tokens[WARM_UP:]) / (own[-1] - own[WARM_UP]),
            "first_update_s": marks[1] - marks[0],
            "tokens": sum(tokens),
            "last_loss": float(np.mean(losses[-10:])),
            "matrix_rate": max(rate_before, matrix_rate(options.threads, kind)),
            "padding": 1 - sum(tokens) / (len(tokens) * ROWS * CONTEXT),
        }
        if options.profile:
            facts["profile"] = profile(model, updater, updates, settings)
    if options.save:
        model.stock.save_pretrained(options.save)
    print(json.dumps(facts))


def autocast_low(settings: EncoderSettings) -> bool:
    """Whether the products are taken in bfloat16."""
    return settings.precision == "bfloat16" or (settings.precision == "auto" and fast_bfloat16(CPU))


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
            _, chosen = optimizer.gradients(model, next(updates), CPU, settings.precision)
            optimizer.step(model, updater, chosen, 0.0, settings)
    sums: dict[str, float] = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in watched_.key_averages():
        kind = next((name for name, parts in KINDS.items() if any(p in event.key for p in parts)), "everything else")
        sums[kind] += event.self_cpu_time_total
    whole = sum(sums.values())
    return {name: value / whole for name, value in sums.items()}


def run_ours(scratch: Path, options: argparse.Namespace, *arguments: str) -> Run:
    """Ours in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--ours",
        "--data",
        str(scratch / "data.json"),
        "--threads",
        str(options.threads),
    ]
    return _run([*command, "--dropout", str(options.dropout), "--compile", options.compile, *arguments], scratch)


def run_baseline(scratch: Path, options: argparse.Namespace, *arguments: str) -> Run:
    """The Trainer's recipe."""
    script, sequences = options.baseline / "hf_trainer_baseline.py", scratch / "sequences.npz"
    command = [sys.executable, str(script), str(sequences), "--batch", str(ROWS), "--threads", str(options.threads)]
    return _run([*command, "--dropout", str(options.dropout), *arguments], scratch)


def _run(command: list[str], scratch: Path) -> Run:
    told = scratch / "told.txt"
    shell = 'cd "$1" && shift && exec "$@" > told.txt 2> log.txt'
    seconds, peak = watched(["/bin/sh", "-c", shell, "sh", str(scratch), *command])
    facts = json.loads(told.read_text().splitlines()[-1])
    print(" ".join(Path(part).name for part in command[1:]), facts, f"{seconds:.0f} s, {peak / 1e9:.2f} GB", flush=True)
    return Run(facts["tokens_per_s"], peak, facts)


def score(folder: Path, paths: dict[str, str]) -> float:
    """Float32 loss of saved weights on the held-out patients: the same masks for every model."""
    settings = settings_with(0.0, "float32", "off")
    model = PackedEncoder(RobertaPreLayerNormForMaskedLM.from_pretrained(folder, dtype=torch.float32)).eval()
    held_out = token_data.opened(paths, settings, "validation")
    return evaluate.evaluate(model, held_out, settings, VOCABULARY, 0, CPU).scores().loss


def speeds(scratch: Path, options: argparse.Namespace) -> tuple[str, dict[str, list[Run]]]:
    """Both sides in turn, several times."""
    runs: dict[str, list[Run]] = {"Trainer, float32": [], "Trainer, --bf16": [], "ours": []}
    steps = str(options.speed_updates)
    for number in range(options.repeats):
        runs["Trainer, float32"].append(run_baseline(scratch, options, "--steps", steps))
        if number < options.bf16_repeats:
            runs["Trainer, --bf16"].append(run_baseline(scratch, options, "--steps", str(WARM_UP + 4), "--bf16"))
        profiled = ["--profile"] if number == options.repeats - 1 else []
        runs["ours"].append(run_ours(scratch, options, "--updates", str(3 * options.speed_updates), *profiled))
    best = {name: max((run.rate for run in some), default=np.nan) for name, some in runs.items()}
    rows = [
        (
            name,
            f"{best[name]:,.0f}",
            ", ".join(f"{run.rate:,.0f}" for run in some),
            f"{best['ours'] / best[name]:.1f}",
            f"{max((run.peak for run in some), default=0) / 1e9:.2f}",
        )
        for name, some in runs.items()
        if some
    ]
    header = ("side", "real tokens/s, best", "each run", "ours is faster by", "GB")
    return results.table(header, rows), runs


def machine_share(runs: dict[str, list[Run]], options: argparse.Namespace) -> str:
    """How near to the machine's matrix rate ours comes, and where the rest goes."""
    settings = settings_with(options.dropout, "auto", options.compile)
    kind = "bfloat16" if autocast_low(settings) else "float32"
    last = runs["ours"][-1].facts
    rate = max(run.facts["matrix_rate"] for run in runs["ours"])
    needed = flops_per_token(settings, CONTEXT, settings.mask_share)
    d, f, layers = settings.hidden_size, settings.feed_forward, settings.layers
    trainer = 6 * (layers * (4 * d * d + 2 * d * f) + d * d + d * VOCABULARY) + 12 * d * CONTEXT * layers
    best = max(run.rate for run in runs["ours"])
    rows = [(name, f"{share:.0%}") for name, share in last["profile"].items()]
    return (
        f"The machine's measured matrix rate ({kind}, 2048 x 2048, {options.threads} threads): **{rate / 1e9:.0f} GFLOP/s**. A real"
        f" token needs {needed / 1e6:.0f} MFLOP, so the matrix rate allows {rate / needed:,.0f} tokens/s; ours reaches"
        f" **{best * needed / rate:.0%}** of it. (The Trainer computes {trainer / 1e6:.0f} MFLOP for each slot, padding included.)"
        f" Padding: {last['padding']:.1%} of the slots.\n\nWhere the time of ours goes:\n\n"
        + results.table(("operations", "share of the time"), rows)
    )


def losses(scratch: Path, paths: dict[str, str], options: argparse.Namespace) -> str:
    """The loss of both sides after the same number of real tokens, by one scoring function."""
    data = token_data.Tokens.load(scratch / "sequences.npz")
    lengths = np.diff(data.offsets)[: -token_data.HELD_OUT]
    steps = round(options.tokens / (ROWS * lengths.sum() / -(-lengths // CONTEXT).sum()))
    rows, differences = [], []
    for seed in options.seeds:
        theirs, own = scratch / f"theirs{seed}", scratch / f"ours{seed}"
        there = run_baseline(scratch, options, "--steps", str(steps), "--seed", str(seed), "--save", str(theirs))
        here = run_ours(scratch, options, "--tokens", str(options.tokens), "--seed", str(seed), "--save", str(own))
        scores = score(theirs, paths), score(own, paths)
        differences.append(scores[1] - scores[0])
        rates = f"{there.rate:,.0f}", f"{here.rate:,.0f}", f"{here.rate / there.rate:.1f}"
        rows.append((seed, f"{scores[0]:.4f}", f"{scores[1]:.4f}", f"{differences[-1]:+.4f}", *rates))
    header = ("seed", "Trainer's loss", "our loss", "difference", "Trainer's tokens/s", "ours", "faster by")
    return (
        f"Loss on the {token_data.HELD_OUT} held-out patients after {options.tokens:,.0f} real tokens (the Trainer's {steps}"
        f" updates; the same masks, float32). At most +0.02 was the aim; the largest difference is **{max(differences):+.4f}**.\n\n"
        + results.table(header, rows)
    )


def main() -> None:
    """Run both sides in turn, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, help="folder of make_sequences.py and hf_trainer_baseline.py")
    parser.add_argument(
        "--tokens", type=float, default=2e6, help="real tokens of the comparison of losses; 0 leaves it out"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--speed-updates", type=int, default=12, help="the Trainer's; ours makes three times as many")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bf16-repeats", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", default="auto", choices=["auto", "on", "off"])
    inner = parser.add_argument_group("of a run of ours")
    inner.add_argument("--ours", action="store_true")
    inner.add_argument("--data")
    inner.add_argument("--updates", type=int, default=0)
    inner.add_argument("--seed", type=int, default=0)
    inner.add_argument("--precision", default="auto")
    inner.add_argument("--profile", action="store_true")
    inner.add_argument("--save")
    options = parser.parse_args()
    if options.ours:
        return ours(options)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        maker = [sys.executable, str(options.baseline / "make_sequences.py"), str(scratch / "sequences.npz")]
        subprocess.run(maker, check=True)
        paths = token_data.write(token_data.Tokens.load(scratch / "sequences.npz"), VOCABULARY, scratch / "data")
        (scratch / "data.json").write_text(json.dumps(paths))
        table, runs = speeds(scratch, options)
        parts = [
            f"Dropout {options.dropout} on both sides, {options.threads} threads, {ROWS} x {CONTEXT} slots an update.",
            table,
        ]
        parts.append(machine_share(runs, options))
        if options.tokens:
            parts.append(losses(scratch, paths, options))
    results.write("training.py", "Training", "\n\n".join(parts))
    return None


if __name__ == "__main__":
    main()
