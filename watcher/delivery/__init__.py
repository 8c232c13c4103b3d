"""Delivering: the outbox is drained by one worker for each notifier."""
