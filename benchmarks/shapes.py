"""Which shape of the encoder pays? Age unit, hidden size and context, each changed alone, on the same patients.

Reads the finished demo (`make demo`): its patients, split, vocabulary, cohort and chosen concepts. Every shape is trained in a
process of its own for the same number of epochs, and judged by: the loss on the validation patients (ten masks, each alike for all
shapes), the adjusted Rand index of the cohort's clusters with the planted groups, tokens a second of processor time, memory.

Usage: python benchmarks/shapes.py [--study data/studies/demo] [--epochs 2] [--hidden 256] [--layers 2] [--seeds 0] [--threads 1]
With --keep FOLDER, what is finished there is not done again; with --only 0 1 some shapes alone are made, and the section says which
are not.
"""

import argparse
import json
import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import results
import torch
from watch import watched

from ehr_pipeline.clusters.methods import cluster
from ehr_pipeline.clusters.planted import THIS_RUN, PlantedGroups
from ehr_pipeline.clusters.truth import agreement
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings.job import Inference
from ehr_pipeline.embeddings.pooling import attend, over_chunks, pool_chunks
from ehr_pipeline.embeddings.vectors import pooled_tokens
from ehr_pipeline.encoder import checkpoint, evaluate, machine
from ehr_pipeline.encoder.job import TrainingJob
from ehr_pipeline.encoder.objectives.masked import Masked
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline.work import jobs

MASKS = range(100, 110)
CPU = torch.device("cpu")
NEIGHBOURS = 15


def changes(hidden: int) -> dict[str, dict[str, Any]]:
    """What each shape changes of the first one, by name."""
    return {
        f"hidden {hidden}, context 256, years": {},
        "quarters": {"age_unit": "quarter"},
        "context 512": {"context": 512},
        f"hidden {2 * hidden}": {"hidden_size": 2 * hidden, "feed_forward": 8 * hidden},
    }


def settings_of(change: dict[str, Any], options: argparse.Namespace) -> EncoderSettings:
    """The published shape with fewer layers, without dropout, updates of 4,096 slots."""
    base = EncoderSettings(
        hidden_size=options.hidden,
        feed_forward=4 * options.hidden,
        layers=options.layers,
        dropout=0.0,
        attention_dropout=0.0,
        tokens_per_step=4096,
        warmup_steps=50,
        max_epochs=options.epochs,
        patience=options.epochs,
    )
    return replace(base, **change)


