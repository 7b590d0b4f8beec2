"""Read a destination's figures: counts of events, rates, response times, requests and failures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import asyncpg

from app.domain.batch import EventMetadata, read_shapes
from app.domain.ids import DestinationNumber
from app.domain.outcomes.status import CountTotals
from app.store import PipelineConnection, fetch_map, fetch_optional, fetch_row, fetch_rows, read_row, read_sql
from app.store.database import damage

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class DestinationFigures:
    """A destination's figures. `rejected` has (code, reason, n), `dead` has (reason, n)."""

    state: str
    totals: CountTotals
    learned_rate: float | None
    breaker: str
    error_rate: float
    requests_per_second: float
    burst: int
    lane_owned: bool
    shared_account: bool
    rejected: tuple[tuple[str, str, int], ...]
    dead: tuple[tuple[str, int], ...]
    oldest_waiting: datetime | None = None
    earliest_expiry: datetime | None = None


async def destination_figures(
    connection: PipelineConnection, number: DestinationNumber
) -> DestinationFigures:
    """Read the counts of a destination in one statement, so that they add up.

    `oldest_waiting` and `earliest_expiry` are None when the states of its batches cannot be read.
    """
    [row] = await connection.fetch(SQL["destination_figures"], number)
    oldest: asyncpg.Record | None = None
    async with damage.tolerated(connection):
        oldest = await connection.fetchrow(SQL["oldest"], number)
    return read_row(DestinationFigures, row, **dict(oldest or {}), json=["totals", "rejected", "dead"])


@dataclass(frozen=True, slots=True)
class ResponseTimes:
    """The median and the 95th percentile of Amazon's response times in a time bucket that begins at `at`."""

    at: datetime
    p50_ms: float
    p95_ms: float


_PARTS, _SAMPLED = 4, 50  # parts of a bucket, and requests that are read from each part


