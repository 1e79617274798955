"""Read patient vectors, for later stages."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import align, json_files, schemas

WHOLE, HALVES = "embeddings", ("half_a", "half_b")
"""Folders of the artifact: vectors of whole records, and of the two halves of the split-half test."""
ARRAYS, FACTS = "transform.safetensors", "transform.json"
"""Files with what the transform of the vectors has learned (`transform`)."""
SHARE = "encoder_share"
"""Name of the setting for the encoder's share, and of the count with the share chosen (`encoder_share.ChosenShare`), if any."""
SELECTED, SELECTED_CONCEPTS = "selected.json", "selected_concepts.csv"
"""Files with the token ids that are pooled into vectors: the ids alone, and with concepts and names."""
_COLUMNS = pa.schema([("patient_id", pa.string())])


@dataclass(frozen=True)
class Vectors:
    """One vector for each patient, in order of shard and row. Shards are mapped into memory; only requested rows are copied."""

    shards: tuple[pa.Table, ...]

    @classmethod
    def read(cls, embeddings: Artifact, folder: str = WHOLE) -> "Vectors":
        """Map a folder of a `patient_embeddings` artifact into memory. Raises Damaged when a shard is not valid."""
        return cls(tuple(schemas.read_as(path, _COLUMNS) for path in embeddings.files(folder)))

    @cached_property
    def ids(self) -> pa.Array:
        """Patient ids (n,)."""
        return pa.concat_arrays([align.one_chunk(shard.column("patient_id")) for shard in self.shards])

    def all(self) -> NDArray[np.float32]:
        """All vectors (n, D), in the order of `ids`."""
        return np.concatenate([schemas.matrix(shard) for shard in self.shards])

    def of(self, ids: pa.Array) -> NDArray[np.float32]:
        """Return the vectors (m, D) of the patients `ids`, in that order. Raises UserError for a patient without a vector."""
        row = align.every_row(ids, self.ids)
        order = np.argsort(row, kind="stable")
        starts = np.cumsum([0, *(shard.num_rows for shard in self.shards)])
        bounds = np.searchsorted(row[order], starts)
        vectors = np.empty((len(row), self.width), np.float32)
        for shard, start, begin, end in zip(self.shards, starts[:-1], bounds[:-1], bounds[1:], strict=True):
            rows = order[begin:end]
            vectors[rows] = schemas.matrix(shard)[row[rows] - start]
        return vectors

    @property
    def width(self) -> int:
        """Length of each vector."""
        return int(self.shards[0].schema.field("vector").type.list_size)


def settings_of(embeddings: Artifact) -> dict[str, Any]:
    """Return the settings by which a `patient_embeddings` artifact's vectors were made, with the encoder's chosen share."""
    settings: dict[str, Any] = embeddings.manifest["settings"]["vectors"]
    return settings | ({SHARE: embeddings.counts[SHARE]["share"]} if SHARE in embeddings.counts else {})


def pooled_tokens(folder: Path) -> list[int]:
    """Read the token ids whose vectors are pooled into an artifact's patient vectors, in ascending order."""
    tokens: list[int] = json_files.read(folder / SELECTED)
    return tokens
