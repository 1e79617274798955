"""How fast are patients embedded? Real tokens a second of forward passes: ours beside the stock class with padding.

Both sides: the published shape (12.6 M parameters, random weights), the same chunks of the same patients, batches of as many slots,
float32 on a CPU, and the mean over the chosen tokens of each chunk. The stock side is `RobertaPreLayerNormModel` with its default
attention, each batch padded to its longest chunk. Ours is `pool_chunks`: packed rows, and a last layer for chosen tokens only. The
vectors of both are compared, and the matrix rate of the machine says how fast any float32 could be. Then the whole job on synthetic
patients in several shards: patients a second, and the memory of all processes with one and with four times as many patients.

Usage: python benchmarks/embedding.py [--patients 400] [--repeats 3] [--chosen 0.04 1.0]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import results
import token_data
import torch
from numpy.typing import NDArray
from time_and_memory import watched
from training_ours import matrix_rate
from transformers import RobertaPreLayerNormModel

from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.embeddings.embedding_job import EmbeddingJob, Inference
from ehr_pipeline.embeddings.pooling import pool_chunks
from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.encoder.devices import keep_freed_memory
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.sequences import Sequences, cut
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary
from ehr_pipeline.work import jobs

CONCEPTS, BATCH_TOKENS, CPU = 36_058, 16_384, torch.device("cpu")
SETTINGS = EncoderSettings()
HOW = Inference(SETTINGS.context, SETTINGS.age_unit, SETTINGS.max_positions, BATCH_TOKENS, "float32")


@torch.no_grad()
def stock(model: Any, shard: Shard, patients: NDArray[np.int64], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Means (C, D) of the chosen tokens of each chunk, by the stock class with padding; zeros where none is chosen."""
    chunks, size = cut(shard, 0, patients, HOW.context), BATCH_TOKENS // HOW.context
    sequences = Sequences((shard,), chunks, HOW.age_unit, HOW.max_positions)
    flags, means = torch.from_numpy(chosen), []
    for begin in range(0, len(chunks), size):
        some = chunks[begin : begin + size]
        flat = sequences.select(some)
        cuts = np.cumsum(some.length)[:-1]
        tokens, positions = (
            torch.nn.utils.rnn.pad_sequence(
                [torch.from_numpy(part) for part in np.split(values, cuts)], batch_first=True
            )
            for values in (flat.tokens, flat.positions)
        )
        there = tokens > 0
        hidden = model(input_ids=tokens, position_ids=positions, attention_mask=there.long()).last_hidden_state
        counted = (flags[tokens] & there).float()
        means.append((hidden * counted[..., None]).sum(1) / counted.sum(1).clamp(min=1)[:, None])
    return torch.cat(means).numpy()


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


def main() -> None:
    """Measure both sides in turn, then the job, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--chosen", type=float, nargs="+", default=[0.04, 1.0], help="shares of the concepts that are pooled"
    )
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        job(options.job)
        return
    torch.set_num_threads(2)
    keep_freed_memory()
    rate = matrix_rate(2, torch.float32)
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as scratch:
        data = token_data.Tokens.drawn(options.patients, CONCEPTS)
        token_data.write(data, CONCEPTS + FIRST_CONCEPT, Path(scratch) / "speed", held_out=1)
        path = next((Path(scratch) / "speed" / "patients").glob("*.arrow"))
        shard, patients = Shard.read(path), np.arange(options.patients)
        model = PackedEncoder(new_model(config_for(SETTINGS, CONCEPTS + FIRST_CONCEPT, "x"), 0)).eval()
        checkpoint.save_model(Path(scratch), model.stock)
        theirs: Any = RobertaPreLayerNormModel.from_pretrained(scratch, add_pooling_layer=False)
        theirs.eval()
        real = int(cut(shard, 0, patients, HOW.context).length.sum())
        slots = len(cut(shard, 0, patients, HOW.context)) * HOW.context
        for share in options.chosen:
            chosen, times = flags(share), {"stock": [], "ours": []}  # type: ignore[var-annotated]
            for _ in range(options.repeats):
                start = time.perf_counter()
                expected = stock(theirs, shard, patients, chosen)
                times["stock"].append(time.perf_counter() - start)
                start = time.perf_counter()
                found = pool_chunks(model, shard, patients, chosen.astype(np.float32), HOW)
                times["ours"].append(time.perf_counter() - start)
            largest = float(np.abs(expected[np.abs(expected).sum(1) > 0] - found.vectors_CD).max())
            one, other = (min(times[side]) for side in ("stock", "ours"))
            pooled = int(found.tokens.sum()) / real
            ceiling = max(rate, matrix_rate(2, torch.float32)) / products_per_token(pooled)
            rows.append(
                (
                    f"{pooled:.0%}",
                    f"{real / one:,.0f}",
                    f"{real / other:,.0f}",
                    f"**{one / other:.2f}**",
                    f"{ceiling * one / real:.1f}",
                    f"{largest:.1e}",
                )
            )
            print(rows[-1], flush=True)
        memory = []
        for count in (2_000, 8_000):
            folder = Path(scratch) / str(count)
            tokens = write_job(folder, count, 0.25)
            seconds, peak = watched([sys.executable, __file__, "--job", str(folder)])
            memory.append(f"{count:,} patients ({tokens:,} tokens) in {seconds:.0f} s with {peak / 1e9:.2f} GB")
    header = ("tokens pooled", "stock with padding, real tokens/s", "ours", "times", "at most", "largest difference")
    text = (
        f"{options.patients:,} patients, {real:,} tokens, {1 - real / slots:.0%} padding in rows of 256 slots; the best of"
        f" {options.repeats} runs in turn; 2 threads.\n\n"
        + results.table(header, rows)
        + f"\n\nAt most: so many times the stock's speed is what the machine's matrix rate ({rate / 1e9:.0f} GFLOP/s in float32,"
        " 2048 x 2048) allows the layers' products alone, were attention and all else for nothing."
        + "\n\nThe job, whole records and both halves"
        f" (hidden 64, 2 layers, shards of about 100,000 tokens): {'; '.join(memory)}."
    )
    results.write("embedding.py", "Embedding", text)


if __name__ == "__main__":
    main()
