"""The stock class of transformers with the weights of an encoder, to compare with."""

import json
import tempfile
from pathlib import Path
from typing import Any

from transformers import RobertaPreLayerNormConfig, RobertaPreLayerNormForMaskedLM

from ehr_pipeline.encoder import configuration
from ehr_pipeline.encoder.configuration import ModelConfig
from ehr_pipeline.encoder.model import PackedEncoder


def stock_config(config: ModelConfig) -> RobertaPreLayerNormConfig:
    with tempfile.TemporaryDirectory() as folder:
        config.write(Path(folder))
        return RobertaPreLayerNormConfig.from_dict(json.loads((Path(folder) / configuration.FILE).read_text()))


def stock_of(model: PackedEncoder) -> Any:
    """The stock class, which shares the parameters of `model`."""
    stock = RobertaPreLayerNormForMaskedLM(stock_config(model.stock.config)).train(model.training)
    stock.load_state_dict(dict(model.stock.named_parameters()), strict=False, assign=True)
    stock.tie_weights()
    assert dict(stock.named_parameters()).keys() == dict(model.stock.named_parameters()).keys()
    return stock
