"""Artifacts on disk: each is made once, published whole, found again when needed, and checked before it is read."""
