"""Stage `predictions`: what the encoder and simpler models predict of clinical tasks, side by side on the same patients."""
