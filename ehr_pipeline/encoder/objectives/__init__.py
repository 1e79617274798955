"""What an encoder can be trained to do: a file for each objective (`base` says what it holds), and a line in OBJECTIVES."""

from collections.abc import Callable

import torch

from ehr_pipeline.encoder.objectives.base import Objective as Objective
from ehr_pipeline.encoder.objectives.masked import Masked
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.vocabulary.table import Vocabulary

OBJECTIVES: dict[str, Callable[[EncoderSettings, Vocabulary], Objective]] = {"masked": Masked}


def objective_of(settings: EncoderSettings, vocabulary: Vocabulary, seed: int) -> Objective:
    """The objective of a training: a function of settings and seed. There is one so far, so no setting names it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return OBJECTIVES["masked"](settings, vocabulary)
