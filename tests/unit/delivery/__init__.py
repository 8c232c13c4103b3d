"""Tests of `watcher.delivery`."""
