"""Tests of `watcher.sanitize`."""
