"""Tests of what the tests rest on."""
