"""Does the demo's checkpoint fill a masked concept sensibly? Each planted companion is hidden beside the others of its group.

Loaded as a stranger would: stock `AutoModelForMaskedLM` and `AutoTokenizer`, ages given as position ids. The rank of the hidden
concept in the whole vocabulary is compared with its rank by frequency alone.

Usage: python benchmarks/fill_concepts.py [--study data/studies/demo]
"""

import argparse
from pathlib import Path

import numpy as np
import results
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from ehr_pipeline.clusters.planted import PlantedGroups
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.vocabulary.table import Vocabulary

AGE = 50


def main() -> None:
    """Ask for every companion, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("data/studies/demo"))
    options = parser.parse_args()
    store = Store(options.study / "store")
    folder = store.current("encoder_checkpoint").file("checkpoint")
    vocabulary = Vocabulary.read(store.current("vocabulary").path)
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ranks, by_frequency, examples = [], [], []
    for group, named in PlantedGroups.read(options.study / "truth").companions.items():
        companions = [concept for concept in named if concept in vocabulary.token_of]
        for hidden in companions:
            asked = ["[MASK]", *(concept for concept in companions if concept != hidden)]
            tokens = tokenizer(" ".join(asked), return_tensors="pt")["input_ids"]
            with torch.no_grad():
                scores = model(input_ids=tokens, position_ids=torch.full_like(tokens, AGE + 1)).logits[0, 0]
            target = vocabulary.token_of[hidden]
            ranks.append(int((scores > scores[target]).sum()) + 1)
            by_frequency.append(target - vocabulary.concepts[0].token_id + 1)  # token ids are in order of frequency
        best = ", ".join(vocabulary.name(token) for token in scores.topk(3).indices.tolist())
        examples.append((group, ", ".join(map(vocabulary.name, tokens[0, 1:].tolist())), vocabulary.name(target), best))
    found = np.array(ranks)
    text = (
        f"{len(ranks)} planted companions of the vocabulary, each hidden beside the others of its group (age {AGE}): found first"
        f" {np.mean(found == 1):.0%}, among the first three {np.mean(found <= 3):.0%},"
        f" **among the first ten {np.mean(found <= 10):.0%}**; median rank"
        f" {np.median(found):.0f}, by frequency alone {np.median(by_frequency):.0f}, of {len(vocabulary.concepts):,} concepts.\n\n"
    )
    header = ("group", "given", "hidden", "the model's first three")
    results.write("fill_concepts.py", "Filling a masked concept", text + results.table(header, examples))


if __name__ == "__main__":
    main()
