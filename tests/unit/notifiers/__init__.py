"""Tests of `watcher.notifiers`."""
