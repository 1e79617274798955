"""Runs of the chain, without Dagster: each asset that is declared in `assets` is made from its inputs, or kept."""
