"""Tests of `watcher.runs_api`."""
