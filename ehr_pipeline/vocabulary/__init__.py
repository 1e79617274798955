"""Mapped events to the vocabulary: which concepts stay, under which token id, and why the others went."""

from ehr_pipeline.disclosure.kinds import Declared, Events, Things

COUNTED: dict[str, Declared] = {"vocabulary": {"events": Events, "*": Things}}
