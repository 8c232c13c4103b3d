"""The client of the Runs API."""
