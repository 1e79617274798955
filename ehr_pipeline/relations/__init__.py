"""Which concepts go together: counted in records, read from the encoder, and compared as graphs."""
