"""The model, crashes, kills, hostile peers and fuzzing."""
