"""From mapped events to the vocabulary: the concepts kept, their token ids, and why the others were dropped."""

from ehr_pipeline.disclosure.kinds import Declared, Events, Plain
from ehr_pipeline.tables.asset_names import VOCABULARY

COUNTED: dict[str, Declared] = {VOCABULARY: {"events": Events, "*": Plain}}
