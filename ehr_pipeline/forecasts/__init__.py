"""Stage `forecasts`: forecast the next recorded concepts of patients unseen in training, by the encoder and by counting, and
compare."""

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
