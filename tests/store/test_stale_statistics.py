"""Statements of the pipeline read few pages also when Postgres' statistics are of another time.

Each statement of the `.sql` files on a table of events runs with the settings of a worker and of an API
process, and is compared with itself after an ANALYZE.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import pytest

from app.processes.resources import pool_settings
from app.store import batches, due_work, read_sql
from tests.databases import PAGES_READ, WITHOUT_AUTOVACUUM
from tests.store.test_sql_files import FILES, STORE, module_of

TABLES: Final = (
    *("batch_states", "batches", "exceptions", "attempts", "responses", "callback_events", "callbacks"),
    *("ledger", "mapped_duplicates", "rejection_records", "journey_figures", "id_digests"),
)
NUMBER: Final = 5_000
FIRST_FINAL: Final = 1_000_001
SPARE_PAGES: Final = {"of open events": 400}  # else 60: an index has lost most of its rows

# Statements that read all open events, or all or all dead ones of a destination. For a join Postgres may look
# up each of them.
WIDE: Final = {
    "batches._FINAL",
    "callbacks.mark_failed",
    "callbacks.read_status",
    "database.partitions.has_open",
    "database.deployment.waiting_events",
    "destinations.figures.destination_figures",
    "events.failures.groups",
    "match_quality.reconciliation.mapped_duplicates",
    "organisations.usage.record_day",
    "replays.selection.candidate_batches",
    "waiting_events.read",
}
LOOKUPS: Final = 15  # pages for each event
# Statements about one request read its own batches, however long the queue is.
OF_A_REQUEST: Final = {
    *("attempts.write_delivered", "attempts.write_outcome", "batches.close", "batches.lock_unchanged"),
    *("batches.postpone", "batches.requeue", "batches.still_open"),
}
MOST_OF_A_REQUEST: Final = 120  # pages; a scan of all batches reads more

NOW: Final = datetime.now(UTC)
# By the type of a parameter: batch 1, destination 1, and so on.
VALUES: Final[Mapping[str, Any]] = {
    "int4": 1,
    "int8": 1,
    "int2": 0,
    "float8": 1.0,
    "bool": True,
    "text": f"dst_{1:020d}",
    "bytea": b"k" * 16,
    "interval": timedelta(hours=1),
    "date": NOW.date(),
    "timestamptz": NOW - timedelta(days=1),
    "jsonb": "{}",
    "int4[]": [1],
    "int8[]": [1],
    "int2[]": [0],
    "text[]": ["{0}"],
    "bytea[]": [b"k" * 16],
    "bool[]": [True],
    "float8[]": [60.0],
    "interval[]": [timedelta(0)],
    "date[]": [NOW.date()],
    "timestamptz[]": [NOW],
}
# By statement and number of the parameter, where the type does not tell.
SPECIAL: Final[Mapping[str, Mapping[int, Any]]] = {
    "attempts.start": {2: 0},
    "attempts.find_outcome": {3: 0},
    "attempts.write_outcome": {4: 0},
    "attempts.write_delivered": {4: 0},
    "batches.close": {3: "sent"},
    "batches.postpone": {3: 0},
    "callbacks.note": {5: [1], 6: ["delivered"]},
    "events.journey_figures.add": {2: [5]},
    "exceptions.write": {7: ["retrying"]},
    "incidents.facts.expiring": {1: timedelta(days=21), 2: timedelta(days=1)},
    "ledger.claim": {6: 11, 7: 7},
    "privacy.erasures.write_exceptions": {5: ["erased"]},
    "replays.selection.candidate_batches": {2: ["dead"]},
}


def statements() -> Iterator[tuple[str, str]]:
    """Yield (place, text) of each statement on a table of events; those that only read come first."""
    found = {
        f"{file.relative_to(STORE).with_suffix('').as_posix().replace('/', '.')}.{name}": text
        for file in FILES
        for name, text in read_sql(str(module_of(file))).items()
    } | {
        "batches._DUE": batches._DUE,
        "batches._FINAL": batches._FINAL.format(some="", limit=batches.KEYS_LIMIT),
        "due_work._BUSY": due_work._BUSY,
        "due_work._HEADS": due_work._HEADS,
        "due_work._POLL": due_work._POLL,
    }
    of_events = {name: text for name, text in found.items() if re.search(rf"\b({'|'.join(TABLES)})\b", text)}
    # A statement that is rolled back leaves rows behind that later statements meet.
    yield from sorted(of_events.items(), key=lambda each: bool(re.search("INSERT|UPDATE|DELETE", each[1])))


def arguments(place: str, statement: Any) -> list[Any]:
    aliases = {"bigint": "int8", "integer": "int4", "smallint": "int2", "boolean": "bool"}
    names = []
    for parameter in statement.get_parameters():
        element = parameter.name.removesuffix("[]")
        element = {**aliases, "double precision": "float8"}.get(element, element)
        names.append(f"{element}[]" if parameter.kind == "array" else element)
    special = SPECIAL.get(place, {})
    return [special.get(n, VALUES.get(name)) for n, name in enumerate(names, start=1)]


# A tenth of the events are of destination 1.
SET_UP: Final = f"""
    {WITHOUT_AUTOVACUUM};
    INSERT INTO lanes (id, region, advertiser_id) OVERRIDING SYSTEM VALUE
      VALUES (1, 'NA', '1'), (2, 'NA', '2');
    INSERT INTO destinations (id, number, lane, name, advertiser_id, region, currency, sign_in,
        published_mappings) OVERRIDING SYSTEM VALUE
      SELECT 'dst_' || lpad(n::text, 20, '0'), n, n, 'x', n::text, 'NA', 'USD', 'valid', 1
      FROM generate_series(1, 2) n;
    INSERT INTO callback_destinations (destination, by_actor) VALUES (1, 'x');
    SELECT setval('attempt_ids', 2000000);
