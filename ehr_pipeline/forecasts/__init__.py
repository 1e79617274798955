"""Stage `forecasts`: compare encoder and counting in forecasting the next recorded concepts, on patients unseen in training."""

from ehr_pipeline.disclosure.kinds import Declared, People, Score, Things
from ehr_pipeline.tables.asset_names import FORECASTS

COUNTED: dict[str, Declared] = {
    FORECASTS: {
        "counted": People,
        "tuned": People,
        "followed": {"*": People},
        "gap_days": Things,
        "recall": {"*": {"*": Score}},
        "*": People,
    }
}
