"""Tests of `watcher.messages`."""