"""
ADD: Final = """
    CREATE TEMPORARY TABLE rows AS SELECT n, 1 + (n % 10 > 0)::int AS destination, current_date AS day,
        now() - interval '1 hour' + n * interval '1 ms' AS due_at
      FROM generate_series({first}, {first} + {number} - 1) n;
    INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event, data_key,
        due_at, disposition, settled_at)
      SELECT n, day, destination, 1, 1, now(), now(), 'k', due_at, {closed} FROM rows;
    INSERT INTO batches (id, day, destination, content, shapes)
      SELECT n, day, destination, 'c', 's' FROM rows;
    INSERT INTO exceptions (batch, place, day, destination, status, event_at, due_at, reason)
      SELECT n, place, day, destination, status, now(), due_at, 'x' FROM rows, (VALUES {statuses})
        AS e (place, status);
    INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation, request_id,
        started_at, settled_at, outcome)
      SELECT n, day, destination, destination, 0, 'w', ARRAY[n], 1, 1, 'r' || n, due_at, {answered} FROM rows;
    INSERT INTO ledger (generation, key, content, batch, place)
      SELECT 1, substr(sha256(n::text::bytea), 1, 11), '', n, 0 FROM rows;
    INSERT INTO mapped_duplicates (key, day, batch, place)
      SELECT substr(sha256(n::text::bytea), 1, 16), day, n, 0 FROM rows;
    INSERT INTO rejection_records (organisation_id, destination, received_at, event_id, code, reason)
      SELECT 'default', destination, now(), 'bad-' || n, 'BAD_REQUEST', 'timestamp_missing' FROM rows;
    INSERT INTO journey_figures (destination, day, node, writer, accepted)
      SELECT 1000 + n % 50, day, 1 + n % 1000, n, 1 FROM rows;
    INSERT INTO id_digests (organisation_id, first_batch, last_batch, day, digests)
      SELECT 'default', 20 * n + 1, 20 * n + 20, day, 'ids' FROM rows;
    INSERT INTO callback_events (destination, batch, day, places, events, status)
      SELECT destination, n, day, '{{0}}', 1, 'delivered' FROM rows;
