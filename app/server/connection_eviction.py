"""How many connections a process may have, and which of them ends when one more comes."""

import logging
import resource
from typing import Any, Final, Protocol

_log = logging.getLogger(__name__)

# Files that are no connections: the database's, the listeners, the log, what starting opens for a moment,
# and what is accepted in one round before the oldest are closed.
RESERVED_FILES: Final = 100
LEAST: Final = 10


class Evictable(Protocol):
    """A connection that can be closed to make room for another."""

    def evict(self) -> None:
        """End it; nothing that a client asked for is lost."""
        ...


class WaitingConnections:
    """The connections of one server that owe no answer, in the order in which they began to wait.

    Those that never sent a complete request head come first, then those between two requests and those
    whose last answer was sent. A peer's address plays no part: many clients may stand behind one.
    """

    def __init__(self) -> None:
        self._silent: dict[Evictable, None] = {}
        self._idle: dict[Evictable, None] = {}

    def opened(self, connection: Evictable) -> None:
        """Note a new connection."""
        self._silent[connection] = None

    def idle(self, connection: Evictable) -> None:
        """Note that a connection owes no answer any more."""
        self.remove(connection)
        self._idle[connection] = None

    def remove(self, connection: Evictable) -> None:
        """Note that a connection sent a complete head, or is closed."""
        self._silent.pop(connection, None)
        self._idle.pop(connection, None)

    def make_room(self, newest: Evictable) -> bool:
        """Close the connection that waits longest; False where there is none but the newest."""
        for waiting in (self._silent, self._idle):
            for connection in waiting:
                if connection is not newest:
                    del waiting[connection]
                    connection.evict()
                    return True
        return False


def allowed_connections(wanted: int, *, files: Any = resource) -> int:
    """Return how many connections the limit for open files allows, `wanted` at most.

    Raises the soft limit as far as needed and permitted; says so in the log where that does not suffice.
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
    allowed = max(LEAST, min(wanted, soft - RESERVED_FILES))
    facts = {"setting": wanted, "limit": allowed, "open_files": soft}
    _log.warning("connections.capped", extra={"facts": facts})
    return allowed
