"""What an event leaves on disk, and what destinations take of memory and connections: for docs/sizing.md."""

import asyncio

from bench.pipeline import Pipeline
from bench.report import MIB, table
from bench.stage import Stage

# events per post, events, connections
_RUNS = ((500, 100_000, 4), (100, 100_000, 4), (1, 30_000, 64))
_DESTINATIONS = (10, 100, 1_000)
# A table and, if it is partitioned, all of its partitions, with indexes.
_SIZES = """
    SELECT coalesce(parent.relname, c.relname) AS name, sum(pg_total_relation_size(c.oid))::bigint AS bytes
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class parent ON parent.oid = i.inhparent
    WHERE c.relkind = 'r' AND n.nspname = 'public' GROUP BY 1
"""
_CONNECTIONS = """
    SELECT application_name AS name, count(*) AS connections FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() GROUP BY 1 ORDER BY 1
"""


def run(running: Stage, pipeline: Pipeline) -> None:
    """Print bytes per event by table, then memory and connections by number of destinations."""
    rows = []
    for per_post, events, connections in _RUNS:
        pipeline.warm(10)
        before = _fetch(running, _SIZES)
        measured = pipeline.run(events, per_post, 10, connections=connections)
        after = _fetch(running, _SIZES)
        grown = {name: (size - before.get(name, 0)) / events for name, size in after.items()}
        named = ("batches", "batch_states", "ledger", "attempts")
        others = sum(size for name, size in grown.items() if name not in named)
        rows.append((per_post, *(grown[name] for name in named), others, measured.wal, measured.cpu))
    print("## Bytes per event\n")
    head = ("events a post", "batches", "batch_states", "ledger", "attempts", "all others", "WAL", "CPU us")
    print(table(head, rows), flush=True)
    print("## Memory and connections by destinations, each on a lane of its own\n")
    found = []
    for number in _DESTINATIONS:
        pipeline.connect(number)
        resident = pipeline.run(max(20_000, 20 * number), 100, number, connections=4).resident
        opened = ", ".join(f"{name} {count}" for name, count in _fetch(running, _CONNECTIONS).items())
        found.append((number, *(resident[name] / MIB for name in ("api", "worker")), opened))
    print(table(("destinations", "API MB", "worker MB", "connections"), found), flush=True)


def _fetch(running: Stage, statement: str) -> dict[str, int]:
    async def fetch() -> dict[str, int]:
        async with running.connected() as connection:
            return {str(row[0]): int(row[1]) for row in await connection.fetch(statement)}

    return asyncio.run(fetch())
