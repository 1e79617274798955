"""Artifacts on disk: built once, published atomically, reused, and checked before reading."""
