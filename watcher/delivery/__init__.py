"""Delivering: one worker for each notifier sends what is due in the outbox."""
