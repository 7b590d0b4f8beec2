"""Limits of one connection, and the deadlines of its phases."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.server.request_body import MIB

NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits for a client; times in seconds, `head_bytes` for request line and headers together.

    After `body_grace_s` a body must arrive at `body_rate` bytes a second on average. The rest of a body
    whose request was answered is drained, up to `drain_s` and `drain_bytes`.
    """

    head_s: float = 10.0
    body_s: float = 30.0
    body_rate: int = 1_024
    body_grace_s: float = 5.0
    read_s: float = 30.0  # for a client to read a response that fills our buffers
    drain_s: float = 10.0
    drain_bytes: int = 16 * MIB
    head_bytes: int = 64 * 1024
    connections: int = 900


@dataclass(slots=True)
class ShutdownState:
    """Whether shutdown has begun: each connection then closes after its current response."""

    begun: bool = False


class Phase(StrEnum):
    """The phases of a connection. The values of overdue phases are labels of a metric."""

    HEAD = "head"
    BODY = "body"
    PROCESSING = "processing"  # the application's response
    NEXT = "next"  # another request
    DRAINING = "draining"  # the end of a body whose request was answered
    LINGERING = "lingering"  # the client's close, after the last response
    READING = "reading"  # returned by `ConnectionWait.overdue` only: the client reads too slowly


class ConnectionWait:
    """The phase of one connection and its deadline. Times are monotonic, passed by the caller."""

    __slots__ = (
        "_body_began_at",
        "_body_bytes",
        "_checked_at",
        "_deadline",
        "_drain_left",
        "_limits",
        "_read_deadline",
        "phase",
    )

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits, self.phase = limits, Phase.HEAD
        self._deadline = self._read_deadline = NEVER
        self._body_began_at = self._checked_at = 0.0
        self._body_bytes = self._drain_left = 0

    def opened(self, now: float) -> None:
        """Start waiting for the first request head."""
        self._checked_at, self._deadline = now, now + self._limits.head_s

    def await_head(self, now: float, *, pipelined: bool) -> None:
        """Start waiting for a head; without a deadline if it is `pipelined` behind an unanswered request."""
        self.phase, self._deadline = Phase.HEAD, NEVER if pipelined else now + self._limits.head_s

    def await_body(self, now: float, *, pipelined: bool) -> None:
        """Start waiting for a body and reset its count; `pipelined` as in `await_head`."""
        self.phase, self._body_began_at, self._body_bytes = Phase.BODY, now, 0
        self._deadline = NEVER if pipelined else now + self._limits.body_s

    def body_received(self, size: int) -> None:
        """Count bytes of the body."""
        self._body_bytes += size

    def await_response(self) -> None:
        """Start waiting for the application, without a deadline."""
        self.phase, self._deadline = Phase.PROCESSING, NEVER

    def await_next(self, now: float, keep_alive_seconds: float) -> None:
        """Start waiting for another request."""
        self.phase, self._deadline = Phase.NEXT, now + keep_alive_seconds

    def drain(self, phase: Phase, now: float) -> None:
        """Start discarding input, in phase DRAINING or LINGERING."""
        self.phase, self._deadline = phase, now + self._limits.drain_s
        self._drain_left = self._limits.drain_bytes

    def discarded(self, size: int) -> bool:
        """Count discarded bytes; return False above the limit."""
        self._drain_left -= size
        return self._drain_left >= 0

    def write_paused(self, now: float) -> None:
        """Set the deadline for the client to read, in addition to that of the phase."""
        self._read_deadline = now + self._limits.read_s

    def write_resumed(self) -> None:
        """Clear the deadline for the client to read."""
        self._read_deadline = NEVER

    def overdue(self, now: float, *, closing: bool, paused: bool) -> Phase | None:
        """Return the phase that missed its deadline, or None.

        `closing`: the transport closes once the last response is read. `paused`: the server has paused
        reading, so the time does not count for the body rate.
        """
        elapsed, self._checked_at = now - self._checked_at, now
        if now >= self._read_deadline:
            return Phase.READING
        if closing:
            # A short response may fit into the buffer; then the transport never calls `pause_writing`.
            self._read_deadline = min(self._read_deadline, now + self._limits.read_s)
            return None
        if now >= self._deadline:
            return self.phase
        if self.phase is Phase.BODY and paused:
            self._body_began_at += elapsed
        elif self.phase is Phase.BODY:
            duration = now - self._body_began_at
            if duration > self._limits.body_grace_s and self._body_bytes < self._limits.body_rate * duration:
                return Phase.BODY
        return None


class AnswerTransport:
    """The transport for the application's responses; `close` leaves the client time to read."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write, self.is_closing, self.close = transport.write, transport.is_closing, close
