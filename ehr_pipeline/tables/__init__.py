"""Tables: their columns and rows, and patients and codes as numbers."""
