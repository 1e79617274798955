"""SNOMED identifiers, terminology files (UMLS, RF2, OMOP, OBO), semantic types, and concept lists for clinicians to review."""
