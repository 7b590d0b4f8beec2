"""What the console's pages weigh and cost with much stored.

An instance is filled by SQL with what a long past leaves behind, and every page is opened. The CPU time of
the API's process and of Postgres says what a page costs on a machine that others use too.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from app.domain.batch import EventMetadata, pack
from tests.console.showcase import Cast, signed_in
from tests.databases import connected, execute
from tests.pipeline.processes import ADMIN, Product

MOST_BYTES, MOST_MS = 100_000, 200.0
_KEYS = ("EMAIL", "PHONE", "FIRST_NAME", "LAST_NAME", "MAID")
_CONTENT = 243  # bytes that a stored event takes
_MOST_TIMES = 12


@dataclass(frozen=True)
class Weighed:
    """A page: bytes on the wire with its style sheets and scripts, and the CPU time of the server.

    The CPU time is the lowest of all tries: others are that of the page and of work in the background.
    """

    name: str
    whole: int
    cpu_ms: float


async def make_room(dsn: str, batches: int) -> None:
    """Let what is accepted from now on have ids above those of the past to come."""
    await execute(dsn, f"SELECT setval('batch_ids', {batches + 100})")


async def fill(dsn: str, cast: Cast, *, events: int, size: int, destinations: int) -> None:
    """Add a past to the shop: delivered events, one in a hundred dead, a tenth as many rejected, requests.

    Beside it stand active `destinations` with a history and requests of their own.
    """
    async with connected(dsn) as connection:
        await _fill(connection, cast, events=events, size=size, destinations=destinations)
        await connection.execute("VACUUM ANALYZE")


async def _fill(
    connection: asyncpg.Connection, cast: Cast, *, events: int, size: int, destinations: int
) -> None:
    batches = events // size
    number, lane = await connection.fetchrow("SELECT number, lane FROM destinations WHERE id = $1", cast.shop)
    mapping = await connection.fetchval("SELECT number FROM mappings WHERE id = $1", cast.mapping)
    now = int(time.time() * 1000)
    shapes = [
        EventMetadata(
            n,
            f"past-{n}:node-7",
            mapping,
            1,
            "ADD_TO_SHOPPING_CART",
            now,
            _KEYS[: 1 + n % 5],
            (),
            None,
            f"{n:032x}",
            f"journey-{n % 20}",
            f"n{n % 200}",
            request_id=f"{n:016x}",
        )
        for n in range(size)
    ]
    packed = pack(shapes)
    await connection.execute(
        "INSERT INTO batches (day, id, destination, content, shapes) "
        "SELECT (now() AT TIME ZONE 'UTC')::date, n, $2, $3, $4 FROM generate_series(1, $1::int) n",
        batches, number, os.urandom(_CONTENT * size), packed,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO batch_states (batch, day, destination, events, bytes, accepted_at, due_at, "
        "  first_event, last_event, disposition, settled_at, attempts) "
        "SELECT n, (now() AT TIME ZONE 'UTC')::date, $2, $3::int, $3::int * 900, at, at, at, at, 'sent', at, "
        "  ARRAY[1000000000 + n * $3 / 500] "
        "FROM generate_series(1, $1::int) n, LATERAL (SELECT now() - (($1 - n) * 3500.0 / $1 + 60) "
        "  * interval '1 s' AS at) x",
        batches, number, size,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation, "
        "  started_at, settled_at, outcome, http_status, duration_ms, delivered) "
        "SELECT 1000000000 + n, (now() AT TIME ZONE 'UTC')::date, $2, $3, 1, 'w', ARRAY[n], 500, 1, at, at, "
        "  'answered', 207, 80 + n % 97, 500 "
        "FROM generate_series(0, $1::int) n, LATERAL (SELECT now() - (($1 - n) * 3500.0 / $1 + 60) "
        "  * interval '1 s' AS at) x",
        events // 500, lane, number,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO ledger (generation, key, content, batch, place) "
        "SELECT (SELECT max(generation) FROM ledger_generations), "
        "  substr(decode(md5(n::text), 'hex'), 1, 11), substr(decode(md5('c' || n), 'hex'), 1, 7), "
        "  1 + n / $2, n % $2 FROM generate_series(0, $1::int - 1) n",
        events, size,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO exceptions (batch, place, day, destination, mapping, status, event_at, code, reason, "
        "  amazon_message, changed_at) "
        "SELECT 1 + (n * 100) / $3, (n * 100) % $3, (now() AT TIME ZONE 'UTC')::date, $2, $4, 'dead', now(), "
        "  'BAD_REQUEST', 'amazon_refused', 'events[' || n % 500 || ']: No.', now() "
        "FROM generate_series(0, $1::int - 1) n",
        events // 100, number, size, mapping,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO counts (destination, day, writer, accepted, delivered, dead) "
        "SELECT $1, (now() AT TIME ZONE 'UTC')::date - n % 30, 600 + n / 30, $2::bigint / 120, "
        "  $2::bigint / 120 - $2::bigint / 12000, $2::bigint / 12000 FROM generate_series(0, 119) n",
        number, events,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO rejection_records (organisation_id, destination, received_at, event_id, mapping, code, "
        "  reason, field, mapping_field, request_id, execution_id, journey_id, node_id) "
        "SELECT 'default', $1, now() - (($2 - n) * 3500.0 / $2 + 60) * interval '1 s', 'bad-' || n, $3, "
        "  'BAD_REQUEST', 'timestamp_missing', 'event.timestamp', 'event_timestamp', 'req-' || n / 50, "
        "  'run-' || n, 'cart-reminder', 'n' || n % 20 FROM generate_series(1, $2::int) n",
        number, events // 10, mapping,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO rejections (destination, day, writer, code, reason, mapping, field, rejected) "
        "SELECT $1, (now() AT TIME ZONE 'UTC')::date - d, 500, 'BAD_REQUEST', 'wrong_type', $2, "
        "  'event.properties.p' || n, 1 + n FROM generate_series(0, 6) d, generate_series(1, 60) n",
        number, mapping,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO journey_nodes (destination, day, number, journey_id, node_id) "
        "SELECT $1, (now() AT TIME ZONE 'UTC')::date - d, n, 'journey-' || n % 20, 'n' || n "
        "FROM generate_series(0, 29) d, generate_series(1, 200) n ON CONFLICT DO NOTHING",
        number,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO journey_figures (destination, day, node, writer, rejected) "
        "SELECT $1, (now() AT TIME ZONE 'UTC')::date - d, n, 0, 1 + n "
        "FROM generate_series(0, 29) d, generate_series(1, 200) n",
        number,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO lanes (region, advertiser_id) SELECT 'NA', (6000000000000 + n)::text "
        "FROM generate_series(1, $1::int) n",
        destinations,
    )
    await connection.execute(
        "INSERT INTO destinations (id, lane, name, advertiser_id, region, currency, sign_in, "
        "  published_mappings) "
        "SELECT 'dst_' || lpad(id::text, 20, '0'), id, 'Shop ' || id, advertiser_id, 'NA', 'USD', 'valid', 1 "
        "FROM lanes WHERE advertiser_id LIKE '600000%'"
    )
    await connection.execute(
        "INSERT INTO mappings (id, destination, name, draft) SELECT 'map_' || substr(d.id, 5), d.id, 'Cart', "
        "  m.draft FROM destinations d, mappings m WHERE m.id = $1 AND d.advertiser_id LIKE '600000%'",
        cast.mapping,
    )  # fmt: skip
    await connection.execute(
        "WITH published AS (INSERT INTO mapping_versions (mapping, version, document, published_by) "
        "  SELECT id, 1, draft, 'key_1' FROM mappings WHERE published_version IS NULL RETURNING mapping) "
        "UPDATE mappings SET published_version = 1 FROM published WHERE id = published.mapping"
    )
    await connection.execute(
        "INSERT INTO counts (destination, day, writer, accepted, delivered) "
        "SELECT number, (now() AT TIME ZONE 'UTC')::date, 600, 90, 90 FROM destinations "
        "ON CONFLICT DO NOTHING"
    )
    await connection.execute(
        "INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation, "
        "  started_at, settled_at, outcome, http_status, duration_ms, delivered, request_id) "
        "SELECT 2000000000 + 10 * d.number + n, (now() AT TIME ZONE 'UTC')::date, d.lane, d.number, 1, 'w', "
        "  ARRAY[1], 1, 1, at, at, 'answered', 207, 90, 1, md5(d.number || '-' || n) "
        "FROM destinations d, generate_series(1, 3) n, "
        "  LATERAL (SELECT now() - n * interval '4 minutes' AS at) x"
    )
    await _fill_history(connection, every=16)
    await connection.execute(
        "INSERT INTO audit (actor, action, subject, destination, before, after) "
        "SELECT 'key_1', 'destination.changed', $1, $1, '{\"name\": \"a\"}', '{\"name\": \"b\"}' "
        "FROM generate_series(1, 20000)",
        cast.shop,
    )


async def _fill_history(connection: asyncpg.Connection, *, every: int) -> None:
    """Let each destination have delivered in every n-th bucket, and each tenth be in trouble."""
    async with connection.transaction():
        # The monitor of the running instance writes the present buckets in another order.
        await connection.execute("LOCK TABLE outcome_history IN SHARE ROW EXCLUSIVE MODE")
        await connection.execute(
            "INSERT INTO outcome_history (organisation_id, destination, bucket_seconds, at, accepted, "
            "  delivered, rejected, dead, requests, oldest_waiting_seconds, learned_rate) "
            "SELECT 'default', d.number, w.seconds, b.at, w.seconds / 50, w.seconds / 60 * (1 + d.number % 7)"
            ", w.seconds / 60, w.seconds / 900 * (d.number % 3), 2, d.number % 900, 4.5 "
            "FROM destinations d, "
            "  (VALUES (60, 1), (300, 6), (900, 24), (3600, 360), (10800, 168), (86400, 720)) "
            "  AS w (seconds, hours), LATERAL (SELECT date_bin(make_interval(secs => w.seconds), now(),"
            "    TIMESTAMPTZ '2000-01-01 00:00Z') - n * make_interval(secs => w.seconds) AS at "
            "  FROM generate_series(0, w.hours * 3600 / w.seconds, $1::int) n) b "
            "ORDER BY b.at ON CONFLICT DO NOTHING",
            every,
        )  # fmt: skip
    await connection.execute(
        "INSERT INTO incidents (organisation_id, id, destination, kind, severity, state, opened_at,"
        "  last_seen_at, summary, affected_events) "
        "SELECT 'default', 'inc_' || md5(id), id, 'rejections', 'warning', 'acknowledged', now(),"
        "  now() + interval '1 hour', '40 % of the events of the last 5 minutes were rejected.', 12 "
        "FROM destinations WHERE number % 10 = 0"
    )


async def weigh(product: Product, dsn: str, cast: Cast) -> list[Weighed]:
    """Open every page as a browser would, and return what each costs."""
    meter = CpuMeter(product.children["api"].pid, await asyncpg.connect(dsn))
    async with signed_in(product) as client:
        answer = await client.get("/incidents", headers={"Authorization": f"Bearer {ADMIN}"})
        pages = cast.pages | {"incident": f"/console/incidents/{answer.json()['items'][0]['id']}"}
        weighed = [await _weigh(client, meter, name, path) for name, path in pages.items()]
    await meter.connection.close()
    return weighed


@dataclass(frozen=True)
class CpuMeter:
    """Measures the CPU time of an API process and of its sessions, without those of the incident monitor."""

    process: int
    connection: asyncpg.Connection

    async def read(self) -> tuple[float, dict[int, float]]:
        """Return the milliseconds of the process, and those of each session."""
        rows = await self.connection.fetch(
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'conversions-api'"
        )
        return _cpu_ms(self.process), {row["pid"]: _cpu_ms(row["pid"]) for row in rows}


def _cpu_ms(process: int) -> float:
    """Return the time that the threads of a process ran, which the kernel counts in nanoseconds."""
    files = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e6


async def _weigh(client: httpx.AsyncClient, meter: CpuMeter, name: str, path: str) -> Weighed:
    costs: list[float] = []
    # What runs in the background costs too; an expensive page is expensive at every try.
    while not costs or (min(costs) > MOST_MS and len(costs) < _MOST_TIMES):
        process, sessions = await meter.read()
        answer = await client.get(path)
        later, present = await meter.read()
        costs.append(later - process + sum(ms - sessions.get(pid, 0.0) for pid, ms in present.items()))
    assert answer.status_code in (200, 404), (path, answer.status_code)
    found = {part.split('"')[0] for part in answer.text.split('"/console/static/')[1:]}
    assets = sum([(await client.get(f"/console/static/{one}")).num_bytes_downloaded for one in found])
    return Weighed(name, answer.num_bytes_downloaded + assets, min(costs))
