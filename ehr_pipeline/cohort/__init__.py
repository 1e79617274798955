"""Stage `cohort`: the patients whose vectors are computed."""
