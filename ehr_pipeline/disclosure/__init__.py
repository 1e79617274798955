"""What may leave the data: figures as they are shown, small counts hidden, texts made harmless."""
