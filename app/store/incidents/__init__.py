"""Incidents: their rows, lists and changes by people, and the lock of the process that computes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from app.domain.ids import DestinationNumber
from app.domain.incidents.kinds import Kind, Severity
from app.domain.incidents.machine import REOPEN_WITHIN, Incident, IncidentState
from app.store import PipelineConnection
from app.store.rows import read_row


@dataclass(frozen=True, slots=True)
class StoredIncident:
    """An incident with its ids and the fields that people set, such as a note or the end of a mute."""

    id: str
    number: int
    organisation: str
    incident: Incident
    destination_name: str | None
    acknowledged_by: str | None
    muted_until: datetime | None
    note: str | None


async def limit_silence(connection: PipelineConnection, silent_after: timedelta) -> None:
    """Let the server end this session if it sends no statement for this time, because its process is frozen.

    The frozen process can then write nothing more, while another process has the lease.
    """
    limit = f"{int(silent_after.total_seconds() * 1000)}ms"
    await connection.execute(
        "SELECT set_config('idle_session_timeout', $1, false), "
        "set_config('idle_in_transaction_session_timeout', $1, false)",
        limit,
    )


async def probe_commit(connection: PipelineConnection) -> None:
    """Write a row, to test that the database commits, and record the time of this run of the monitor."""
    await connection.execute(
        "INSERT INTO commit_probes (id, at) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET at = now()"
    )


_COLUMNS = """
  i.id, i.number, i.organisation_id AS organisation, i.destination, d.name AS destination_name, i.kind,
  i.severity, i.state, i.opened_at, i.last_seen_at, i.resolved_at, i.summary, i.affected_events,
  i.oldest_event_at, i.expires_at, i.acknowledged_at, i.acknowledged_by, i.muted_until, i.note, i.is_silent,
  i.reason, i.consequences, i.merged_into
"""
_FROM = "FROM incidents i LEFT JOIN destinations d ON d.id = i.destination"


async def current(connection: PipelineConnection) -> list[StoredIncident]:
    """Return the incidents that are open or were resolved recently.

    A recently resolved incident may reopen, or its end may still have to be announced.
    """
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} {_FROM} WHERE i.state <> 'resolved'
        UNION ALL
        SELECT {_COLUMNS} {_FROM} WHERE i.state = 'resolved' AND i.resolved_at > now() - $1::interval
        ORDER BY number
        """,
        2 * REOPEN_WITHIN,
    )
    return [_stored(row) for row in rows]


async def insert(connection: PipelineConnection, incident: Incident, *, id: str, organisation: str) -> None:
    """Write a new incident, unless an incident of its kind is open for its destination."""
    await connection.execute(
        """
        INSERT INTO incidents (organisation_id, id, destination, kind, severity, state, opened_at,
          last_seen_at, summary, affected_events, oldest_event_at, expires_at, is_silent,
          reason, consequences)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        ON CONFLICT (organisation_id, coalesce(destination, ''), kind) WHERE state <> 'resolved' DO NOTHING
        """,
        organisation,
        id,
        incident.destination,
        incident.kind.value,
        incident.severity.value,
        incident.state.value,
        incident.opened_at,
        incident.last_seen_at,
        incident.summary,
        incident.affected_events,
        incident.oldest_event_at,
        incident.expires_at,
        incident.is_silent,
        incident.reason,
        list(incident.consequences),
    )


async def update(connection: PipelineConnection, changed: Sequence[tuple[str, Incident]]) -> None:
    """Write the monitor's changes of incidents, given by id. Fields that people set stay unchanged."""
    await connection.executemany(
        """
        UPDATE incidents SET last_seen_at = $2, resolved_at = $3::timestamptz, summary = $4,
          affected_events = $5, oldest_event_at = $6, expires_at = $7, is_silent = $8,
          severity = $9, reason = $10, consequences = $11, merged_into = $12,
          -- A person may have acknowledged the incident since the monitor read it.
          state = CASE WHEN $3::timestamptz IS NOT NULL THEN 'resolved'
            WHEN acknowledged_at IS NOT NULL THEN 'acknowledged' ELSE 'open' END
        WHERE id = $1
        """,
        [
            (
                id_,
                incident.last_seen_at,
                incident.resolved_at,
                incident.summary,
                incident.affected_events,
                incident.oldest_event_at,
                incident.expires_at,
                incident.is_silent,
                incident.severity.value,
                incident.reason,
                list(incident.consequences),
                incident.merged_into,
            )
            for id_, incident in changed
        ],
    )


async def delete_old(connection: PipelineConnection, *, keep: timedelta) -> None:
    """Delete incidents that were resolved more than `keep` ago."""
    await connection.execute(
        "DELETE FROM incidents WHERE state = 'resolved' AND resolved_at < now() - $1::interval", keep
    )


async def open_by_kind(connection: PipelineConnection) -> dict[tuple[str, str], int]:
    """Return the number of open incidents of all organisations by (kind, severity)."""
    rows = await connection.fetch(
        "SELECT kind, severity, count(*) AS n FROM incidents WHERE state <> 'resolved' GROUP BY 1, 2"
    )
    return {(row["kind"], row["severity"]): row["n"] for row in rows}


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """A filter of incidents; None means any. `only` limits them to incidents of these destinations."""

    state: IncidentState | None = None
    destination: str | None = None
    kind: Kind | None = None
    only: Sequence[str] | None = None


