"""The parts of `operating.py`: each measures one thing about running a study, and returns the text of its results."""
