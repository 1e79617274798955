"""Exports of the chain's artifacts in formats that other tools read."""
