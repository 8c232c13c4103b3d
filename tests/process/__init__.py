"""Tests of the real `watcher` as a process of its own."""
