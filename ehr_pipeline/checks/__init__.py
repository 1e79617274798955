"""Checks of artifacts. The same checks appear in the Dagster UI, gate every stage that reads an artifact, and run in CI.

A check is a function that reads a published artifact and reports its findings. A check is blocking if its failure would
make downstream results wrong: nothing is built on an artifact that failed a blocking check. The declaration of an asset
(assets/) lists its checks.
"""
