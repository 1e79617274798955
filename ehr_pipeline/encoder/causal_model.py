"""Define a transformers model class with causal attention by visit: a token sees its own and earlier visits, never later ones.

The weights have the names and shapes of the stock class (RobertaPreLayerNormForMaskedLM), but the stock class cannot run them,
because its tokens see the whole record. So the configuration has its own `model_type`, and importing this module registers the
class for AutoModelForMaskedLM.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForMaskedLM, RobertaPreLayerNormConfig, RobertaPreLayerNormForMaskedLM

from ehr_pipeline.encoder.configuration import CAUSAL_MODEL_TYPE
from ehr_pipeline.encoder.model import visibility


class LookingBackConfig(RobertaPreLayerNormConfig):  # type: ignore[no-untyped-call]
    """The stock configuration with a separate `model_type`."""

    model_type: ClassVar[str] = CAUSAL_MODEL_TYPE


class LookingBackForMaskedLM(RobertaPreLayerNormForMaskedLM):  # type: ignore[no-untyped-call]
    """The stock class with attention to the same and earlier visits only. Axes: B patients, T tokens."""

    config_class = LookingBackConfig

    def forward(self, input_ids: Tensor, visit_ids: Tensor, attention_mask: Tensor | None = None, **others: Any) -> Any:
        """Compute as the stock class does (see there). `visit_ids` (B, T) number each patient's visits in order, from 0.

        `attention_mask` (B, T) is 1 for tokens and 0 for padding. To predict a patient's next visit, append [MASK] at the age in
        question, as a separate visit.
        """
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        unseen = visibility(real, self.dtype, 2 * visit_ids + 1)
        return super().forward(input_ids=input_ids, attention_mask=unseen, **others)


AutoConfig.register(CAUSAL_MODEL_TYPE, LookingBackConfig)
AutoModelForMaskedLM.register(LookingBackConfig, LookingBackForMaskedLM)
