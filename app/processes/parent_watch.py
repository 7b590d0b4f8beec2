"""The two lines between a launcher and its children: when to begin, and when to end.

The launcher holds one end of a pipe and hands the other to its children; a closed end is the message.
A child that outlived its launcher would be in the way of the next one: however a launcher ends, the
kernel closes its end, and each child then stops as if it had been asked to.
"""

import os
import signal
import threading
import time

VARIABLE = "LAUNCHER_LIFELINE"
GO_VARIABLE = "LAUNCHER_GO"
DRAIN_SECONDS = 45.0


def exit_with_parent() -> None:
    """Stop this process when its launcher is gone; does nothing without a launcher."""
    descriptor = os.environ.pop(VARIABLE, "")
    if descriptor.isdigit():
        threading.Thread(target=_watch, args=(int(descriptor),), name="lifeline", daemon=True).start()


def wait_for_start() -> None:
    """Return when the launcher says so; at once without a launcher.

    A child loads its modules while the launcher still migrates the database: half of a start.
    """
    descriptor = os.environ.pop(GO_VARIABLE, "")
    if descriptor.isdigit():
        os.read(int(descriptor), 1)


def _watch(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(DRAIN_SECONDS)
    os._exit(1)