def train(store: Store, settings: EncoderSettings, seed: int, folder: Path, threads: int) -> dict[str, float]:
    """Train in a process of its own. Returns what it cost."""
    out = folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    job = TrainingJob(
        dataset=store.current("patient_dataset").file("patients"),
        split=store.current("data_split").file("split"),
        vocabulary=store.current("vocabulary").path,
        settings=settings,
        seed=seed,
        threads=threads,
        out=out,
        resume=folder / "training",
    )
    (folder / "job.json").write_text(jobs.as_json(job))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "ehr_pipeline.encoder.train", "--job", str(folder / "job.json")]
    _, peak = watched(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    metrics = json.loads((out / "metrics.json").read_text())
    tokens = metrics["training_tokens"] * len(metrics["epochs"])
    return {"tokens_per_cpu_s": tokens / own, "peak": peak, "parameters": metrics["parameters"]}


def judge(store: Store, truth: PlantedGroups, settings: EncoderSettings, folder: Path) -> dict[str, float]:
    """Validation loss over all masks, and what the cohort's clusters are worth."""
    vocabulary = Vocabulary.read(store.current("vocabulary").path)
    model = checkpoint.load(folder / "out" / "checkpoint", vocabulary, CPU)
    settings = replace(settings, precision=machine.precision_of(settings.precision, model.stock.config))  # type: ignore[arg-type]
    shape = (settings.context, settings.age_unit, settings.max_positions)
    split = store.current("data_split").file("split")
    dataset = store.current("patient_dataset").file("patients")
    validation = Sequences.open(dataset, *shape, split=split, side="validation")
    objective = Masked(settings, vocabulary)
    asked = [evaluate.asked(objective, validation, settings.context, seed) for seed in MASKS]
    scores = [objective.scores(evaluate.evaluate(model, objective, parts, CPU, settings.precision)) for parts in asked]
    weights = [score["masked_tokens"] for score in scores]
    chosen = np.zeros(vocabulary.size, np.float32)
    chosen[pooled_tokens(store.current("patient_embeddings").path)] = 1
    cohort = Cohort.read(store.current("cohort").path)
    ids, vectors = [], []
    for path in sorted(dataset.glob("*.arrow")):
        rows = cohort.rows(path.name)
        how = Inference(*shape, batch_tokens=4096, precision="float32")
        chunks = pool_chunks(model, Shard.read(path), rows, chosen, how)
        pooled = over_chunks(chunks, len(rows), attend)
        some = pooled.tokens > 0
        names = np.array(schemas.read(path, ["patient_id"]).column("patient_id").to_pylist())
        ids += names[rows[some]].tolist()
        vectors.append(pooled.vectors_PD[some])
    together = np.concatenate(vectors)
    labels = cluster(together, "spectral", 20, NEIGHBOURS, 0)
    found = agreement(truth, ids, labels, {THIS_RUN: together}, method="spectral", neighbours=NEIGHBOURS, seed=0)[
        "vectors"
    ][THIS_RUN]
    return {
        "loss": float(np.average([score["loss"] for score in scores], weights=weights)),
        "top10": float(np.average([score["top10"] for score in scores], weights=weights)),
        "masked_tokens": float(sum(weights)),
        **found,
    }


def one(
    store: Store, truth: PlantedGroups, name: str, seed: int, folder: Path, options: argparse.Namespace
) -> dict[str, float]:
    """Figures of a shape and a seed."""
    settings, told = settings_of(changes(options.hidden)[name], options), folder / "figures.json"
    if not told.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        figures = train(store, settings, seed, folder, options.threads) | judge(store, truth, settings, folder)
        told.write_text(json.dumps(figures))
    figures = json.loads(told.read_text())
    print(f"{name}, seed {seed}: {figures}", flush=True)
    return dict(figures)


def counted(number: int, what: str) -> str:
    """'1 layer', '2 layers'."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def report(measured: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> str:
    """The section for RESULTS.md."""

    def cell(runs: list[dict[str, float]], name: str, digits: int) -> str:
        values = [run[name] for run in runs]
        each = f" ({', '.join(f'{value:.{digits}f}' for value in values)})" if len(values) > 1 else ""
        return f"{np.mean(values):.{digits}f}{each}"

    rows = [
        (
            name if not number else f"the same with {name}",
            f"{runs[0]['parameters'] / 1e6:.2f} M",
            cell(runs, "loss", 4),
            cell(runs, "adjusted_rand_index", 3),
            cell(runs, "homogeneity", 3),
            f"{max(run['tokens_per_cpu_s'] for run in runs):,.0f}",
            f"{max(run['peak'] for run in runs) / 1e9:.2f}",
        )
        for number, (name, runs) in enumerate(measured.items())
    ]
    header = (
        "shape",
        "parameters",
        "validation loss",
        "adjusted Rand index, n = groups",
        "homogeneity, n = 20",
        "tokens a second of one core",
        "GB",
    )
    left_out = [name for name in changes(options.hidden) if name not in measured]
    missing = f"\n\n**Not measured: {', '.join(left_out)}.**" if left_out else ""
    masked = next(iter(measured.values()))[0]["masked_tokens"]
    return (
        f"The demo's patients; {counted(options.layers, 'layer')}, {counted(options.epochs, 'epoch')}, no dropout, updates of 4,096"
        f" slots, seeds {options.seeds}, {counted(options.threads, 'thread')}. Losses over {masked:,.0f} hidden tokens."
        " Speed is per second of processor time, because the machine need not be quiet for that.\n\n"
        + results.table(header, rows)
        + missing
    )


def main() -> None:
    """Train and judge every shape, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("data/studies/demo"))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256, help="hidden size that is compared with its double")
    parser.add_argument("--only", type=int, nargs="+", default=[0, 1, 2, 3], help="numbers of the shapes to make")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder to keep the trainings in")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    store, truth = Store(options.study / "store"), PlantedGroups.read(options.study / "truth")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        measured = {
            name: [one(store, truth, name, seed, folder / f"{number}-{seed}", options) for seed in options.seeds]
            for number, name in enumerate(changes(options.hidden))
            if number in options.only
        }
    results.write("shapes.py", "Shapes of the encoder", report(measured, options))


if __name__ == "__main__":
    main()
