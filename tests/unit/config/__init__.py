"""Tests of `watcher.config`."""
