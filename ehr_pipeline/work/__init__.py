"""Work in pieces: jobs, buckets of patients, progress."""
