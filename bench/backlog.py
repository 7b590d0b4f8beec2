"""Measures claim and settle with many waiting events: the store's functions on rows created by SQL.

Times the database work of a worker for one request: find the due queue, read its batches, start the attempt,
settle in one transaction. Decryption and sending do not depend on the backlog and are excluded.
"""

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import asyncpg

from app.domain.batch import MAX_BYTES
from app.domain.ids import DEFAULT_ORGANISATION, BatchId, DestinationNumber, LaneId
from app.domain.outcomes.outcome import PerItemReply, SentRequest
from app.domain.pacing.order import Watermarks
from app.processes.resources import session_settings
from app.settings import Settings
from app.store import attempts, batches, counts, due_work
from app.store.database import migrate, partitions
from app.store.lanes import LaneLease
from bench.report import table
from dev.postgres.cluster import DURABLE, Cluster

CLAIMS = 8  # of the twenty full batches of 10,000 events, in each of two rounds
FULL = 500
_CONTENT = 243 * FULL  # bytes of a full batch of realistic events


def run(settings: Settings, *, millions: tuple[int, ...]) -> None:
    """Print the times of claim and settle by waiting events and lanes, with and without a snapshot."""
    del settings
    with tempfile.TemporaryDirectory(prefix="conversions-bench-") as folder:
        Path(folder).chmod(0o755)
        cluster = Cluster(Path(folder), settings=DURABLE)
        cluster.start()
        try:
            migrate.upgrade(cluster.url)
            asyncio.run(_run(cluster.url.replace("+asyncpg", "", 1), millions))
        finally:
            cluster.stop()


_FIXED = "SELECT sum(n) FROM generate_series(1, 10000) AS n"


