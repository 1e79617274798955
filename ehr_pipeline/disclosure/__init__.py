"""Decide what people may see: figures rounded, small counts suppressed, texts made harmless."""
