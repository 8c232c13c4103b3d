"""The tests of the watcher."""

import sys

# Without compiled modules every worker of every run compiles all tests and the watcher anew.
sys.dont_write_bytecode = False
