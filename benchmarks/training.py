"""Is this the fastest MLM training of this model? Ours beside transformers' Trainer, in turn, on the same sequences.

All sides: the 12.6 M model, updates of 16 x 256 token slots, AdamW as the Trainer sets it, a learning rate that falls to zero in
a line. Ours runs through the library's loader, model and update (`training_ours.py`). There are two others, both with stock
parts. The *plain* Trainer pads every chunk to 256 tokens and computes the head for every token. The *tuned* one is the strongest
that is known: the head on masked tokens only, chunks of like length together, freed memory kept; in float32 and, if the processor
computes it faster, in bfloat16. Speeds leave out the first updates.

For the losses, ours and the plain Trainer train on the same number of real tokens with the same dropout. Both save their weights,
and one function scores them: the float32 loss on the same 200 held-out patients with the same masks.

The folder given with --baseline holds the two recipes, `hf_trainer_baseline.py` and `trainer_tuned.py`, and `make_sequences.py`,
which makes the sequences. They need `accelerate` (the extra `benchmarks`).

Usage: python benchmarks/training.py --baseline FOLDER [--part speed] [--keep FOLDER] [--tokens 2e6] [--seeds 0 1 2]
Losses need no quiet machine and hours, speeds a quiet one and minutes: so each part may be run for itself, and RESULTS.md keeps the
speeds of each processor. With --keep, a side and seed that has been trained there is not trained again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import results
import token_data
from safetensors.torch import load_file
from time_and_memory import watched
from training_ours import CONTEXT, CPU, FILLED, ROWS, VOCABULARY, settings_with

from ehr_pipeline.encoder import checkpoint, evaluate
from ehr_pipeline.encoder.hardware_choices import precision_for
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.settings import EncoderSettings

KINDS = ("float32", "bfloat16") if precision_for("auto", CPU) == "bfloat16" else ("float32",)
"""Precisions that are measured: bfloat16 only where the processor computes it faster."""


@dataclass(frozen=True)
class Run:
    """One run of a side."""

    rate: float
    """Real tokens a second."""
    peak: int
    """Bytes of memory, all processes."""
    facts: dict[str, Any]


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


def needed_by(settings: EncoderSettings) -> float:
    """Operations that a real token of this training needs."""
    return flops_per_token(settings, CONTEXT, settings.mask_share)


def run_ours(scratch: Path, options: argparse.Namespace, *arguments: str) -> Run:
    """Ours in a process of its own."""
    script = Path(__file__).with_name("training_ours.py")
    command = [sys.executable, str(script), "--data", str(scratch / "data.json"), "--threads", str(options.threads)]
    return _run([*command, "--dropout", str(options.dropout), "--compile", options.compile, *arguments], scratch)


def run_plain(scratch: Path, options: argparse.Namespace, *arguments: str) -> Run:
    """The plain Trainer."""
    threads = ("--threads", str(options.threads), "--dropout", str(options.dropout))
    return _run([*_recipe("hf_trainer_baseline.py", scratch, options), *threads, *arguments], scratch)


def run_tuned(scratch: Path, options: argparse.Namespace, *arguments: str) -> Run:
    """The tuned Trainer: two threads, no dropout."""
    return _run(
        [*_recipe("trainer_tuned.py", scratch, options), "--sparse", "--group", "--malloc", *arguments], scratch
    )


def _recipe(name: str, scratch: Path, options: argparse.Namespace) -> list[str]:
    script = str((options.baseline / name).resolve())
    return [sys.executable, script, str(scratch / "sequences.npz"), "--batch", str(ROWS)]


def _run(command: list[str], scratch: Path) -> Run:
    told = scratch / "told.txt"
    shell = 'cd "$1" && shift && exec "$@" > told.txt 2> log.txt'
    seconds, peak = watched(["/bin/sh", "-c", shell, "sh", str(scratch), *command])
    facts = json.loads(told.read_text().splitlines()[-1])
    print(" ".join(Path(part).name for part in command[1:]), facts, f"{seconds:.0f} s, {peak / 1e9:.2f} GB", flush=True)
    return Run(facts["tokens_per_s"], peak, facts)


def score(folder: Path, paths: dict[str, Path]) -> float:
    """Float32 loss of saved weights on the held-out patients: the same masks for every model."""
    settings = settings_with(0.0, "float32", "off")
    weights = new_model(config_for(settings, VOCABULARY, "benchmark"), 0)
    weights.load_state_dict(load_file(folder / checkpoint.WEIGHTS))
    model = PackedEncoder(weights).eval()
    held_out = token_data.opened(paths, settings, "validation")
    objective = token_data.masked(settings, VOCABULARY)
    asked = evaluate.evaluation_parts(objective, held_out, settings.context, seed=0)
    return objective.scores(evaluate.evaluate(model, objective, asked, CPU, settings.precision))["loss"]


def speeds(scratch: Path, options: argparse.Namespace) -> tuple[str, dict[str, list[Run]]]:
    """All sides in turn, several times."""
    steps = ("--steps", str(options.speed_updates))
    updates = ("--updates", str(3 * options.speed_updates))
    sides: dict[str, Callable[[], Run]] = {"plain Trainer, float32": lambda: run_plain(scratch, options, *steps)}
    for kind in KINDS:
        low = ("--bf16",) if kind == "bfloat16" else ()
        own = (*updates, "--profile", "--precision", kind)
        sides[f"tuned Trainer, {kind}"] = partial(run_tuned, scratch, options, *steps, *low)
        sides[f"ours, {kind}"] = partial(run_ours, scratch, options, *own)
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, run in sides.items():
            runs[name].append(run())
    rows = [(name, *_row(some), f"{max(run.peak for run in some) / 1e9:.2f}") for name, some in runs.items()]
    header = ("side", "real tokens/s, median", "each run", "a processor second, median", "GB")
    return f"{results.table(header, rows)}\n\n{_compared(runs)}", runs


def _row(some: list[Run]) -> tuple[str, str, str]:
    spent = [run.facts["tokens_per_cpu_s"] for run in some if "tokens_per_cpu_s" in run.facts]
    return (
        f"{median(run.rate for run in some):,.0f}",
        ", ".join(f"{run.rate:,.0f}" for run in some),
        f"{median(spent):,.0f}" if spent else "",
    )


def _compared(runs: dict[str, list[Run]]) -> str:
    """How many times faster ours is than the tuned Trainer of the same precision, turn by turn."""
    told = []
    for kind in KINDS:
        pairs = list(zip(runs[f"ours, {kind}"], runs[f"tuned Trainer, {kind}"], strict=True))
        ratios = [own.rate / other.rate for own, other in pairs]
        spent = [own.facts["tokens_per_cpu_s"] / other.facts["tokens_per_cpu_s"] for own, other in pairs]
        told.append(
            f"**{median(ratios):.2f} times in {kind}** ({min(ratios):.2f} to {max(ratios):.2f}; by processor seconds"
            f" {median(spent):.2f})"
        )
    return f"Ours is faster than the tuned Trainer, turn by turn: {'; '.join(told)}."


def machine_share(runs: dict[str, list[Run]], options: argparse.Namespace) -> str:
    """How near to the machine's matrix rate ours comes, and where the rest goes."""
    kind = KINDS[-1]
    own = runs[f"ours, {kind}"]
    settings = settings_with(options.dropout, kind, options.compile)
    rates = {name: max(run.facts["matrix_rates"][name] for run in own) for name in own[0].facts["matrix_rates"]}
    rate, needed = rates["square"], needed_by(settings)
    d, f, layers = settings.hidden_size, settings.feed_forward, settings.layers
    trainer = 6 * (layers * (4 * d * d + 2 * d * f) + d * d + d * VOCABULARY) + 12 * d * CONTEXT * layers
    best = max(run.rate for run in own)
    rows = [(name, f"{share:.0%}") for name, share in own[-1].facts["profile"].items()]
    return (
        f"The machine's measured matrix rate ({kind}, 2048 x 2048, {options.threads} threads): **{rate / 1e9:.0f} GFLOP/s**. A real"
        f" token needs {needed / 1e6:.0f} MFLOP, so the matrix rate allows {rate / needed:,.0f} tokens/s; ours reaches"
        f" **{best * needed / rate:.0%}** of it. (The plain Trainer computes {trainer / 1e6:.0f} MFLOP for each slot, padding"
        f" included.) Padding: {own[-1].facts['padding']:.1%} of the slots.\n\n"
        f"Products of this training's own shapes reach {', '.join(f'{value / 1e9:.0f} ({name})' for name, value in rates.items())}"
        f" GFLOP/s.\n\nWhere the time of ours goes in {kind}:\n\n"
        + results.table(("operations", "share of the time"), rows)
    )


