"""Reference loops: the cost of the same bytes without any guarantees.

`loop` reads the JSON, normalises, hashes and writes the Amazon event, with plain code and no I/O. `copy`
writes the finished events to Postgres with COPY, 500 rows per transaction. `inserts` writes row by row, with
one commit with fsync for all of 64 waiting callers, and one round trip for all rows or one per row.
`single_inserts` has a connection and a commit per caller; Postgres groups the commits.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
import msgspec

from bench.events import bodies
from bench.stage import Stage

_TABLE = (
    "CREATE TABLE IF NOT EXISTS bench_rows "
    "(id bytea PRIMARY KEY, at timestamptz NOT NULL, body bytea NOT NULL)"
)
_INSERT = "INSERT INTO bench_rows (id, at, body) VALUES ($1, $2, $3)"


@dataclass(frozen=True, slots=True)
class Bare:
    """The result of a reference loop: rows per second, and CPU microseconds and WAL bytes per row."""

    rate: float
    cpu: float
    wal: float = 0.0


def loop(posts: Sequence[bytes]) -> tuple[Bare, list[bytes]]:
    """Convert posts to Amazon events with plain code; return the cost and the events."""
    began, cpu = time.perf_counter(), time.process_time()
    made = [_event(event) for post in posts for event in msgspec.json.decode(post)["events"]]
    return Bare(
        len(made) / (time.perf_counter() - began), (time.process_time() - cpu) / len(made) * 1e6
    ), made


def _event(event: dict[str, Any]) -> bytes:
    user, properties = event["user"], event["event"]["properties"]
    keys = [
        {"type": kind, "values": [hashlib.sha256(text.encode()).hexdigest()]}
        for kind, text in (
            ("EMAIL", user["email"].strip().lower()),
            ("PHONE", user["phone"].lstrip("+")),
            ("FIRST_NAME", "".join(filter(str.isalnum, user["first_name"].lower()))),
            ("LAST_NAME", "".join(filter(str.isalnum, user["last_name"].lower()))),
        )
    ]
    keys.append({"type": "MAID", "values": [user["maid"]]})
    return msgspec.json.encode(
        {
            "eventDescription": {
                "name": "Added to cart",
                "conversionType": "ADD_TO_SHOPPING_CART",
                "eventSource": "WEBSITE",
                "eventIngestionMethod": "SERVER_TO_SERVER",
            },
            "countryCode": user["country"],
            "eventTime": event["event"]["timestamp"],
            "matchKeys": keys,
            "value": properties["total"],
            "eventId": f"0123456789abcdef:{event['event_id']}",
            "consent": {"amazonConsent": {"amznUserData": "GRANTED", "amznAdStorage": "GRANTED"}},
            "customData": [
                {"name": name, "value": properties[name]} for name in ("brand", "category", "sku")
            ],
        }
    )


def finished(events: int) -> list[bytes]:
    """Return this number of finished Amazon events."""
    return loop(list(bodies("reference", events, 500, ["dst_reference"])))[1]


@asynccontextmanager
async def _table(
    stage: Stage, rows: Sequence[bytes], connections: int = 1
) -> AsyncIterator[tuple[list[asyncpg.Connection], list[tuple[Any, ...]]]]:
    """Create a table for the block; yield connections and the records."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(stage.connected()) for _ in range(connections)]
        await opened[0].execute(_TABLE)
        stack.push_async_callback(opened[0].execute, "DROP TABLE IF EXISTS bench_rows")
        now = await opened[0].fetchval("SELECT now()")
        yield opened, [(os.urandom(16), now, row) for row in rows]


async def copy(stage: Stage, rows: Sequence[bytes], *, one_round_trip: int = 500) -> Bare:
    """COPY the rows, so many in a transaction."""
    async with _table(stage, rows) as ([connection], records):
        return await _measured(
            stage, connection, len(rows), partial(_copy, connection, records, one_round_trip)
        )


async def _copy(
    connection: asyncpg.Connection, records: Sequence[tuple[Any, ...]], one_round_trip: int
) -> None:
    for first in range(0, len(records), one_round_trip):
        await connection.copy_records_to_table("bench_rows", records=records[first : first + one_round_trip])


async def inserts(
    stage: Stage, rows: Sequence[bytes], *, callers: int = 64, in_one_trip: bool = True
) -> Bare:
    """Insert one row for each of `callers` waiting callers, repeatedly, each group in one transaction.

    The rows are sent together, or each in a separate statement.
    """
    async with _table(stage, rows) as ([connection], records):
        return await _measured(
            stage, connection, len(rows), partial(_insert, connection, records, callers, in_one_trip)
        )


async def _insert(
    connection: asyncpg.Connection, records: Sequence[tuple[Any, ...]], callers: int, in_one_trip: bool
) -> None:
    """Each caller waits for its own future, as in the service."""
    waiting: list[tuple[tuple[Any, ...], asyncio.Future[None]]] = []
    left = iter(records)
    arrived = asyncio.Event()

    async def caller() -> None:
        for record in left:
            done = asyncio.get_running_loop().create_future()
            waiting.append((record, done))
            arrived.set()
            await done

    async def writer() -> None:
        while True:
            await arrived.wait()
            arrived.clear()
            group, waiting[:] = waiting[:], []
            if in_one_trip:
                # Atomic: all of a group or nothing, one commit.
                await connection.executemany(_INSERT, [record for record, _ in group])
            else:
                async with connection.transaction():
                    for record, _ in group:
                        await insert.fetch(*record)
            for _, done in group:
                done.set_result(None)

    insert = await connection.prepare(_INSERT)
    writing = asyncio.create_task(writer())
    await asyncio.gather(*(caller() for _ in range(callers)))
    writing.cancel()


async def single_inserts(stage: Stage, rows: Sequence[bytes], *, callers: int = 64) -> Bare:
    """Insert one row after another on each of `callers` connections, each in a separate transaction."""
    async with _table(stage, rows, callers) as (connections, records):
        left = iter(records)

        async def caller(connection: asyncpg.Connection) -> None:
            insert = await connection.prepare(_INSERT)
            for record in left:
                await insert.fetch(*record)

        async def all_callers() -> None:
            await asyncio.gather(*map(caller, connections))

        return await _measured(stage, connections[0], len(rows), partial(all_callers))


async def _measured(stage: Stage, connection: asyncpg.Connection, rows: int, action: partial[Any]) -> Bare:
    wal = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
    before, logged = stage.postgres_seconds(), await connection.fetchval(wal)
    began, cpu = time.perf_counter(), time.process_time()
    await action()
    took, python = time.perf_counter() - began, time.process_time() - cpu
    written = await connection.fetchval(wal) - logged
    seconds = python + stage.postgres_seconds() - before
    return Bare(rows / took, seconds / rows * 1e6, float(written) / rows)
