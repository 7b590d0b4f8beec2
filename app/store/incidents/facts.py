"""Read the facts from which incidents are computed: requests, waiting and received events, workers.

A statement costs some index probes per destination, regardless of the backlog. For an idle destination it
costs one probe. The columns of the statements have the names of the fields of `DestinationFacts`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from asyncpg import Record

from app.domain.ids import DestinationNumber
from app.domain.incidents.conditions import DestinationFacts, SchemaDrift, SuspectAmounts
from app.store import PipelineConnection, fetch_only, read_row, read_sql
from app.store.incidents.alerting import AlertingRow, alerting_row

SQL: Final = read_sql(__file__)

_STEP = timedelta(seconds=5)  # the time that a row of `intake_steps` covers
_KEEP_STEPS = timedelta(minutes=90)


@dataclass(frozen=True, slots=True)
class WatchedDestination:
    """A destination, the state of its lane, and its alerting settings.

    `no_token_since` is the expiry of an access token whose refresh was tried, but did not succeed.
    """

    number: DestinationNumber
    id: str
    organisation: str
    lane: int
    sign_in_reason: str | None
    breaker: str
    is_blocked: bool
    is_paused: bool
    no_token_since: datetime | None
    alerting: AlertingRow


async def destinations(connection: PipelineConnection) -> list[WatchedDestination]:
    """Return every destination of all organisations, without archived ones."""
    rows = await connection.fetch(SQL["destinations"])
    return [read_row(WatchedDestination, row, alerting=alerting_row(row)) for row in rows]


async def record_intake(connection: PipelineConnection) -> None:
    """Add the events received since the last call to `intake_steps`, in the caller's transaction."""
    await connection.execute(SQL["record_intake"], _STEP)


async def forget_intake(connection: PipelineConnection) -> None:
    """Delete the rows of `intake_steps` and `intake_totals` that are no longer read."""
    await connection.execute("DELETE FROM intake_steps WHERE at < now() - $1::interval", _KEEP_STEPS)
    await connection.execute("DELETE FROM intake_totals WHERE day < (now() AT TIME ZONE 'UTC')::date - 2")


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """The events of the last complete hour, and of the same hour on up to fourteen earlier days."""

    last_hour: int
    same_hours: tuple[int, ...]
    days_of_volume: int


async def volumes(connection: PipelineConnection) -> dict[DestinationNumber, VolumeFacts]:
    """Return the hourly volumes of each destination that has data of at least seven days."""
    rows = await connection.fetch(SQL["volumes"])
    return {DestinationNumber(row["destination"]): read_row(VolumeFacts, row) for row in rows}


async def read(
    connection: PipelineConnection,
    destinations: Sequence[WatchedDestination],
    *,
    failing_s: Sequence[float],
    rejections_s: Sequence[float],
    max_event_age: timedelta,
    expiring_within: timedelta,
    volumes: Mapping[DestinationNumber, VolumeFacts],
) -> dict[DestinationNumber, DestinationFacts]:
    """Return the facts of these destinations by number.

    `failing_s` and `rejections_s` have the windows in seconds in which the requests and the events of each
    destination are counted.
    """
    numbers = [each.number for each in destinations]
    facts: dict[DestinationNumber, dict[str, Any]] = {
        each.number: {
            "sign_in_reason": each.sign_in_reason,
            "is_paused": each.is_paused,
            "blocked": each.is_blocked,
            **(asdict(volumes[each.number]) if each.number in volumes else {}),
        }
        for each in destinations
    }
    for statement, *arguments in (
        (SQL["requests"], numbers, failing_s),
        (SQL["waiting"],),
        (SQL["dead"],),
        (SQL["expiring"], max_event_age, expiring_within),
        (SQL["intake"], numbers, rejections_s, _STEP),
    ):
        _add(facts, await connection.fetch(statement, *arguments))
    troubled = [
        number
        for number, known in facts.items()
        if known["sign_in_reason"] is not None or known.get("oldest_waiting_at") is not None
    ]
    if troubled:
        _add(facts, await connection.fetch(SQL["waiting_events"], troubled, max_event_age))
    return {number: DestinationFacts(**known) for number, known in facts.items()}


def _add(facts: Mapping[DestinationNumber, dict[str, Any]], rows: Sequence[Record]) -> None:
    for row in rows:
        number, known = row["number"], dict(row)
        del known["number"]
        if number in facts:  # other destinations are archived
            facts[number] |= known


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """Whether a worker owns a lane now, and the oldest sendable batch.

    `oldest_sendable_at` is the time at which the oldest sendable batch was accepted.
    """

    is_leased: bool
    oldest_sendable_at: datetime | None


async def workers(connection: PipelineConnection, *, lease: timedelta) -> WorkerFacts:
    """Return whether a worker owns a lane, and how long sendable batches have waited.

    `lease` is the longest time of a lease.
    """
    return await fetch_only(connection, WorkerFacts, SQL["workers"], lease)


async def mapping_problems(
    connection: PipelineConnection,
) -> tuple[dict[DestinationNumber, SuspectAmounts], dict[DestinationNumber, SchemaDrift]]:
    """Return the greatest problem of each kind of each destination, among its mappings with events of a day.

    A process that ended leaves its figures: they count only while no other process has newer ones.
    """
    rows = await connection.fetch(SQL["mapping_problems"])
    suspects: dict[DestinationNumber, SuspectAmounts] = {}
    drifts: dict[DestinationNumber, SchemaDrift] = {}
    for row in rows:
        number = row["destination"]
        if row["rule"] is not None:
            suspects.setdefault(
                number, read_row(SuspectAmounts, row, path=row["suspect_path"], events=row["suspects"])
            )
        if row["path"] is not None:
            drifts.setdefault(number, read_row(SchemaDrift, row))
    return suspects, drifts
