"""SNOMED identifiers, UMLS files, semantic types, and concept lists that a clinician can review."""
