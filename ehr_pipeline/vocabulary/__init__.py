"""Mapped events to the vocabulary: which concepts stay, under which token id, and why the others went."""

from ehr_pipeline.disclosure.kinds import Declared, Events, Things
from ehr_pipeline.tables.asset_names import VOCABULARY

COUNTED: dict[str, Declared] = {VOCABULARY: {"events": Events, "*": Things}}
