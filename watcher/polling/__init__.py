"""Polling: when an app is polled, and what one poll does."""
