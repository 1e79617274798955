"""What may leave the data: figures in the form in which they are shown, small counts hidden, texts made harmless."""
