"""The encoder: masked language modelling on the concepts of patients, from scratch.

Needs torch, transformers, numpy and pyarrow only: this is what runs on GPU workers.
"""
