"""The configuration: where it comes from, what is allowed, and what is said of problems."""
