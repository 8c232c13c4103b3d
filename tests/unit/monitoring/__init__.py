"""Tests of `watcher.monitoring`."""
