"""Training objectives of the encoder. Each has a module (for the interface, see `base`) and a line in OBJECTIVES or AUXILIARY."""

from collections.abc import Callable

import torch

from ehr_pipeline.encoder.objectives.base import Loss
from ehr_pipeline.encoder.objectives.base import Objective as Objective
from ehr_pipeline.encoder.objectives.contrastive import SEX, Contrastive
from ehr_pipeline.encoder.objectives.masked import Masked
from ehr_pipeline.encoder.objectives.metadata import Metadata
from ehr_pipeline.encoder.objectives.next_visit import NextVisit
from ehr_pipeline.encoder.objectives.weighted import WeightedSum
from ehr_pipeline.encoder.patient_attributes import Traits
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.vocabulary.table import Vocabulary

OBJECTIVES: dict[str, Callable[[EncoderSettings, Vocabulary], Objective]] = {"masked": Masked, "next_visit": NextVisit}
AUXILIARY: dict[str, Callable[[EncoderSettings, Traits], Loss]] = {"contrastive": Contrastive, "metadata": Metadata}
"""Additional losses that can be combined with an objective, by the names of their settings."""


def traits_of(settings: EncoderSettings) -> tuple[str, ...]:
    """Return the attributes of patients that the losses of the settings need."""
    compared = (SEX,) if settings.contrastive.weight and settings.contrastive.like_age else ()
    return tuple(dict.fromkeys((*compared, *settings.predicted)))


def objective_of(
    settings: EncoderSettings, vocabulary: Vocabulary, seed: int, traits: Traits | None = None
) -> Objective:
    """Return the objective in the settings, with its additional losses. Its parameters depend only on the arguments."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        objective = OBJECTIVES[settings.objective](settings, vocabulary)
        weighted = {
            name: (weight, AUXILIARY[name](settings, traits or Traits()))
            for name, weight in settings.auxiliary_weights.items()
        }
        return WeightedSum(settings.objective, objective, weighted, settings.context) if weighted else objective
