"""Concept vectors of the encoder: nearest neighbours, projector files, a picture."""