def losses(scratch: Path, options: argparse.Namespace) -> str:
    """The loss of both sides after the same number of real tokens, by one scoring function."""
    paths = {name: Path(path) for name, path in json.loads((scratch / "data.json").read_text()).items()}
    data = token_data.Tokens.load(scratch / "sequences.npz")
    lengths = np.diff(data.offsets)[: -token_data.HELD_OUT]
    steps = round(options.tokens / (ROWS * lengths.sum() / -(-lengths // CONTEXT).sum()))
    # Packed rows hold more tokens than the Trainer's: so many of ours make as many updates of the same tokens as the Trainer makes.
    alike = round(options.tokens / steps / (CONTEXT * FILLED))
    variants = {f"{alike} rows": (alike, "zero"), f"{alike} rows, bias at frequencies": (alike, "frequency")}
    if options.full_rows:
        variants[f"{ROWS} rows"] = (ROWS, "zero")
    rows, differences = [], []
    for seed in options.seeds:
        trained = scratch / f"theirs-{options.tokens:.0f}-{seed}"
        if not trained.is_dir():
            run_plain(scratch, options, "--steps", str(steps), "--seed", str(seed), "--save", str(trained))
        scores = [score(trained, paths)]
        for size, bias in variants.values():
            own = scratch / f"ours-{size}-{options.tokens:.0f}-{seed}{'' if bias == 'zero' else f'-{bias}'}"
            if not own.is_dir():
                arguments = ("--tokens", str(options.tokens), "--rows", str(size), "--seed", str(seed))
                run_ours(scratch, options, *arguments, "--output-bias", bias, "--save", str(own))
            scores.append(score(own, paths))
        differences.append([own - scores[0] for own in scores[1:]])
        rows.append((seed, *(f"{loss:.4f}" for loss in scores), *(f"{loss:+.4f}" for loss in differences[-1])))
        print(f"seed {seed}: {scores}", flush=True)
    largest = {name: max(some) for name, some in zip(variants, zip(*differences, strict=True), strict=True)}
    fewer = f"; with {ROWS} packed rows ours makes fewer updates of the same tokens" if options.full_rows else ""
    return (
        f"Loss on the {token_data.HELD_OUT} held-out patients after {options.tokens:,.0f} real tokens (the Trainer's {steps}"
        f" updates), dropout {options.dropout} on both sides, the same masks, float32. At most +0.02 was the aim; the largest"
        f" differences are {', '.join(f'**{value:+.4f}** ({name})' for name, value in largest.items())}. A packed row holds more"
        f" tokens than a padded one, so that {alike} rows of ours hold what {ROWS} of the Trainer's do{fewer}. Both sides begin"
        " with an output bias of zero, but where it says that ours begins at the logarithm of the concepts' frequencies among the"
        " training tokens (`encoder.output_bias`).\n\n"
        + results.table(
            ("seed", "Trainer", *(f"ours, {name}" for name in variants), *(f"difference, {name}" for name in variants)),
            rows,
        )
    )


def speed(scratch: Path, options: argparse.Namespace) -> str:
    """The speeds of all sides, and what ours does with the machine."""
    table, runs = speeds(scratch, options)
    told = f"Dropout {options.dropout} on all sides, {options.threads} threads, {ROWS} x {CONTEXT} slots an update."
    return "\n\n".join((told, table, machine_share(runs, options)))


PARTS = {"speed": speed, "losses": losses}


def main() -> None:
    """Run both sides in turn, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--baseline",
        type=Path,
        required=True,
        help="folder of make_sequences.py, hf_trainer_baseline.py and trainer_tuned.py",
    )
    parser.add_argument("--part", choices=list(PARTS), help="only this part; the other stays as it is")
    parser.add_argument("--keep", type=Path, help="folder to keep data and weights in")
    parser.add_argument("--tokens", type=float, default=2e6, help="real tokens of the comparison of losses")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--full-rows", action="store_true", help=f"losses with {ROWS} packed rows an update as well")
    parser.add_argument("--speed-updates", type=int, default=12, help="the Trainer's; ours makes three times as many")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", default="auto", choices=["auto", "on", "off"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = (options.keep or Path(temporary)).resolve()
        if not (scratch / "data.json").is_file():
            scratch.mkdir(parents=True, exist_ok=True)
            maker = [sys.executable, str(options.baseline / "make_sequences.py"), str(scratch / "sequences.npz")]
            subprocess.run(maker, check=True)
            paths = token_data.write(token_data.Tokens.load(scratch / "sequences.npz"), VOCABULARY, scratch / "data")
            (scratch / "data.json").write_text(json.dumps(paths, default=str))
        headings = {"speed": f"Speed on {results.machine()}", "losses": "Losses"}
        for name in [options.part] if options.part else PARTS:
            results.write_part("training.py", "Training", headings[name], PARTS[name](scratch, options))


if __name__ == "__main__":
    main()
