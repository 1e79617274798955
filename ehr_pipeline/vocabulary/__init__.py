"""Mapped events to the vocabulary: which concepts stay, under which token id, and why the others went."""
