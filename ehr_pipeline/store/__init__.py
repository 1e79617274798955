"""Artifacts on the disk: made once, published whole, found again, checked."""
