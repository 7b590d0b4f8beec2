"""Incidents: their rows, their lists, and changes by people."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final

from app.domain.ids import DestinationNumber
from app.domain.incidents.kinds import KINDS, Kind, Severity
from app.domain.incidents.machine import REOPEN_WITHIN, Incident, IncidentState
from app.store import PipelineConnection, fetch_optional, fetch_scalar, read_row, read_sql

SQL: Final = read_sql(__file__)


AcceptedFinding = tuple[str, Kind, str]
"""The id of the destination, the kind and the reason."""


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
    await connection.execute(SQL["limit_silence"], limit)


async def record_run(connection: PipelineConnection) -> None:
    """Record that incidents were computed, in the transaction that stores them."""
    await connection.execute(SQL["record_run"])


async def current(connection: PipelineConnection) -> list[StoredIncident]:
    """Return the incidents that are open or were resolved recently.

    A recently resolved incident may reopen, or its end may still have to be announced.
    """
    return [_stored(row) for row in await connection.fetch(SQL["current"], 2 * REOPEN_WITHIN)]


async def accepted_findings(
    connection: PipelineConnection, destinations: Sequence[str], *, within: timedelta
) -> set[AcceptedFinding]:
    """Return the findings that a person acknowledged, of the kinds that this resolves."""
    kinds = [kind for kind in Kind if KINDS[kind].ends_acknowledged]
    rows = await connection.fetch(SQL["accepted_findings"], destinations, kinds, within)
    return {(row["destination"], Kind(row["kind"]), row["reason"]) for row in rows}


_FIXED: Final = attrgetter("destination", "kind", "state", "opened_at")
# What the monitor writes of an incident, new or not.
_MONITORED: Final = attrgetter(
    "severity", "last_seen_at", "summary", "affected_events", "oldest_event_at", "expires_at", "is_silent",
    "reason", "consequences",
)  # fmt: skip


async def insert(connection: PipelineConnection, incident: Incident, *, id: str, organisation: str) -> None:
    """Write a new incident, unless an incident of its kind is open for its destination."""
    await connection.execute(SQL["insert"], organisation, id, *_FIXED(incident), *_MONITORED(incident))


async def update(connection: PipelineConnection, changed: Sequence[tuple[str, Incident]]) -> None:
    """Write the monitor's changes of incidents, given by id. Fields that people set stay unchanged."""
    rows = [(id_, each.resolved_at, each.merged_into, *_MONITORED(each)) for id_, each in changed]
    await connection.executemany(SQL["update"], rows)


async def delete_old(connection: PipelineConnection, *, keep: timedelta) -> None:
    """Delete incidents that were resolved more than `keep` ago."""
    await connection.execute(SQL["delete_old"], keep)


async def open_by_kind(connection: PipelineConnection) -> dict[tuple[str, str], int]:
    """Return the number of open incidents of all organisations by (kind, severity)."""
    rows = await connection.fetch(SQL["open_by_kind"])
    return {(row["kind"], row["severity"]): row["n"] for row in rows}


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """A filter of incidents; None means any. `only` limits them to incidents of these destinations."""

    state: IncidentState | None = None
    destination: str | None = None
    kind: Kind | None = None
    only: Sequence[str] | None = None
    id: str | None = None


async def page(
    connection: PipelineConnection, wanted: IncidentFilter, *, limit: int, below: int | None
) -> list[StoredIncident]:
    """Return up to `limit` incidents with numbers below `below`, newest first."""
    return [_stored(row) for row in await connection.fetch(SQL["page"], *astuple(wanted), below, limit)]


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An open incident and its destination. `holds` tells whether its condition still lasts.

    If events failed permanently, `failed_for` and `amazon_message` are those of the newest one.
    """

    stored: StoredIncident
    suspended: bool | None
    holds: bool
    failed_for: str | None
    amazon_message: str | None


async def most_severe(
    connection: PipelineConnection, *, only: Sequence[str] | None, holds_for: timedelta, limit: int
) -> tuple[list[OpenIncident], int]:
    """Return up to `limit` open incidents and the number of all open incidents.

    They are in order of severity. Within a severity, unacknowledged incidents come first, then older ones.

    The condition of an incident lasts if the monitor found it within `holds_for` before its last run.
    """
    rows = await connection.fetch(SQL["most_severe"], only, holds_for, limit)
    found = [read_row(OpenIncident, row, stored=_stored(row)) for row in rows]
    return found, rows[0]["open"] if rows else 0


async def monitored_at(connection: PipelineConnection) -> datetime | None:
    """Return when incidents were last computed, or None if they never were."""
    return await fetch_optional(connection, datetime, "SELECT max(at) FROM commit_probes")


async def monitor_age_s(connection: PipelineConnection) -> float:
    """Return the seconds since incidents were last computed; infinite if they never were."""
    return await fetch_scalar(connection, float, SQL["monitor_age_s"])


async def find(connection: PipelineConnection, id: str, *, lock: bool = False) -> StoredIncident | None:
    """Return an incident of the acting organisation. With `lock`, lock its row until the transaction ends."""
    if lock:
        await connection.execute(SQL["lock"], id)
    found = await page(connection, IncidentFilter(id=id), limit=1, below=None)
    return found[0] if found else None


async def acknowledge(connection: PipelineConnection, id: str, *, by: str, note: str | None) -> None:
    """Mark an open incident as acknowledged. A note replaces an earlier note."""
    await connection.execute(SQL["acknowledge"], id, by, note)


async def mute(connection: PipelineConnection, id: str, *, until: datetime | None) -> None:
    """Mute the messages about an incident until this time. None ends the mute."""
    await connection.execute(SQL["mute"], id, until)


async def open_kinds(
    connection: PipelineConnection, destinations: Sequence[str]
) -> Mapping[str, list[tuple[Kind, Severity]]]:
    """Return the kind and severity of each open incident of these destinations, by destination."""
    rows = await connection.fetch(SQL["open_kinds"], list(destinations))
    found: dict[str, list[tuple[Kind, Severity]]] = {}
    for row in rows:
        found.setdefault(row["destination"], []).append((Kind(row["kind"]), Severity(row["severity"])))
    return found


async def last_received(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber]
) -> dict[DestinationNumber, datetime]:
    """Return when each of these destinations last received an event, accepted or rejected, if it ever did."""
    rows = await connection.fetch(SQL["last_received"], list(numbers))
    return {DestinationNumber(row["number"]): row["at"] for row in rows if row["at"] is not None}


def _stored(row: Any) -> StoredIncident:
    return read_row(StoredIncident, row, incident=read_row(Incident, row))
