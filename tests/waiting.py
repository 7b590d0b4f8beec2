"""Wait for a condition outside of an event loop; `tests.pipeline.world.eventually` waits within one."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], *, seconds: float = 90, every: float = 0.05) -> None:
    """Wait for a truthy value; fail with the last one when time is up."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"not within {seconds} s; last value: {found!r}"
        time.sleep(every)
