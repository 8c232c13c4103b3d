"""Tests of `watcher.store`."""
