"""The weights of a fine-tuned model, stored as the arrays that fine-tuning changed, to apply it to new patients.

fitted/<task>/<model>.safetensors     parameters of `heads.Tuned` that differ from their values in the checkpoint, and `offset`

`offset` holds weights of the vector of the history, which only a classifier has, and a constant. Both add to the log-odds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.errors import Damaged
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.predictions.heads import Floats, Tuned
from ehr_pipeline.predictions.query_at_mask import laid
from ehr_pipeline.store import durable

OFFSET = "offset"


def save(path: Path, tuned: Tuned, before: Mapping[str, Tensor], offset: Floats) -> None:
    """Write the parameters that differ from their values `before` fine-tuning: the file appears complete or not at all."""
    parameters = dict(tuned.named_parameters())
    changed = {
        name: parameters[name].detach().cpu()
        for name, plain in before.items()
        if not torch.equal(parameters[name], plain)
    }
    with durable.complete(path) as beside:
        save_file({**changed, OFFSET: torch.from_numpy(np.ascontiguousarray(offset))}, beside)


@dataclass(frozen=True)
class TunedModel:
    """A fine-tuned model of a task, on its device."""

    tuned: Tuned
    offset: Floats

    @classmethod
    def read(cls, path: Path, encoder: PackedEncoder, head: str, tokens: Sequence[int], *, stops: bool) -> "TunedModel":
        """Load a fine-tuned model: the encoder, with the weights in the file replacing its own. Raises Damaged."""
        tuned = Tuned(encoder, head, np.array(tokens, np.int64), stops=stops, precision="float32")
        try:
            arrays = load_file(path)
            offset = arrays.pop(OFFSET).numpy()
            wrong = tuned.load_state_dict(arrays, strict=False).unexpected_keys
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise Damaged(
                f"{path}: the fine-tuned weights cannot be read. Rebuild task_results (ehr-pipeline run)."
            ) from error
        if wrong:
            raise Damaged(
                f"{path}: the fine-tuned weights belong to another encoder. Rebuild task_results (ehr-pipeline run)."
            )
        return cls(tuned.eval(), offset)

    @property
    def reads_vectors(self) -> bool:
        """Whether the model uses the vectors of histories, as a classifier does."""
        return len(self.offset) > 1

    def log_odds(
        self, histories: Shard, day: NDArray[np.integer], how: tuple[Inference, int], vectors: NDArray[np.float32]
    ) -> Floats:
        """Return the log-odds (n,) of histories on the given days, before recalibration.

        `how`: how the encoder is run, and the number of tokens before the mask. `vectors` (n, D) of the histories, from the encoder
        without fine-tuning; (n, 0) if the model does not use them.
        """
        self.tuned.precision = how[0].precision
        sequences = laid([histories], [day], *how, mask=self.tuned.head != "sum")
        odds = self.tuned.odds(sequences, np.arange(len(day)), how[0])
        log_odds_: Floats = odds + vectors @ self.offset[:-1] + self.offset[-1]
        return log_odds_
