"""Benchmarks of the real `watcher run`, each with its goal: `python -m tests.benchmarks`.

The watcher has one core to itself where there are two; what it talks to runs in a process of its own on the
other, and takes the times. No part of the tests: figures say something only on a machine that is at rest.
"""
