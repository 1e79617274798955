"""Worlds of synthetic patients with known truth. A world is a plan that combines mechanisms; docs/worlds.md describes them.

Each mechanism is one module. Patients come in blocks of BLOCK, and the random numbers of a block are keyed by (seed, mechanism,
block): adding a mechanism does not change what the others draw, and memory does not grow with the number of patients.
"""
