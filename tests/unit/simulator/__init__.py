"""Tests of the simulator in one process, without a network."""
