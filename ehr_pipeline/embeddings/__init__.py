"""The cohort, and one vector for each of its patients.

Needs torch, transformers, numpy and pyarrow only: this is what runs on GPU workers.
"""
