"""What is taken out of, cut from, or made harmless in other people's text, and secret values."""
