"""Tells people when a Dynamiq agent run waits for a human."""

__version__ = "0.1.0"
