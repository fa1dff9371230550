"""What a process sets up for itself; in a process of its own, as it is for the whole of it."""

import subprocess
import sys

_PROGRAM = """
import gc
from rigel.process import collect_seldom
before = gc.get_threshold()
collect_seldom()
print(gc.get_threshold()[0] > 10 * before[0], gc.get_freeze_count() > 1000)
"""


def test_garbage_is_sought_seldom_and_not_among_what_was_there_at_the_start() -> None:
    done = subprocess.run(  # noqa: S603 - a program of ours
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["True", "True"]
