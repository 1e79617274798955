"""Training objectives of the encoder: a module for each (interface: see `base`), and a line in OBJECTIVES."""

from collections.abc import Callable

import torch

from ehr_pipeline.encoder.objectives.base import Objective as Objective
from ehr_pipeline.encoder.objectives.masked import Masked
from ehr_pipeline.encoder.objectives.next_visit import NextVisit
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.vocabulary.table import Vocabulary

OBJECTIVES: dict[str, Callable[[EncoderSettings, Vocabulary], Objective]] = {"masked": Masked, "next_visit": NextVisit}


def objective_of(settings: EncoderSettings, vocabulary: Vocabulary, seed: int) -> Objective:
    """Return the objective that the settings name. Its parameters depend only on the arguments."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return OBJECTIVES[settings.objective](settings, vocabulary)
