"""Checks of artifacts. The same checks appear in Dagster's UI, protect every stage that reads an artifact, and run in CI.

A check is a function that reads a published artifact and reports what it finds. A check is blocking if its failure would make
downstream results wrong: nothing is built on an artifact that failed a blocking check. An asset's declaration (assets/) lists its
checks.
"""
