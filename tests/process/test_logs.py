"""The last lines of a process that crashes."""

import json
import subprocess
import sys

from watcher.sanitize.redactor import MASK

KEY = "dynamiq_acc_0123456789"


CRASH = f"""
import structlog
from watcher import logs
from watcher.sanitize.redactor import Redactor
redactor = Redactor()
redactor.add_secret("{KEY}")
logs.configure(level="info", format="json", redactor=redactor)
for number in range(1000):
    structlog.get_logger().info("a.b", number=number)
raise ValueError("{KEY}")
"""


def test_a_crash_is_the_last_that_is_written() -> None:
    """What was logged before the process came to its end is there, then the traceback, without secrets."""
    ended = subprocess.run(
        [sys.executable, "-c", CRASH], capture_output=True, text=True, timeout=60, check=False
    )
    *lines, last = ended.stderr.splitlines()
    numbers = [json.loads(line)["number"] for line in lines[:1000]]
    assert (1, list(range(1000))) == (ended.returncode, numbers)
    assert ("Traceback (most recent call last):", f"ValueError: {MASK}") == (lines[1000], last)
