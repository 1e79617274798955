"""Stage `encoder_checkpoint`: train a transformer from scratch to predict concepts of patients' records.

This package needs only torch, transformers, numpy and pyarrow, because it runs on GPU workers.
"""

from ehr_pipeline.disclosure.kinds import Declared, Events, Plain, Score
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT

COUNTED: dict[str, Declared] = {
    ENCODER_CHECKPOINT: {
        "parameters": Plain,
        "epochs": Plain,
        "tokens_added": Plain,
        "transfer": {
            "matched": Plain,
            "not_matched": Plain,
            "share_of_events": Score,
            "explained_by_names": Score,
            "*": Plain,
        },
        "validation_*": Score,
        "baseline_*": Score,
        "padding_share": Score,
        "*": Events,
    }
}
