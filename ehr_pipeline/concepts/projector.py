"""Files for the TensorBoard embedding projector: `tensorboard --logdir projector`, or upload them at projector.tensorflow.org."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary


def write(
    folder: Path, vocabulary: Vocabulary, vectors: NDArray[np.float32], sets: dict[str, NDArray[np.int64]]
) -> None:
    """Write vectors and labels of each set of token ids, and the configuration that lists them. The files contain no counts."""
    folder.mkdir(parents=True)
    configuration = []
    for name, tokens in sets.items():
        np.savetxt(folder / f"{name}.tsv", vectors[tokens], fmt="%.5g", delimiter="\t")
        with (folder / f"{name}_labels.tsv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, escapechar=" ")
            writer.writerow(("name", "concept", "semantic_type"))
            for token in tokens.tolist():
                concept = vocabulary.concepts[token - FIRST_CONCEPT]
                types = "; ".join(TYPE_NAMES.get(tui, tui) for tui in concept.semantic_types)
                writer.writerow((spreadsheet.text(concept.name), spreadsheet.text(concept.concept), types or "untyped"))
        configuration.append(
            f'embeddings {{\n  tensor_name: "{name}"\n  tensor_path: "{name}.tsv"\n  metadata_path: "{name}_labels.tsv"\n}}\n'
        )
    (folder / "projector_config.pbtxt").write_text("".join(configuration), encoding="utf-8")
