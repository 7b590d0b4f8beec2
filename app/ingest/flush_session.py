"""A database connection that writes groups of requests, each in a transaction."""

from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from app.domain.ids import DestinationId
from app.ingest.dedup import Flush
from app.ingest.destination_cache import DestinationCache
from app.ingest.flush_writer import FlushWriter
from app.ingest.pending_request import PendingRequest
from app.store import PipelineConnection
from app.store import flush as flush_store
from app.telemetry import Telemetry

# SQLSTATE classes of errors that no single request of a transaction causes: connection lost, rolled back for
# concurrency, out of resources, shutting down, and invalid transaction state (a read-only server).
_TRANSACTION_ERRORS = ("08", "40", "53", "57", "25")
# Serialization failure, deadlock, and a cached plan that a schema change made invalid (the driver drops it).
_RETRYABLE_ERRORS = ("40001", "40P01", "0A000")


class FlushSession:
    """Writes groups of requests on one connection, opened with `connect` at first use.

    `evaluate` evaluates a request with the cached destinations.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        destinations: DestinationCache,
        writer: FlushWriter,
        evaluate: Callable[[PendingRequest], Awaitable[None]],
        telemetry: Telemetry,
    ) -> None:
        self._connect = connect
        self._destinations = destinations
        self._writer = writer
        self._evaluate = evaluate
        self._telemetry = telemetry
        self._connection: asyncpg.Connection | None = None
        self._may_use_one_round_trip = False
        self._generation: int | None = None  # of the ledger, as of the last flush

    @property
    def has_connection(self) -> bool:
        return self._connection is not None

    async def connection(self) -> asyncpg.Connection:
        """Return the connection; open it if there is none."""
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            connection = await self._connect()
            try:
                await flush_store.create_function(connection)
                self._may_use_one_round_trip = True
            except BaseException as error:
                if not isinstance(error, asyncpg.PostgresError) or concerns_transaction(error):
                    connection.terminate()
                    raise
                self._disable_one_round_trip(error)
            self._connection = connection
        return self._connection

    def terminate(self) -> None:
        """Close the connection, because the state of its session is unknown.

        The next flush opens another connection.
        """
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close()

    async def write(self, requests: Sequence[PendingRequest]) -> Flush:
        """Write a group in one transaction. Nothing is committed if this raises.

        After an error of `_RETRYABLE_ERRORS` it tries again, up to twice. After a wait for a lock it tries a
        single request again once; the caller divides a group.
        """
        for tries in range(3):
            try:
                connection = await self.connection()
                # Outside the transaction, so that no other flush waits for it.
                await self._writer.journeys.register(connection, requests)
                flush = await self._write_in_one_round_trip(connection, requests)
                return flush or await self._write_in_transaction(connection, requests)
            except asyncpg.LockNotAvailableError:
                # Another session may have locked a row of the counts: use other rows.
                self._writer.change_count_rows()
                if len(requests) > 1 or tries:
                    raise
            except asyncpg.PostgresError as error:
                if tries == 2 or not str(error.sqlstate).startswith(_RETRYABLE_ERRORS):
                    raise
        raise AssertionError("the last try returns or raises")

    async def _write_in_transaction(
        self, connection: asyncpg.Connection, requests: Sequence[PendingRequest]
    ) -> Flush:
        async with flush_store.transaction(connection):
            current = await self.reevaluate_stale(connection, requests)
            self._generation = current.generation
            if not self._writer.journeys.is_complete(requests, current.day):
                raise asyncpg.SerializationError("The journey nodes are not registered.")
            flush = Flush(requests, self._generation)
            await self._writer.write(connection, flush)
        return flush

    async def _write_in_one_round_trip(
        self, connection: asyncpg.Connection, requests: Sequence[PendingRequest]
    ) -> Flush | None:
        """Write a group in one round trip, or write nothing and return None."""
        if self._generation is None or not self._may_use_one_round_trip:
            return None
        versions: dict[DestinationId, int | None] = {}
        for request in requests:
            for id_, version in request.versions.items():
                # If two requests used two versions of a destination, one of them is outdated.
                if versions.setdefault(id_, version) != version:
                    return None
        flush = Flush(requests, self._generation)
        try:
            return flush if await self._writer.write_in_one_round_trip(connection, flush, versions) else None
        except (asyncpg.SyntaxOrAccessError, asyncpg.FeatureNotSupportedError) as error:
            # The function that the session created is gone, or this server cannot plan it.
            self._disable_one_round_trip(error)
            return None

    def _disable_one_round_trip(self, error: BaseException) -> None:
        """Write in several round trips until the next connection."""
        self._may_use_one_round_trip = False
        self._telemetry.failed("flush.single_round_trip_unavailable", error, level=30)

    async def reevaluate_stale(
        self, connection: PipelineConnection, requests: Sequence[PendingRequest]
    ) -> flush_store.FlushPreconditions:
        """Evaluate each request again whose evaluation used an outdated configuration version.

        So a configuration change takes effect in every process as soon as it is acknowledged. Returns the
        current preconditions.
        """
        used = {id_ for request in requests for id_ in request.versions}
        current = await flush_store.read_preconditions(connection, used)
        stale: set[DestinationId] = {
            id_ for id_ in used if current.versions.get(id_) != self._destinations.version(id_)
        }
        if stale:
            await self._destinations.refresh(connection, stale)
        for request in requests:
            if any(version != self._destinations.version(id_) for id_, version in request.versions.items()):
                await self._evaluate(request)
        return current


def concerns_transaction(error: asyncpg.PostgresError) -> bool:
    """Return whether an error concerns the transaction, and not only one of its requests."""
    return str(error.sqlstate).startswith(_TRANSACTION_ERRORS)