async def response_times(
    connection: PipelineConnection, destination: DestinationNumber, *, since: datetime, bucket: timedelta
) -> list[ResponseTimes]:
    """Return the response times of a destination for each bucket with a request.

    To limit the cost, only the first 50 requests of each quarter of a bucket are read.
    """
    return await fetch_rows(
        connection, ResponseTimes, SQL["response_times"], destination, since, bucket, _PARTS, _SAMPLED
    )


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request to Amazon. `outcome` is `under_way` while it is in flight.

    `delivered` counts the events of an answered request that Amazon accepted; `request_id` is Amazon's.
    """

    started_at: datetime
    outcome: str
    http_status: int | None
    message: str | None
    events: int
    duration_ms: int | None
    id: int = 0
    request_id: str | None = None
    delivered: int | None = None


async def requests(
    connection: PipelineConnection, destination: DestinationNumber, limit: int
) -> list[RequestRow]:
    """Return the newest requests of a destination that have a result, newest first."""
    return await fetch_rows(connection, RequestRow, SQL["requests"], destination, limit)


MOST_SCANNED: Final = 10_000  # requests that a page of failed ones reads


@dataclass(frozen=True, slots=True)
class RequestPage:
    """Requests, newest first, and the position (start and id) of the next page, None on the last one."""

    items: Sequence[RequestRow]
    following: tuple[datetime, int] | None


@dataclass(frozen=True, slots=True)
class RequestQuery:
    """Which requests a page has: with `failed`, those that did not deliver every event."""

    since: datetime
    before: tuple[datetime, int] | None
    failed: bool
    limit: int


async def request_page(
    connection: PipelineConnection, destination: DestinationNumber, wanted: RequestQuery
) -> RequestPage:
    """Return a page of the requests of a destination.

    A page of failed requests may be short, because it reads a limited number of requests.
    """
    failed, limit = wanted.failed, wanted.limit
    at, id_ = wanted.before or (None, None)
    arguments = (wanted.since, at, id_, failed, limit + 1, MOST_SCANNED)
    rows = await connection.fetch(SQL["request_page"], destination, *arguments)
    items = [read_row(RequestRow, row) for row in rows if row["id"] is not None]
    if len(items) > limit:
        return RequestPage(items[:limit], (items[limit - 1].started_at, items[limit - 1].id))
    if failed and rows[0]["scanned"] == MOST_SCANNED:
        return RequestPage(items, (rows[0]["back_to"], rows[0]["back_to_id"]))
    return RequestPage(items, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRequest(RequestRow):
    """One request with the batches that it carried, their days, and Amazon's response as JSON, if stored.

    For single events, `places` has the position of the event in the batch with the same index.
    """

    batches: tuple[int, ...]
    places: tuple[int, ...] | None
    days: dict[int, date]
    response: str | None


async def request(
    connection: PipelineConnection, destination: DestinationNumber, attempt: int
) -> StoredRequest | None:
    """Return a request of a destination, or None if no stored request has this id."""
    row = await connection.fetchrow(SQL["request"], destination, attempt)
    if row is None:
        return None
    days = await fetch_map(connection, SQL["days_of_batches"], destination, row["batches"])
    return read_row(StoredRequest, row, days=days)


@dataclass(frozen=True, slots=True)
class FailureRun:
    """The failed requests since the last success: the start of the first, and their number."""

    since: datetime
    requests: int


async def failure_run(connection: PipelineConnection, destination: DestinationNumber) -> FailureRun | None:
    """Return the failed requests since the last successful request, or None if the last one succeeded."""
    return await fetch_row(connection, FailureRun, SQL["failure_run"], destination)


async def first_answer(connection: PipelineConnection, destination: DestinationNumber) -> datetime | None:
    """Return when Amazon first answered a request of a destination, among the stored requests."""
    return await fetch_optional(connection, datetime, SQL["first_answer"], destination)


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """The sign-in of a destination, and the state of its lane.

    `lane_shared_with` counts the other connected destinations of the lane. `account_currency` is the currency
    Amazon reported.
    """

    connected_at: datetime | None
    connected_by: str | None
    key_name: str | None
    access_until: datetime | None
    blocked_until: datetime | None
    lane_shared_with: int
    paused_since: datetime | None = None
    broken_since: datetime | None = None
    account_currency: str | None = None


async def connection_of(connection: PipelineConnection, destination: DestinationNumber) -> ConnectionInfo:
    """Return the sign-in and the lane of a destination."""
    [row] = await connection.fetch(SQL["connection_of"], destination)
    return read_row(ConnectionInfo, row)


async def next_attempt_at(connection: PipelineConnection, destination: DestinationNumber) -> datetime | None:
    """Return when the next request of a destination may be sent: not before its lane's block or probe.

    A time in the past says only that nothing delays a request. None if no time is known, because nothing
    waits or states are damaged.
    """
    async with damage.tolerated(connection):
        return await fetch_optional(connection, datetime, SQL["next_attempt_at"], destination)
    return None


async def newest_metadata(
    connection: PipelineConnection, destination: DestinationNumber, batches: int
) -> tuple[list[EventMetadata], int]:
    """Return the metadata of the events of a destination's newest batches, newest first.

    Also returns how many of these batches are unreadable: 1 if the states are damaged.
    """
    async with damage.tolerated(connection):
        days = await fetch_map(connection, SQL["newest_batches"], destination, batches)
        shapes = await damage.read_shapes_of(connection, days)
        found = [read_shapes(shapes.get(batch)) for batch in days]
        return [shape for of in found if of is not None for shape in reversed(of)], found.count(None)
    return [], 1


async def rejection_reasons(
    connection: PipelineConnection, destination: DestinationNumber, *, since: date
) -> list[tuple[str, str, int]]:
    """Return code, reason and count of rejections since a day (UTC), most frequent first."""
    return [tuple(row) for row in await connection.fetch(SQL["rejection_reasons"], destination, since)]


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of events and requests per second. All are None if the stored data is damaged."""

    accepted_per_second: float | None
    delivered_per_second: float | None
    requests_per_second: float | None
    failed_requests_per_second: float | None


async def rates(
    connection: PipelineConnection, destination: DestinationNumber, span: timedelta, *, newest: int = 2_000
) -> Rates:
    """Return the rates over the last `span`. The rate of accepted events uses at most `newest` batches."""
    async with damage.tolerated(connection):
        [row] = await connection.fetch(SQL["rates"], destination, span, newest)
        return Rates(**{name: round(value, 3) for name, value in dict(row).items()})
    return Rates(None, None, None, None)
