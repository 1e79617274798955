"""Checks of artifacts. The same checks appear in the Dagster UI, gate every stage that reads an artifact, and run in CI.

A check is a function that reads a published artifact and reports what it found. A check blocks if its failure would
make downstream results wrong: nothing is built on an artifact that failed it. Each asset's declaration lists its checks
(assets/).
"""
