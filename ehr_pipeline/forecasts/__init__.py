"""Stage `forecasts`: forecast the next concepts of patients unseen in training, by the encoder and by counting; compare."""

from ehr_pipeline.disclosure.kinds import Declared, People, Plain, Score
from ehr_pipeline.tables.asset_names import FORECASTS

COUNTED: dict[str, Declared] = {
    FORECASTS: {
        "counted": People,
        "tuned": People,
        "followed": {"*": People},
        "gap_days": Plain,
        "recall": {"*": {"*": Score}},
        "*": People,
    }
}
