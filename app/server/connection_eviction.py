"""The connection limit of a process, and eviction of waiting connections at the limit."""

import logging
import resource
from typing import Any, Final, Protocol

_log = logging.getLogger(__name__)

# File descriptors for other uses: database, listeners, log, startup. An event-loop iteration may also accept
# several connections above the limit before it closes the oldest.
RESERVED_FILES: Final = 100
_MIN_CONNECTIONS: Final = 10


class Evictable(Protocol):
    """A connection that can be closed to make room for another."""

    def evict(self) -> None:
        """Close the connection, which has no response to send."""
        ...


class WaitingConnections:
    """The connections of a server that owe no response, oldest first.

    Connections that never sent a complete request head are evicted first, then idle connections. Many clients
    may share an address, so addresses do not matter.
    """

    def __init__(self) -> None:
        self._silent: dict[Evictable, None] = {}
        self._idle: dict[Evictable, None] = {}

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
    hard: int
    soft, hard = files.getrlimit(files.RLIMIT_NOFILE)
    needed = wanted + RESERVED_FILES
    if soft != files.RLIM_INFINITY and soft < needed:
        raised = needed if hard == files.RLIM_INFINITY else min(needed, hard)
        try:
            files.setrlimit(files.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        except (OSError, ValueError):
            pass
    if soft == files.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = max(_MIN_CONNECTIONS, min(wanted, soft - RESERVED_FILES))
    fields = {"setting": wanted, "limit": allowed, "open_files": soft}
    _log.warning("connections.capped", extra={"fields": fields})
    return allowed
