"""SNOMED ids, terminology files (UMLS, RF2, OMOP, OBO), semantic types, and concept lists that a clinician can review."""
