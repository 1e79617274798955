"""Vectors of names by a sentence encoder that the user supplies: a folder in the format of transformers. Nothing is downloaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.errors import InputError

BATCH, LONGEST = 64, 64
"""Names encoded at a time; and tokens of a name that are read, at most."""


@dataclass(frozen=True)
class SentenceEncoder:
    """A tokenizer and a model."""

    tokenizer: Any
    model: Any

    def vectors(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors (n, D) of names. Each is the mean over the tokens of the name (Reimers & Gurevych 2019)."""
        import torch

        blocks = []
        for begin in range(0, len(names), BATCH):
            some = list(names[begin : begin + BATCH])
            inputs = self.tokenizer(some, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
            with torch.inference_mode():
                hidden = self.model(**inputs).last_hidden_state.float()
            real = inputs["attention_mask"][:, :, None].float()
            blocks.append(((hidden * real).sum(1) / real.sum(1).clamp(min=1)).numpy())
        return np.concatenate(blocks)


def files(folder: Path) -> list[Path]:
    """Return the files of the encoder, in order. Raises InputError if the folder holds none."""
    paths = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    if not paths:
        raise InputError(
            f"{folder}: this folder contains no sentence encoder. Set relations.sentence_encoder to a folder with config.json,"
            " model.safetensors and tokenizer.json."
        )
    return paths


def load(folder: Path) -> SentenceEncoder:
    """Read an encoder. Raises InputError if it cannot be read."""
    from transformers import AutoModel, AutoTokenizer

    files(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return SentenceEncoder(tokenizer, AutoModel.from_pretrained(folder, local_files_only=True).eval())
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder} (relations.sentence_encoder): transformers cannot load this as a sentence encoder ({error}). Check that"
            " the folder is complete."
        ) from error