async def page(
    connection: PipelineConnection, wanted: IncidentFilter, *, limit: int, below: int | None
) -> list[StoredIncident]:
    """Return up to `limit` incidents with numbers below `below`, newest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} {_FROM}
        WHERE i.organisation_id = acting_organisation()
          AND ($1::text IS NULL OR i.state = $1) AND ($2::text IS NULL OR i.destination = $2)
          AND ($3::text IS NULL OR i.kind = $3) AND ($4::text[] IS NULL OR i.destination = ANY ($4))
          AND ($5::bigint IS NULL OR i.number < $5)
        ORDER BY i.number DESC LIMIT $6
        """,
        wanted.state,
        wanted.destination,
        wanted.kind,
        None if wanted.only is None else list(wanted.only),
        below,
        limit,
    )
    return [_stored(row) for row in rows]


# Whether the condition of an incident `i` of the destination `d` still lasts. It lasts if the monitor found
# it at most {} (an interval) before its last run. An incident of the sign-in ends as soon as the destination
# is reconnected.
CONDITION_HOLDS: Final = """(
  coalesce(i.last_seen_at > (SELECT max(at) FROM commit_probes) - {}::interval, true)
    AND (i.kind NOT IN ('sign_in_lost', 'amazon_forbidden') OR d.sign_in_reason IS NOT NULL))"""


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An open incident and its destination. `holds` tells whether its condition still lasts."""

    stored: StoredIncident
    destination_state: str | None
    suspended: bool | None
    sign_in_reason: str | None
    advertiser_id: str | None
    holds: bool


async def most_severe(
    connection: PipelineConnection, *, only: Sequence[str] | None, holds_for: timedelta, limit: int
) -> tuple[list[OpenIncident], int]:
    """Return up to `limit` open incidents and the number of all open incidents.

    They are in order of severity. Within a severity, unacknowledged incidents come first, then older ones.

    The condition of an incident lasts if the monitor found it within `holds_for` before its last run.
    """
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS}, d.state AS destination_state, d.suspended, d.sign_in_reason, d.advertiser_id,
          {CONDITION_HOLDS.format("$2")} AS holds, count(*) OVER () AS open
        {_FROM}
        WHERE i.organisation_id = acting_organisation() AND i.state <> 'resolved'
          AND ($1::text[] IS NULL OR i.destination = ANY ($1))
        ORDER BY CASE i.severity WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END,
          i.state = 'acknowledged', i.opened_at, i.number LIMIT $3
        """,
        None if only is None else list(only),
        holds_for,
        limit,
    )
    found = [read_row(OpenIncident, row, stored=_stored(row)) for row in rows]
    return found, rows[0]["open"] if rows else 0


async def monitored_at(connection: PipelineConnection) -> datetime | None:
    """Return when incidents were last computed, or None if they never were."""
    at: datetime | None = await connection.fetchval("SELECT max(at) FROM commit_probes")
    return at


async def find(connection: PipelineConnection, id: str, *, lock: bool = False) -> StoredIncident | None:
    """Return an incident of the acting organisation. With `lock`, lock its row until the transaction ends."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} {_FROM} WHERE i.organisation_id = acting_organisation() AND i.id = $1 "
        f"{'FOR UPDATE OF i' if lock else ''}",
        id,
    )
    return None if row is None else _stored(row)


async def acknowledge(connection: PipelineConnection, id: str, *, by: str, note: str | None) -> None:
    """Mark an open incident as acknowledged. A note replaces an earlier note."""
    await connection.execute(
        """
        UPDATE incidents SET acknowledged_at = coalesce(acknowledged_at, now()),
          acknowledged_by = coalesce(acknowledged_by, $2), note = coalesce($3, note),
          state = CASE WHEN state = 'open' THEN 'acknowledged' ELSE state END
        WHERE organisation_id = acting_organisation() AND id = $1
        """,
        id,
        by,
        note,
    )


async def mute(connection: PipelineConnection, id: str, *, until: datetime | None) -> None:
    """Mute the messages about an incident until this time. None ends the mute."""
    await connection.execute(
        "UPDATE incidents SET muted_until = $2 WHERE organisation_id = acting_organisation() AND id = $1",
        id,
        until,
    )


async def open_kinds(
    connection: PipelineConnection, destinations: Sequence[str]
) -> Mapping[str, list[tuple[Kind, Severity]]]:
    """Return the kind and severity of each open incident of these destinations, by destination."""
    rows = await connection.fetch(
        "SELECT destination, kind, severity FROM incidents "
        "WHERE organisation_id = acting_organisation() AND state <> 'resolved' "
        "AND destination = ANY ($1::text[])",
        list(destinations),
    )
    found: dict[str, list[tuple[Kind, Severity]]] = {}
    for row in rows:
        found.setdefault(row["destination"], []).append((Kind(row["kind"]), Severity(row["severity"])))
    return found


async def last_received(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber]
) -> dict[DestinationNumber, datetime]:
    """Return when each of these destinations last received an event, accepted or rejected, if it ever did."""
    rows = await connection.fetch(
        "SELECT n AS number, greatest(accepted.at, rejected.at) AS at FROM unnest($1::int[]) AS n "
        "LEFT JOIN LATERAL (SELECT accepted_at AS at FROM batch_states WHERE destination = n "
        "  ORDER BY batch DESC LIMIT 1) accepted ON true "
        "LEFT JOIN LATERAL (SELECT max(last_at) AS at FROM rejections WHERE destination = n "
        "  AND day >= (now() AT TIME ZONE 'UTC')::date - 1) rejected ON true",
        list(numbers),
    )
    return {DestinationNumber(row["number"]): row["at"] for row in rows if row["at"] is not None}


def _stored(row: Any) -> StoredIncident:
    return read_row(StoredIncident, row, incident=read_row(Incident, row))
