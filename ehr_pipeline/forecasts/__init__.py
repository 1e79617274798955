"""Stage `forecasts`: forecast the next concepts of patients unseen in training, by the encoder and by counting; compare."""

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
