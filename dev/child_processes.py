"""Start, restart and stop the child processes of the launcher."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.processes import parent_watch

STOP_SECONDS = 40.0
"""Longer than the timeout of a request to Amazon (25 s), so that a worker can finish it."""

RESTARTS, PER_SECONDS = 5, 60.0
"""A child may be restarted five times within a minute. After that, everything is stopped."""


@dataclass(slots=True)
class Child:
    """A `python -m app …` process, the descriptors that it inherits, and the times of its recent starts."""

    name: str
    arguments: Sequence[str]
    keep_open: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    starts: deque[float] = field(default_factory=deque)


class Children:
    """The child processes. `say` prints a sentence to the terminal."""

    def __init__(self, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._environment = dict(environment)
        self._say = say
        self._all: list[Child] = []
        self._end_of_theirs, self._end_of_ours = os.pipe()
        self._go_theirs, self._go_ours = os.pipe()

    def start(self, name: str, *arguments: str, keep_open: Sequence[int] = ()) -> None:
        """Start `python -m app ARGUMENTS`. The child inherits the descriptors `keep_open`."""
        child = Child(name, arguments, keep_open)
        self._all.append(child)
        self._run(child)

    def _run(self, child: Child) -> None:
        # Ctrl-C sends SIGINT to the children too. The children block SIGINT, because the launcher stops them
        # in order with SIGTERM.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            child.process = subprocess.Popen(
                [sys.executable, "-m", "app", *child.arguments],
                stdin=subprocess.DEVNULL,
                env={
                    **self._environment,
                    parent_watch.PARENT_VARIABLE: str(self._end_of_theirs),
                    parent_watch.START_VARIABLE: str(self._go_theirs),
                },
                pass_fds=(self._end_of_theirs, self._go_theirs, *child.keep_open),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        child.starts.append(time.monotonic())

    def go(self) -> None:
        """Let the children begin their work. Until then they load their modules and wait."""
        os.close(self._go_ours)

    def restart_exited(self) -> str | None:
        """Restart the children that exited. Return the name of a child that exits too often, or None."""
        for child in self._all:
            if child.process is None or child.process.poll() is None:
                continue
            while child.starts and child.starts[0] < time.monotonic() - PER_SECONDS:
                child.starts.popleft()
            if len(child.starts) > RESTARTS:
                return child.name
            self._say(
                f"The {child.name} process exited ({_exit_reason(child.process.returncode)}). Restarting it."
            )
            self._run(child)
        return None

    def dead(self) -> str | None:
        """Return the name of a child that has exited, or None."""
        exited = (child.name for child in self._all if child.process and child.process.poll() is not None)
        return next(exited, None)

    def end(self) -> None:
        """Stop the children with SIGTERM, name by name, in the reverse order of their start.

        A child that does not exit within STOP_SECONDS is killed.
        """
        for name in dict.fromkeys(child.name for child in reversed(self._all)):
            group = [child.process for child in self._all if child.name == name and child.process]
            for process in group:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            for process in group:
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    self._say(f"The {name} process did not stop within {STOP_SECONDS:.0f} s and was killed.")
                    process.kill()
                    process.wait()
        self._all.clear()


def _exit_reason(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
