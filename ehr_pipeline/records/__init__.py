"""Raw delimited text to typed columns, hash-bucketed by patient; what cannot be used goes to a quarantine with a reason."""
