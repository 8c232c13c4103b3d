"""Tests of one process, without sockets."""