async def _run(dsn: str, millions: tuple[int, ...]) -> None:
    connection = await asyncpg.connect(dsn, server_settings=session_settings("worker", plans_once=True))
    print("## Claim and settle (one request of 500 events: ms, and times a fixed query; medians)\n")
    rows = []
    for events in (10_000, *(million * 1_000_000 for million in millions)):
        cells: list[object] = [f"{events:,}"]
        for number in (1, 10, 1000):
            if events < FULL * number:
                cells.append("–")
                continue
            await _fill(connection, lanes_=number, batches_=events // FULL, size=FULL)
            cells.append(await _claims(connection, number))
            async with _foreign_snapshot(dsn):
                cells.append(await _claims(connection, number))
        rows.append(cells)
    head = ["waiting"]
    for number in (1, 10, 1000):
        head += [f"{number} lanes", "with a foreign snapshot"]
    print(table(head, rows), flush=True)
    await _lone(dsn, connection)
    await _free(connection)
    await connection.close()


async def _lone(dsn: str, connection: asyncpg.Connection) -> None:
    """Measure the worst case: batches of one event, delivered while a snapshot prevents vacuum."""
    rows = []
    for number in (10_000, 200_000):
        await _fill(connection, lanes_=1, batches_=number, size=1)
        alone = await _claims(connection, 1, claims=8)
        async with _foreign_snapshot(dsn):
            first = await _claims(connection, 1, claims=4)
            drained = min(number - 8_000, 100_000) // FULL
            if drained > 0:
                await _claims(connection, 1, claims=drained)
            last = await _claims(connection, 1, claims=4) if drained > 0 else first
        rows.append((f"{number:,}", alone, first, last))
    print("Batches of one event each, 500 of them a request:\n")
    head = ("waiting", "ms", "with a foreign snapshot", "the same after a drain of up to 100,000")
    print(table(head, rows), flush=True)


async def _free(connection: asyncpg.Connection) -> None:
    """Drop the partition of a day that a million delivered events filled."""
    rows = []
    for size, number in ((FULL, 2_000), (50, 20_000), (1, 1_000_000)):
        await _fill(connection, lanes_=1, batches_=number, size=size)
        await connection.execute(
            "UPDATE batch_states SET disposition = 'sent', settled_at = now(), data_key = NULL"
        )
        # A day is vacuumed weeks before it is dropped, so vacuum is not part of the cost.
        await connection.execute("VACUUM batch_states")
        wal = await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        began = time.perf_counter()
        # Simulate weeks later: the days have passed, and the ten days of their states.
        for day in await partitions.old_days(connection, keep_days=-30):
            async with connection.transaction():
                await partitions.drop_day(connection, day)
        for start in await partitions.old_states(connection, keep_days=-30):
            async with connection.transaction():
                await partitions.drop_states(connection, start)
        took = time.perf_counter() - began
        written = await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn") - wal
        rows.append((f"{size}", took, float(written) / 1e6))
        async with connection.transaction():
            await partitions.create_ahead(connection)
    print("Freeing a million delivered events:\n")
    print(table(("events a batch", "seconds", "WAL MB"), rows), flush=True)


async def _fill(connection: asyncpg.Connection, *, lanes_: int, batches_: int, size: int) -> None:
    """Delete all batches and insert new ones, distributed over this number of lanes."""
    await connection.execute(
        "TRUNCATE batches, batch_states, attempts, exceptions, counts, sign_ins, destinations, lanes CASCADE"
    )
    await connection.execute(
        "INSERT INTO lanes (region, advertiser_id, fence, leased_until) "
        "SELECT 'NA', (6000000000000 + n)::text, 1, now() + interval '1 hour' FROM generate_series(1, $1) n",
        lanes_,
    )
    await connection.execute(
        """
        INSERT INTO destinations
          (id, lane, name, advertiser_id, region, currency, sign_in, published_mappings)
        SELECT 'dst_' || lpad(l.id::text, 20, '0'), l.id, 'bench', l.advertiser_id, 'NA', 'USD', 'valid', 1
        FROM lanes l
        """
    )
    await connection.execute(
        "INSERT INTO sign_ins (destination, refresh_token, generation, connected_by) "
        "SELECT id, 'x', 1, 'bench' FROM destinations"
    )
    first: int = await connection.fetchval("SELECT min(number) FROM destinations")
    content = os.urandom(_CONTENT * size // FULL)
    await connection.execute(
        "INSERT INTO batches (day, id, destination, content, shapes) "
        "SELECT (now() AT TIME ZONE 'UTC')::date, n, $2 + n % $3, $4, $5 FROM generate_series(1, $1) n",
        batches_,
        first,
        lanes_,
        content,
        os.urandom(8 * size),
    )
    await connection.execute(
        """
        INSERT INTO batch_states
          (batch, day, destination, events, bytes, due_at, first_event, last_event, data_key)
        SELECT id, day, destination, $1::int, $1::int * 900, now() - interval '1 hour' + id * interval '1 us',
          now(), now(), $2 FROM batches
        """,
        size,
        secrets.token_bytes(64),
    )
    await connection.execute("VACUUM ANALYZE batches, batch_states, destinations, lanes, attempts, sign_ins")


async def _claims(connection: asyncpg.Connection, lanes_: int, *, claims: int = CLAIMS) -> str:
    """Serve lanes in turn, one request each; return the median time per request.

    In milliseconds, and relative to a fixed query that runs in between, because the machine's speed varies.
    """
    rows = await connection.fetch("SELECT lane, number FROM destinations ORDER BY lane LIMIT $1", lanes_)
    took, fixed = [], []
    watermarks: dict[DestinationNumber, Watermarks] = {}  # as in the owner of each lane
    for row in islice(cycle(rows), claims):
        lane, number = LaneId(row["lane"]), DestinationNumber(row["number"])
        lease = LaneLease(lane, 1, DEFAULT_ORGANISATION, "NA", "", 0.0)
        known = watermarks.setdefault(number, Watermarks())
        began = time.perf_counter()
        skipped = known.usable(began)
        await due_work.poll(
            connection, lane, batches_in_flight=[], exceptions_in_flight=[], watermarks=skipped
        )
        known.note_poll(began, time.perf_counter())
        due, _ = await batches.due(
            connection, number, queue=0, in_flight=[], max_events=FULL, max_bytes=MAX_BYTES,
            watermark=skipped.get((number, 0)),
        )  # fmt: skip
        if due:
            known.advance((number, 0), due[0].due_at)
        ids = [BatchId(one.id) for one in due]
        if not ids:
            continue
        started = await attempts.start(
            connection, lease, destination=number, worker="bench", batches=ids, places=None,
            events=sum(one.events for one in due), generation=1, erasures=0,
        )  # fmt: skip
        assert started is not None
        async with connection.transaction():
            sent = SentRequest(PerItemReply(()), 207, None, 1)
            await attempts.write_outcome(connection, started, lease, sent)
            await batches.close(connection, ids, "sent", started.id)
            await counts.add(connection, 1, {number: counts.CountDelta(delivered=len(ids))})
        ended = time.perf_counter()
        took.append((ended - began) * 1e3)
        await connection.fetchval(_FIXED)
        fixed.append((time.perf_counter() - ended) * 1e3)
    return f"{median(took):.2f} ({median(took) / median(fixed):.2f})" if took else "–"


@asynccontextmanager
async def _foreign_snapshot(dsn: str) -> AsyncIterator[None]:
    """Keep a snapshot open in another session, so that dead rows cannot be removed."""
    other = await asyncpg.connect(dsn)
    try:
        async with other.transaction(isolation="repeatable_read"):
            await other.fetchval("SELECT count(*) FROM lanes")
            yield
    finally:
        await other.close()
