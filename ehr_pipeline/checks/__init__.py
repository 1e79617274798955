"""What must hold of every artifact. The same checks show in the Dagster UI, gate every consumer, and run in CI.

A check is a function that reads a published artifact and tells what it found. Blocking checks are those whose failure would
ruin what follows: nothing is built on an artifact that failed one. Which checks an asset has stands in its declaration (assets/).
"""
