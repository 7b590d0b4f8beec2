"""Let a child process start and end together with its launcher.

The launcher passes the read ends of two pipes to its children. When the launcher ends, even if it is killed,
the kernel closes the write ends, and each child shuts down. A child that stayed would block the next start.
"""

import os
import signal
import threading
import time

PARENT_VARIABLE = "PARENT_WATCH_DESCRIPTOR"
START_VARIABLE = "START_SIGNAL_DESCRIPTOR"
DRAIN_SECONDS = 45.0


def exit_with_parent() -> None:
    """Shut this process down when its launcher ends. Without a launcher, do nothing."""
    descriptor = os.environ.pop(PARENT_VARIABLE, "")
    if descriptor.isdigit():
        threading.Thread(target=_watch, args=(int(descriptor),), name="parent-watch", daemon=True).start()


def wait_for_start() -> None:
    """Wait for the launcher's start signal. Without a launcher, return immediately.

    A child can import its modules while the launcher migrates the database, which halves the startup time.
    """
    descriptor = os.environ.pop(START_VARIABLE, "")
    if descriptor.isdigit():
        os.read(int(descriptor), 1)


def _watch(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(DRAIN_SECONDS)
    os._exit(1)
