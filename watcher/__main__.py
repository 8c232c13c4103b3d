"""`python -m watcher` is the same as the console script `watcher`."""

from watcher.cli import main

main()
