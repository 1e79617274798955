"""Mapped events to one row for each patient, in Arrow; and the split into training and validation patients."""
