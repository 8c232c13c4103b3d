"""The tests of the watcher."""
