"""Tables: their columns, the order of their rows, and patients and codes as numbers; and loops compiled for them."""
