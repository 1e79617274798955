"""Stage `forecasts`: which concepts will be recorded next, as the encoder and as counting foresee it, on patients it never saw."""

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
