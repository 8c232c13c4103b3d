"""Tests over loopback sockets, in one process."""
