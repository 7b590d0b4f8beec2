"""A child that outlives its launcher is in the way of the next one: the line that ends it.

The launcher holds one end of a pipe and hands the other to its children. However the launcher ends,
the kernel closes its end, and each child then stops as if it had been asked to.
"""

import os
import signal
import threading
import time

VARIABLE = "LAUNCHER_LIFELINE"
DRAIN_SECONDS = 45.0


def hold() -> None:
    """Stop this process when its launcher is gone; does nothing without a launcher."""
    descriptor = os.environ.pop(VARIABLE, "")
    if descriptor.isdigit():
        threading.Thread(target=_watch, args=(int(descriptor),), name="lifeline", daemon=True).start()


def _watch(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(DRAIN_SECONDS)
    os._exit(1)
