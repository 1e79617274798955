"""What a clinician reads: enriched concepts of each cluster, pictures, the bias audit, one HTML page."""
