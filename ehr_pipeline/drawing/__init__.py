"""Draw pictures that several stages use."""