"""
# Events that are final have a response and a callback; few requests are open at once.
ANSWER: Final = """
    INSERT INTO responses (attempt, day, destination, content) SELECT n, day, 1, '{{}}' FROM rows;
    WITH made AS (INSERT INTO callbacks (tries, due_at)
      SELECT 0, now() + interval '1 day' FROM rows WHERE n % 50 = 0 RETURNING id)
    UPDATE callback_events SET callback = (SELECT min(id) FROM made) + batch % (SELECT count(*) FROM made);
    DROP TABLE rows;
"""
LEAVE_OPEN: Final = "DELETE FROM attempts WHERE settled_at IS NULL AND id > 20; DROP TABLE rows"
SETTLE: Final = """
    UPDATE batch_states SET disposition = 'sent', settled_at = now() WHERE batch BETWEEN 21 AND 1000000;
    UPDATE exceptions SET status = 'delivered' WHERE batch BETWEEN 21 AND 1000000;
    DELETE FROM callback_events WHERE batch BETWEEN 21 AND 1000000;
"""


def final_events() -> str:
    return ADD.format(
        first=FIRST_FINAL,
        number=NUMBER,
        closed="'sent', now() - interval '1 hour'",
        statuses="(0, 'delivered'), (1, 'expired')",
        answered="now(), 'answered'",
    ) + ANSWER.replace("{{}}", "{}")


def open_events() -> str:
    statuses = "(0, 'retrying'), (1, 'dead')"
    values = ADD.format(first=1, number=NUMBER, closed="NULL, NULL", statuses=statuses, answered="NULL, NULL")
    return values + LEAVE_OPEN


async def pages_of(connection: asyncpg.Connection, prepared: dict[str, Any]) -> dict[str, int]:
    """Return the pages of tables and indexes that each statement reads. Prepare those that are not."""
    pages = {}
    for place, text in statements():
        async with rolled_back(connection):
            if place not in prepared:
                prepared[place] = await connection.prepare(text)
            before = await connection.fetchval(PAGES_READ)
            await prepared[place].fetch(*arguments(place, prepared[place]))
            pages[place] = await connection.fetchval(PAGES_READ) - before
    return pages


@asynccontextmanager
async def rolled_back(connection: asyncpg.Connection) -> Any:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("statistics", ["none", "of empty tables", "without open events", "of open events"])
async def test_a_statement_keeps_its_plan(
    database_url: str, owner: asyncpg.Connection, statistics: str
) -> None:
    """It reads at most twice as much as after an ANALYZE; a statement of WIDE a few pages for each event."""
    analyze = f"ANALYZE {', '.join(TABLES)}"
    await owner.execute(SET_UP)
    if statistics == "of empty tables":
        await owner.execute(analyze)
    await owner.execute(final_events())
    if statistics == "without open events":
        await owner.execute(analyze)
    async with AsyncExitStack() as stack:
        sessions = []
        for role in ("worker", "api"):
            connection = await asyncpg.connect(
                database_url.replace("+asyncpg", ""), server_settings=pool_settings(role)
            )
            stack.push_async_callback(connection.close)
            sessions.append((role, connection))
        plans: dict[str, dict[str, Any]] = {"worker": {}, "api": {}}
        for role, connection in sessions:
            await pages_of(connection, plans[role])
        await owner.execute(open_events())
        if statistics == "of open events":
            await owner.execute(analyze)
            await owner.execute(SETTLE)
            await owner.execute(f"VACUUM {', '.join(TABLES)}")
        # With the plans of before these events, and with later ones.
        stale = {role: await pages_of(connection, plans[role]) for role, connection in sessions}
        later = {f"{role}, later": await pages_of(connection, {}) for role, connection in sessions}
        await owner.execute(analyze)
        fresh = {role: await pages_of(connection, {}) for role, connection in sessions}
    most = {
        place: 2 * max(pages[place] for pages in fresh.values()) + SPARE_PAGES.get(statistics, 60)
        for place in fresh["api"]
    }
    most |= dict.fromkeys(WIDE, NUMBER * LOOKUPS) | dict.fromkeys(OF_A_REQUEST, MOST_OF_A_REQUEST)
    found = stale | later | fresh
    wrong = {
        (place, kind): (pages[place], limit)
        for kind, pages in found.items()
        for place, limit in most.items()
        if pages[place] > limit
    }
    assert not wrong, wrong
