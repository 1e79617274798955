"""A study, as described by its settings file."""
