"""Tests of the commands in one process."""
