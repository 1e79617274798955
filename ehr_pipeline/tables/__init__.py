"""Rows and columns: what each table holds, and patients and codes as numbers."""
