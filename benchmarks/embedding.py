"""How fast are patients embedded? Real tokens a second of forward passes: ours beside the stock class.

Both sides: the published shape (12.6 M parameters, random weights), the same chunks of the same patients, batches of as many
slots, and the mean over the chosen tokens of each chunk, in float32 and, if the processor computes it faster, in bfloat16. The
stock side is `RobertaPreLayerNormModel` with its default attention, as a good user has it: chunks sorted by length, each batch
padded to its longest chunk; in bfloat16 with weights of this type. Ours is `pool_chunks`: packed rows, and a last layer for
chosen tokens only. The vectors of both are compared, and the matrix rate of the machine says how fast any float32 could be.

Then two things about the whole job. On synthetic patients in several shards: patients a second, and the memory of all processes
with one and with four times as many patients. With --study, a study that has been run: its cohort is embedded in float32 and in
bfloat16, and both are divided into as many clusters as the study has, by the study's method.

Usage: python benchmarks/embedding.py [--part speed|memory|clusters] [--study SETTINGS] [--patients 300] [--repeats 5]
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import results
import token_data
import torch
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score
from time_and_memory import watched
from training_ours import matrix_rate
from transformers import RobertaPreLayerNormModel

from ehr_pipeline.clusters.methods import METHODS, checked
from ehr_pipeline.clusters.neighbour_graph import neighbour_graph
from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings import build
from ehr_pipeline.embeddings.embedding_job import EmbeddingJob, Inference
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.embeddings.pooling import pool_chunks
from ehr_pipeline.embeddings.vectors import WHOLE
from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.encoder.devices import keep_freed_memory
from ehr_pipeline.encoder.hardware_choices import precision_for
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.sequences import Sequences, cut
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study.settings import load
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import CLUSTERS, PATIENT_EMBEDDINGS
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary
from ehr_pipeline.work import jobs

CONCEPTS, BATCH_TOKENS, CPU = 36_058, 16_384, torch.device("cpu")
SETTINGS = EncoderSettings()
KINDS = ("float32", "bfloat16") if precision_for("auto", CPU) == "bfloat16" else ("float32",)
"""Precisions that are measured: bfloat16 only where the processor computes it faster."""
HOW = Inference(SETTINGS.context, SETTINGS.age_unit, SETTINGS.max_positions, BATCH_TOKENS, "float32")


@torch.no_grad()
def stock(model: Any, shard: Shard, patients: NDArray[np.int64], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Means (C, D) of the chosen tokens of each chunk, in the order of `cut`; zeros where none is chosen."""
    chunks = cut(shard, 0, patients, HOW.context)
    order = np.argsort(-chunks.length, kind="stable")
    sequences = Sequences((shard,), chunks, HOW.age_unit, HOW.max_positions)
    flags, means, begin = torch.from_numpy(chosen), [], 0
    while begin < len(order):
        size = max(1, BATCH_TOKENS // int(chunks.length[order[begin]]))
        some = chunks[order[begin : begin + size]]
        begin += size
        flat = sequences.select(some)
        cuts = np.cumsum(some.length)[:-1]
        tokens, positions = (
            torch.nn.utils.rnn.pad_sequence(
                [torch.from_numpy(part) for part in np.split(values, cuts)], batch_first=True
            )
            for values in (flat.tokens, flat.positions)
        )
        there = tokens > 0
        hidden = model(input_ids=tokens, position_ids=positions, attention_mask=there.long()).last_hidden_state.float()
        counted = (flags[tokens] & there).float()
        means.append((hidden * counted[..., None]).sum(1) / counted.sum(1).clamp(min=1)[:, None])
    return torch.cat(means).numpy()[np.argsort(order)]


def job(folder: Path) -> None:
    """The embedding job as the pipeline runs it, in a process of its own."""
    from ehr_pipeline.embeddings import embed

    embed.run(jobs.from_json(embed.run, (folder / "job.json").read_bytes()))


def write_job(folder: Path, patients: int, chosen: float) -> int:
    """A data set, a checkpoint and a cohort of everybody. Returns the tokens."""
    token_data.SHARD_TOKENS = 100_000
    data = token_data.Tokens.drawn(patients, CONCEPTS)
    paths = token_data.write(data, CONCEPTS + FIRST_CONCEPT, folder, held_out=1)
    vocabulary = Vocabulary.read(paths["vocabulary"])
    small = EncoderSettings(hidden_size=64, layers=2, heads=2, feed_forward=128)
    model = new_model(config_for(small, vocabulary.size, vocabulary.hash), 0)
    checkpoint.save(folder / "checkpoint", model, vocabulary)
    rows: dict[str, list[object]] = {name: [] for name in schemas.COHORT.names}
    for path in sorted((folder / "patients").glob("*.arrow")):
        for row, patient in enumerate(schemas.read(path, ["patient_id"]).column("patient_id").to_pylist()):
            for name, value in zip(rows, (patient, path.name, row, "x", ["x"], None), strict=True):
                rows[name].append(value)
    for part in ("whole", "half_a", "half_b"):
        (folder / "work" / part).mkdir(parents=True)
    described = EmbeddingJob(
        checkpoint=folder / "checkpoint",
        vocabulary=paths["vocabulary"],
        dataset=paths["dataset"],
        work=folder / "work",
        settings=Inference(256, "year", 514, batch_tokens=16384, precision="float32"),
        seed=0,
    )
    described.lay_out(Cohort(pa.table(rows, schema=schemas.COHORT)), flags(chosen).astype(np.float32))
    (folder / "job.json").write_text(jobs.as_json(described), encoding="utf-8")
    return len(data.tokens)


def flags(share: float) -> NDArray[np.bool_]:
    """Chosen concepts at random: `share` of the vocabulary."""
    chosen = np.zeros(CONCEPTS + FIRST_CONCEPT, bool)
    chosen[FIRST_CONCEPT:] = np.random.default_rng(1).random(CONCEPTS) < share
    return chosen


def products_per_token(pooled: float) -> float:
    """Floating-point operations of the layers' products for a token, `pooled` being the share that the last layer must finish."""
    d, f = SETTINGS.hidden_size, SETTINGS.feed_forward
    finished = SETTINGS.layers - 1 + pooled  # query, output and feed-forward; key and value are needed of every token
    return 2 * ((2 * d * d + 2 * d * f) * finished + 2 * d * d * SETTINGS.layers)


@dataclass(frozen=True)
class Sides:
    """The patients and, for each precision, the models of both sides."""

    shard: Shard
    patients: NDArray[np.int64]
    models: dict[str, tuple[Any, PackedEncoder]]

    @classmethod
    def made(cls, patients: int, scratch: Path) -> "Sides":
        """Patients drawn at random, and models with the same random weights."""
        data = token_data.Tokens.drawn(patients, CONCEPTS)
        token_data.write(data, CONCEPTS + FIRST_CONCEPT, scratch / "speed", held_out=1)
        path = next((scratch / "speed" / "patients").glob("*.arrow"))
        ours = PackedEncoder(new_model(config_for(SETTINGS, CONCEPTS + FIRST_CONCEPT, "x"), 0)).eval()
        checkpoint.save_model(scratch, ours.stock)
        models = {}
        for kind in KINDS:
            theirs: Any = RobertaPreLayerNormModel.from_pretrained(scratch, add_pooling_layer=False)
            models[kind] = (theirs.to(getattr(torch, kind)).eval(), ours)
        return cls(Shard.read(path), np.arange(patients), models)

    def timed(self, kind: str, chosen: NDArray[np.bool_]) -> tuple[float, float, float, int]:
        """Seconds of stock and of ours, the smallest cosine between their vectors, and the tokens pooled."""
        theirs, ours = self.models[kind]
        start = time.perf_counter()
        expected = stock(theirs, self.shard, self.patients, chosen)
        middle = time.perf_counter()
        found = pool_chunks(ours, self.shard, self.patients, chosen.astype(np.float32), replace(HOW, precision=kind))
        end = time.perf_counter()
        one, other = expected[np.abs(expected).sum(1) > 0], found.vectors_CD
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosine = float(((one * other).sum(1) / lengths).min())
        return middle - start, end - middle, cosine, int(found.tokens.sum())


def speed(options: argparse.Namespace, scratch: Path) -> str:
    """Both sides in turn, in each precision."""
    torch.set_num_threads(2)
    keep_freed_memory()
    sides = Sides.made(options.patients, scratch)
    lengths = cut(sides.shard, 0, sides.patients, HOW.context).length
    real, rows = int(lengths.sum()), []
    for share in options.chosen:
        for kind in KINDS:
            runs = [sides.timed(kind, flags(share)) for _ in range(options.repeats)]
            ratios = [theirs / ours for theirs, ours, *_ in runs]
            pooled = runs[0][3] / real
            rate = max(matrix_rate(2, getattr(torch, kind)) for _ in range(2))
            rows.append(
                (
                    f"{pooled:.0%}",
                    kind,
                    f"{real / median(theirs for theirs, *_ in runs):,.0f}",
                    f"{real / median(ours for _, ours, *_ in runs):,.0f}",
                    f"**{median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})",
                    f"{rate / products_per_token(pooled):,.0f}",
                    f"{min(cosine for *_, cosine, _ in runs):.6f}",
                )
            )
            print(rows[-1], flush=True)
    header = (
        "tokens pooled",
        "precision",
        "stock, real tokens/s",
        "ours",
        "times, turn by turn",
        "at most",
        "smallest cosine between their vectors",
    )
    return (
        f"{options.patients:,} patients, {real:,} tokens in {len(lengths):,} chunks of at most {HOW.context}; medians of"
        f" {options.repeats} runs in turn; 2 threads. At most: so many tokens a second would be the layers' products alone, at the"
        " machine's matrix rate (2048 x 2048) of the precision.\n\n" + results.table(header, rows)
    )


def memory(options: argparse.Namespace, scratch: Path) -> str:
    """Time and memory of the whole job, with four times as many patients beside it."""
    told = []
    for count in (2_000, 8_000):
        folder = scratch / str(count)
        tokens = write_job(folder, count, 0.25)
        seconds, peak = watched([sys.executable, __file__, "--job", str(folder)])
        told.append(f"{count:,} patients ({tokens:,} tokens) in {seconds:.0f} s with {peak / 1e9:.2f} GB")
    return (
        f"Whole records and both halves (hidden 64, 2 layers, shards of about 100,000 tokens): {'; '.join(told)}. Memory is the"
        " proportional set size of all processes."
    )


def clusters(options: argparse.Namespace, scratch: Path) -> str:
    """Whether the precision of the encoder changes a study's clusters."""
    pipeline = Pipeline(load(options.study))
    read, study = pipeline.read(PATIENT_EMBEDDINGS), pipeline.study
    number = int(Clusters.read(pipeline.require(CLUSTERS).path).numbers.max())
    alone = replace(study.embeddings.vectors, profile=0)
    variants = {"the study's vectors": study.embeddings.vectors, "the encoder's part alone": alone}
    rows = []
    for name, variant in variants.items():
        found, labels = {}, {}
        for kind in ("float32", "bfloat16"):
            out = scratch / name / kind
            (out / "work").mkdir(parents=True)
            described = pipeline.embedding_job(read, out / "work")
            described = replace(described, settings=replace(described.settings, precision=kind))
            settings = replace(study.embeddings, vectors=variant)
            build.build(read, settings, described, out, listed=pipeline.pooled_concepts, launch=pipeline.engine.launch)
            found[kind] = np.concatenate(
                [schemas.matrix(schemas.read(path)) for path in sorted((out / WHOLE).iterdir())]
            )
            unit = checked(found[kind], number)
            graph = neighbour_graph(unit, study.clusters.neighbours, study.study.seed, study.clusters.index)
            labels[kind] = METHODS[study.clusters.method](unit, graph, number, study.study.seed)
        one, other = (unit_length(vectors) for vectors in found.values())
        agreement = adjusted_rand_score(*labels.values())
        rows.append((name, f"{len(one):,}", f"{float((one * other).sum(1).min()):.6f}", f"**{agreement:.4f}**"))
    header = ("vectors", "patients", "smallest cosine between both", "adjusted Rand index between both divisions")
    return (
        f"The cohort of `{study.study.name}`, embedded in float32 and in bfloat16 by one checkpoint, and divided into"
        f" {number} clusters by the study's method.\n\n" + results.table(header, rows)
    )


PARTS = {"speed": speed, "memory": memory, "clusters": clusters}


def main() -> None:
    """Measure the parts, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(PARTS), help="only this part; the others stay as they are")
    parser.add_argument("--study", type=Path, help="settings of a study that has been run, for the part on clusters")
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--chosen", type=float, nargs="+", default=[0.04, 1.0], help="shares of the concepts that are pooled"
    )
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        job(options.job)
        return
    headings = {
        "speed": f"Speed on {results.machine()}",
        "memory": "The whole job",
        "clusters": "Clusters in both precisions",
    }
    wanted = [options.part] if options.part else [name for name in PARTS if name != "clusters" or options.study]
    for name in wanted:
        with tempfile.TemporaryDirectory() as scratch:
            results.write_part("embedding.py", "Embedding", headings[name], PARTS[name](options, Path(scratch)))


if __name__ == "__main__":
    main()
