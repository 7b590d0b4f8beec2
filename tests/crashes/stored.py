"""Reading the database into evidence, from outside the service: with SQL of our own and one shape decoder.

The states are derived here anew, from the meaning that docs/states.md gives to the rows, so that a mistake of
the service's own reading is no mistake of the judge's.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

import asyncpg

from app.domain.batch import read_shapes
from tests.crashes.evidence import Attempt

_FATES = {"sent": "delivered", "expired": "expired", "discarded": "dead"}
_WAITING = {"paused": "held", "needs_reconnect": "parked", "draft": "parked"}


async def places(
    connection: asyncpg.Connection, destinations: Sequence[str], *, without: Collection[int] = ()
) -> dict[str, list[str]]:
    """Return, by event id, the state of each place in which a ledger or a batch holds it.

    Batches `without` are left out: the run damaged them, and what became of them is read elsewhere.

    A batch without its ledger row, or a row without its batch, shows as an unknown state.
    """
    batches = await connection.fetch(
        "SELECT p.id, p.shapes, s.disposition, s.tries, d.state, s.events FROM batches p "
        "LEFT JOIN batch_states s ON s.batch = p.id AND s.day = p.day "
        "JOIN destinations d ON d.number = p.destination WHERE d.id = ANY($1) AND p.id <> ALL($2::bigint[])",
        destinations,
        list(without),
    )
    ids = [row["id"] for row in batches]
    alone = {
        (row["batch"], row["place"]): row["status"]
        for row in await connection.fetch(
            "SELECT batch, place, status FROM exceptions WHERE batch = ANY($1)", ids
        )
    }
    entered = {
        (row["batch"], row["place"])
        for row in await connection.fetch("SELECT batch, place FROM ledger WHERE batch = ANY($1)", ids)
    }
    found: dict[str, list[str]] = defaultdict(list)
    lonely = set(entered)
    for row in batches:
        shapes = read_shapes(row["shapes"])
        # What was erased while it waited is no longer one of the batch's events.
        erased = sum(alone.get((row["id"], shape.place)) == "erased" for shape in shapes)
        for shape in shapes:
            place = (row["id"], shape.place)
            lonely.discard(place)
            state = _state(row, alone.get(place))
            if place not in entered or not len(shapes) - erased <= (row["events"] or 0) <= len(shapes):
                state = f"{state} without its ledger row"
            found[shape.event_id].append(state)
    orphans = await connection.fetch(
        "SELECT batch, place FROM ledger l WHERE batch <> ALL($1::bigint[]) "
        "AND NOT EXISTS (SELECT FROM batches p WHERE p.id = l.batch)",
        list(without),
    )
    for batch, number in lonely | {(row["batch"], row["place"]) for row in orphans}:
        found[f"ledger row {batch}/{number}"].append("in the ledger only")
    return dict(found)


def _state(row: asyncpg.Record, alone: str | None) -> str:
    if alone is not None and alone != "retrying":
        return alone
    if alone is None and row["disposition"] is not None:
        return _FATES[row["disposition"]]
    if row["state"] in _WAITING:
        return _WAITING[row["state"]]
    return "retrying" if alone is not None or row["tries"] else "queued"


async def attempts(connection: asyncpg.Connection, destinations: Sequence[str]) -> list[Attempt]:
    """Return every attempt of these destinations, in order of id."""
    rows = await connection.fetch(
        "SELECT a.id, d.advertiser_id, a.request_id, a.http_status, "
        "extract(epoch FROM a.started_at)::float8 AS started, "
        "extract(epoch FROM a.settled_at)::float8 AS settled "
        "FROM attempts a JOIN destinations d ON d.number = a.destination WHERE d.id = ANY($1) ORDER BY a.id",
        destinations,
    )
    return [
        Attempt(
            id=row["id"],
            advertiser=row["advertiser_id"],
            number=_number(row["request_id"]),
            started=row["started"],
            settled=row["settled"],
            status=row["http_status"],
        )
        for row in rows
    ]


def _number(request_id: str | None) -> int | None:
    """The stand-in calls its answers `sandbox-NUMBER`."""
    tail = (request_id or "").rpartition("-")[2]
    return int(tail) if tail.isdecimal() else None


async def waiting(connection: asyncpg.Connection, destinations: Sequence[str]) -> int:
    """Return how much is still open: batches, retries, and attempts without a result."""
    number: int = await connection.fetchval(
        "SELECT (SELECT count(*) FROM batch_states s JOIN destinations d ON d.number = s.destination "
        "          WHERE d.id = ANY($1) AND s.settled_at IS NULL) "
        "     + (SELECT count(*) FROM exceptions e JOIN destinations d ON d.number = e.destination "
        "          WHERE d.id = ANY($1) AND e.status = 'retrying') "
        "     + (SELECT count(*) FROM attempts a JOIN destinations d ON d.number = a.destination "
        "          WHERE d.id = ANY($1) AND a.settled_at IS NULL)",
        destinations,
    )
    return number


async def counts(connection: asyncpg.Connection, destinations: Sequence[str]) -> dict[str, int]:
    """Return the sums of the counts as they are stored: what waits is `queued` or `retrying`."""
    row = await connection.fetchrow(
        "SELECT coalesce(sum(accepted), 0)::bigint AS accepted, "
        "coalesce(sum(retrying), 0)::bigint AS retrying, "
        "coalesce(sum(delivered), 0)::bigint AS delivered, coalesce(sum(dead), 0)::bigint AS dead, "
        "coalesce(sum(expired), 0)::bigint AS expired, "
        "coalesce(sum(erased), 0)::bigint AS erased "
        "FROM counts c JOIN destinations d ON d.number = c.destination WHERE d.id = ANY($1)",
        destinations,
    )
    assert row is not None
    totals = {**dict(row), "held": 0, "parked": 0}
    final = ("delivered", "dead", "expired", "erased")
    totals["queued"] = totals["accepted"] - totals["retrying"] - sum(totals[name] for name in final)
    return totals
