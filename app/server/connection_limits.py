"""Limits of connections: the deadlines of the phases of each, and their number in a process."""

import logging
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from app.domain.admission import MIB

_log = logging.getLogger(__name__)

# File descriptors for other uses: database, listeners, log, startup. An event-loop iteration may also accept
# several connections above the limit before it closes the oldest.
RESERVED_FILES: Final = 100
_MIN_CONNECTIONS: Final = 10
NEVER: Final = float("inf")
# Bytes that each header field counts in addition to its text, as in HTTP/2 (RFC 9113 §6.5.2). A small field
# needs more memory than its text.
HEADER_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of a client's connection. Times are in seconds.

    `head_bytes` limits the request line and the headers together. After `body_grace_s`, a body must arrive at
    `body_rate` bytes a second on average. If a response is sent before the end of the body, the server
    discards the rest of the body. It does so for at most `drain_s` and `drain_bytes`.
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


class Phase(StrEnum):
    """What a connection waits for. The values are labels of a metric."""

    HEAD = "head"
    BODY = "body"
    PROCESSING = "processing"  # the application's response
    NEXT = "next"  # another request
    DRAINING = "draining"  # the end of a body, after the response to its request
    LINGERING = "lingering"  # the client's close, after the last response
    READING = "reading"  # the client to read a response; only returned by `ConnectionWait.overdue`


CLOSED: Final = (Phase.HEAD, Phase.BODY, Phase.DRAINING, Phase.READING, "evicted", "crowd", "head_bytes")
"""Why the server closes a connection: the labels of a metric."""


@dataclass(slots=True)
class ConnectionWait:
    """The phase of one connection and its deadline. Times are monotonic seconds."""

    _limits: ConnectionLimits
    phase: Phase = Phase.HEAD
    _deadline: float = NEVER
    _read_deadline: float = NEVER
    _began_at: float = 0.0  # without the time in which the server did not read the body
    _checked_at: float = 0.0
    body_bytes: int = 0
    _drain_left: int = 0

    def begin(self, phase: Phase, now: float, seconds: float) -> None:
        """Start a phase that must end within `seconds`."""
        self.phase, self._deadline = phase, now + seconds
        self._began_at = self._checked_at = now
        self.body_bytes, self._drain_left = 0, self._limits.drain_bytes

    def discarded(self, size: int) -> bool:
        """Count discarded bytes; return False above the limit."""
        self._drain_left -= size
        return self._drain_left >= 0

    def write_paused(self, now: float) -> None:
        """Set the deadline for the client to read the buffered response."""
        self._read_deadline = now + self._limits.read_s

    def write_resumed(self) -> None:
        self._read_deadline = NEVER

    def overdue(self, now: float, *, closing: bool, paused: bool) -> Phase | None:
        """Return the phase that missed its deadline, or None.

        `closing` means that the transport closes when the client has read the last response. `paused` means
        that the server does not read, so the time does not count for the body rate.
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
            self._began_at += elapsed
        elif self.phase is Phase.BODY:
            duration = now - self._began_at
            if duration > self._limits.body_grace_s and self.body_bytes < self._limits.body_rate * duration:
                return Phase.BODY
        return None


@dataclass(slots=True)
class AnswerTransport:
    """The transport for the application's responses. Its `close` first lets the client read the response.

    While `joins` is set, the head of the next response is sent with the start of its body: in one system
    call, which wakes the client once. This saves 5 % of the API's CPU time of a post with one event.
    """

    _write: Callable[[bytes], None]
    is_closing: Callable[[], bool]
    close: Callable[[], None]
    joins: bool = False
    _head: bytes = b""

    def write(self, part: bytes) -> None:
        """Send a part of a response. Send nothing after the client has reset the connection."""
        if self.joins:
            self._head, self.joins = part, False
        elif not self.is_closing():
            self._write(self._head + part if self._head else part)
            self._head = b""


# Requests that wait for the response to an earlier one of their connection take memory.
_MOST_PIPELINED: Final = 1_000  # of a connection
_FEW_PIPELINED: Final = 10  # of a connection while many wait in the process
_MANY_PIPELINED: Final = 10_000


class Evictable(Protocol):
    """A connection that can be closed to make room for another."""

    def evict(self) -> None:
        """Close the connection, which has no response to send."""
        ...


class WaitingConnections:
    """The connections of a server that owe no response, oldest first.

    Connections that never sent a complete request head are evicted first, then idle connections. Many clients
    may share an address, so addresses do not matter. At shutdown, each connection closes after its current
    response. `pipelined` counts the requests that wait for the response to an earlier one of theirs.
    """

    def __init__(self) -> None:
        self.shutdown_begun = False
        self.pipelined = 0
        self._silent: dict[Evictable, None] = {}
        self._idle: dict[Evictable, None] = {}

    def is_last_pipelined(self, number: int) -> bool:
        """Count a request that waits, as the `number`th of its connection. Return whether it is its last."""
        self.pipelined += 1
        return number >= (_FEW_PIPELINED if self.pipelined > _MANY_PIPELINED else _MOST_PIPELINED)

    def opened(self, connection: Evictable) -> None:
        self._silent[connection] = None

    def idle(self, connection: Evictable) -> None:
        """Add a connection whose last request is answered."""
        self.remove(connection)
        self._idle[connection] = None

    def remove(self, connection: Evictable) -> None:
        """Remove a connection that sent a complete head or was closed."""
        self._silent.pop(connection, None)
        self._idle.pop(connection, None)

    def make_room(self, newest: Evictable) -> bool:
        """Evict the connection that has waited longest; return False if only the newest waits."""
        for waiting in (self._silent, self._idle):
            for connection in waiting:
                if connection is not newest:
                    del waiting[connection]
                    connection.evict()
                    return True
        return False


def allowed_connections(wanted: int, *, files: Any = resource) -> int:
    """Return the number of connections that the open-files limit allows, at most `wanted`.

    Raises the soft limit of the process if necessary, at most to the hard limit. If the hard limit is too
    low, logs `connections.capped`.
    """
    soft: int
    soft, hard = files.getrlimit(files.RLIMIT_NOFILE)
    needed = wanted + RESERVED_FILES
    if soft == files.RLIM_INFINITY or soft >= needed:
        return wanted
    raised = needed if hard == files.RLIM_INFINITY else min(needed, hard)
    with suppress(OSError, ValueError):
        files.setrlimit(files.RLIMIT_NOFILE, (raised, hard))
        soft = raised
    if soft >= needed:
        return wanted
    allowed = max(_MIN_CONNECTIONS, min(wanted, soft - RESERVED_FILES))
    fields = {"setting": wanted, "limit": allowed, "open_files": soft}
    _log.warning("connections.capped", extra={"fields": fields})
    return allowed
