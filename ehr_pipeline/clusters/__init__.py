"""Clusters of the cohort's patients, their map, and how far they can be trusted."""
