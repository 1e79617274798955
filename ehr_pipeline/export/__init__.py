"""Export the pipeline's artifacts in formats that other tools read."""
