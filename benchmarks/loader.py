"""Can the loader keep up with a GPU? Real tokens a second that one process makes ready: shuffled, packed, masked.

The data set lies in memory-mapped files, as in training; nothing is computed with the batches. Beside it: the peer's loader
(meds-torch-data) as measured for ../shared/anchors.md, 303,000 tokens/s.

Usage: python benchmarks/loader.py [--patients 40000] [--repeats 3]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import results
import token_data

from ehr_pipeline.encoder import loader
from ehr_pipeline.encoder.settings import EncoderSettings

CONCEPTS, PEER = 36_058, 303_000


def main() -> None:
    """Time whole epochs, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=40_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    settings = EncoderSettings()
    with tempfile.TemporaryDirectory() as scratch:
        data = token_data.Tokens.drawn(options.patients, CONCEPTS)
        paths = token_data.write(data, CONCEPTS + 5, Path(scratch))
        sequences = token_data.opened(paths, settings, "train")
        plan = loader.Plan(settings.context, settings.tokens_per_step // settings.context, 16)
        objective = token_data.masked(settings, CONCEPTS + 5)
        rates, own, real, slots = [], [], 0, 0
        for epoch in range(options.repeats):
            start, cpu, real, slots = time.perf_counter(), time.process_time(), 0, 0
            for update in loader.updates(sequences, objective, plan, seed=0, epoch=epoch):
                real, slots = real + update.real_tokens, slots + update.slots
            rates.append(real / (time.perf_counter() - start))
            own.append(real / (time.process_time() - cpu))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    each = ", ".join(f"{rate / 1e6:.1f}" for rate in rates)
    text = (
        f"{options.patients:,} patients, {real:,} tokens, {len(sequences.shards)} shards, updates of"
        f" {settings.tokens_per_step:,} slots; {options.repeats} epochs.\n\n"
        f"**{max(rates) / 1e6:.1f} M real tokens/s** at best ({each}):"
        f" {max(rates) / PEER:.0f} times the peer's {PEER:,}; {max(own) / 1e6:.1f} M a"
        f" second of the process's own time, which others cannot take. Padding: {1 - real / slots:.2%} of the slots. Memory of"
        f" the whole process: {memory:.2f} GB."
    )
    results.write("loader.py", "The loader", text)


if __name__ == "__main__":
    main()
