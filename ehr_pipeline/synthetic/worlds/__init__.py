"""Worlds of synthetic patients with known truth, each a plan that combines mechanisms; docs/worlds.md describes them.

A mechanism is one module. Patients come in blocks of BLOCK; the random numbers of a block are keyed by (seed, mechanism, block), so
that a mechanism that is added leaves what the others draw as it is, and memory does not grow with the number of patients.
"""
