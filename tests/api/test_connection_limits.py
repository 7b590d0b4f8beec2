"""How many connections there may be, which one ends for another, and what each may wait for."""

import logging
import resource
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.server.connection_limits import (
    RESERVED_FILES,
    ConnectionLimits,
    ConnectionWait,
    Phase,
    WaitingConnections,
    allowed_connections,
)


@dataclass
class Files:
    """A limit for open files; a hard one that is raised is refused, as by the system."""

    soft: int
    hard: int
    RLIMIT_NOFILE: int = resource.RLIMIT_NOFILE
    RLIM_INFINITY: int = resource.RLIM_INFINITY
    raised: list[int] = field(default_factory=list)

    def getrlimit(self, _: int) -> tuple[int, int]:
        return self.soft, self.hard

    def setrlimit(self, _: int, limits: tuple[int, int]) -> None:
        if limits[1] != self.hard:
            raise ValueError
        self.raised.append(limits[0])


INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("files", "raised", "allowed"),
    [
        pytest.param(Files(1_024, 4_096), [], 900, id="enough"),
        pytest.param(Files(256, 4_096), [900 + RESERVED_FILES], 900, id="raised as far as needed"),
        pytest.param(Files(256, INFINITE), [900 + RESERVED_FILES], 900, id="raised, where nothing limits it"),
        pytest.param(Files(256, 512), [512], 512 - RESERVED_FILES, id="raised to the hard limit"),
        pytest.param(Files(256, 256), [256], 256 - RESERVED_FILES, id="as low as it is"),
        pytest.param(Files(INFINITE, INFINITE), [], 900, id="no limit"),
        pytest.param(Files(64, 64), [64], 10, id="some are always allowed"),
    ],
)
def test_connections_follow_the_limit_for_open_files(
    files: Files, raised: list[int], allowed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The soft limit is raised first; where that does not suffice the log says so, once."""
    with caplog.at_level(logging.WARNING):
        assert allowed_connections(900, files=files) == allowed
    assert files.raised == raised
    logged = [(one.message, one.fields) for one in caplog.records]  # type: ignore[attr-defined]
    fields = {"setting": 900, "limit": allowed, "open_files": (raised or [0])[0]}
    assert logged == ([("connections.capped", fields)] if allowed < 900 else [])


@dataclass(eq=False)
class Named:
    name: str
    evicted: list[str]

    def evict(self) -> None:
        self.evicted.append(self.name)


def test_room_is_made_by_whoever_waits_longest_without_a_complete_head() -> None:
    """Then by what idles between requests, never by what is owed an answer, nor by the newest."""
    evicted: list[str] = []
    waiting = WaitingConnections()
    silent, idle, busy, later, newest = (
        Named(name, evicted) for name in ("silent", "idle", "busy", "later", "newest")
    )
    for one in (idle, busy, silent, later, newest):
        waiting.opened(one)
    waiting.remove(busy)
    waiting.remove(idle)
    waiting.idle(idle)
    assert [waiting.make_room(newest) for _ in range(4)] == [True, True, True, False]
    assert evicted == ["silent", "later", "idle"]


LIMITS = ConnectionLimits(body_s=30, body_rate=1_000, body_grace_s=5)


def body_of(received: list[int], **paused: Any) -> list[Phase | None]:
    """Return what is overdue each second while so many bytes are received in it."""
    wait = ConnectionWait(LIMITS)
    wait.begin(Phase.BODY, 100.0, LIMITS.body_s)
    found = []
    for second, size in enumerate(received, 1):
        wait.body_bytes += size
        found.append(wait.overdue(100.0 + second, closing=False, paused=paused.get("paused", False)))
    return found


def test_a_body_must_come_at_the_least_rate_once_the_grace_is_over() -> None:
    """On average from its beginning: neither a pause nor a slow beginning matters."""
    assert body_of([0] * 5 + [0]) == [None] * 5 + [Phase.BODY]
    assert body_of([999] * 7)[5:] == [Phase.BODY] * 2
    assert body_of([1_001] * 29) == [None] * 29
    assert body_of([30_000] + [0] * 28) == [None] * 29


def test_a_body_that_we_do_not_read_is_not_too_slow() -> None:
    """While reading is paused its time stands still; its absolute deadline does not."""
    assert body_of([0] * 30, paused=True) == [None] * 29 + [Phase.BODY]


def test_what_is_drained_is_bounded() -> None:
    wait = ConnectionWait(ConnectionLimits(drain_bytes=10, drain_s=2))
    wait.begin(Phase.DRAINING, 100.0, 2)
    assert [wait.discarded(size) for size in (6, 4, 1)] == [True, True, False]
    assert wait.overdue(101.9, closing=False, paused=False) is None
    assert wait.overdue(102.0, closing=False, paused=False) is Phase.DRAINING
