"""A study as its settings file describes it."""
