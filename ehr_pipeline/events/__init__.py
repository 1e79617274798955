"""Typed records to mapped events: every code becomes a UMLS concept, its own token, or a counted loss."""
