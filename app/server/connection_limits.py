"""The limits of a connection, and the phases that they hold in."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.server.request_body import MIB

NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a client must keep to; times in seconds, `head_bytes` over request line and headers together.

    A body must come with `body_rate` bytes a second on average, once `body_grace_s` have passed. What comes
    of a request that was answered already is drained, up to `drain_s` and `drain_bytes`.
    """

    head_s: float = 10.0
    body_s: float = 30.0
    body_rate: int = 1_024
    body_grace_s: float = 5.0
    read_s: float = 30.0  # for reading an answer that fills our buffers
    drain_s: float = 10.0
    drain_bytes: int = 16 * MIB
    head_bytes: int = 64 * 1024
    connections: int = 900


@dataclass(slots=True)
class ShutdownState:
    """Whether the process is about to leave: each connection then ends with the answer it waits for."""

    begun: bool = False


class Phase(StrEnum):
    """What a connection waits for."""

    HEAD = "head"
    BODY = "body"
    OURSELVES = "ourselves"  # the answer of the application
    NEXT = "next"
    DRAINING = "draining"  # the end of a body whose request was answered
    PARTING = "parting"  # the client's end, after the last answer
    READING = "reading"  # only in `Wait.overdue`: the client reads its answer too slowly


class ConnectionWait:
    """What one connection waits for, and until when. Times are monotonic; the clock is handed in."""

    __slots__ = (
        "_body_began",
        "_body_bytes",
        "_checked",
        "_drain_left",
        "_due",
        "_read_due",
        "_terms",
        "phase",
    )

    def __init__(self, terms: ConnectionLimits) -> None:
        self._terms, self.phase = terms, Phase.HEAD
        self._due = self._read_due = NEVER
        self._body_began = self._checked = 0.0
        self._body_bytes = self._drain_left = 0

    def opened(self, now: float) -> None:
        """Begin with the wait for a first head."""
        self._checked, self._due = now, now + self._terms.head_s

    def head(self, now: float, *, behind: bool) -> None:
        """Wait for the rest of a head. `behind` an unanswered request it has no deadline."""
        self.phase, self._due = Phase.HEAD, NEVER if behind else now + self._terms.head_s

    def body(self, now: float, *, behind: bool) -> None:
        """Wait for a body, and count it anew; `behind` as above."""
        self.phase, self._body_began, self._body_bytes = Phase.BODY, now, 0
        self._due = NEVER if behind else now + self._terms.body_s

    def body_received(self, size: int) -> None:
        """Count bytes of the body."""
        self._body_bytes += size

    def ourselves(self) -> None:
        """Wait for the application, for as long as it takes."""
        self.phase, self._due = Phase.OURSELVES, NEVER

    def next(self, now: float, keep_alive_seconds: float) -> None:
        """Wait for a next request."""
        self.phase, self._due = Phase.NEXT, now + keep_alive_seconds

    def drain(self, phase: Phase, now: float) -> None:
        """Wait for the end of what is passed over, in one of the two phases for that."""
        self.phase, self._due = phase, now + self._terms.drain_s
        self._drain_left = self._terms.drain_bytes

    def drained(self, size: int) -> bool:
        """Count bytes that are passed over; False once they are too many."""
        self._drain_left -= size
        return self._drain_left >= 0

    def reading(self, now: float) -> None:
        """Wait for the client to read, beside all else."""
        self._read_due = now + self._terms.read_s

    def read(self) -> None:
        """Note that the client reads again."""
        self._read_due = NEVER

    def overdue(self, now: float, *, closing: bool, paused: bool) -> Phase | None:
        """Return the phase that took too long, or None.

        `closing`: the connection ends once its last answer is read. `paused`: it is we who do not read.
        """
        since, self._checked = now - self._checked, now
        if now >= self._read_due:
            return Phase.READING
        if closing:
            # There may be too little of the answer for the transport to report that nobody reads it.
            self._read_due = min(self._read_due, now + self._terms.read_s)
            return None
        if now >= self._due:
            return self.phase
        if self.phase is Phase.BODY and paused:
            self._body_began += since
        elif self.phase is Phase.BODY:
            took = now - self._body_began
            if took > self._terms.body_grace_s and self._body_bytes < self._terms.body_rate * took:
                return Phase.BODY
        return None


class AnswerTransport:
    """What the application's answer is written to: closing it leaves time to read the answer."""

    __slots__ = ("_head", "_transport", "close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport, self._head = transport, b""
        self.write: Callable[[bytes], None] = transport.write
        self.is_closing, self.close = transport.is_closing, close

    def join_two(self) -> None:
        """Send what is written next, a head, together with what is written after it, its body.

        Two packets cost two system calls, and wake a client twice.
        """
        self.write = self._hold

    def _hold(self, head: bytes) -> None:
        self._head, self.write = head, self._send_both

    def _send_both(self, body: bytes) -> None:
        self.write = self._transport.write
        self._transport.write(self._head + body)
