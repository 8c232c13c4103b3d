"""Tests of `watcher.polling`."""
