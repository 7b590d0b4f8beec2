"""Dead letters: dismiss them, and count those that are open."""

from datetime import timedelta

from app.domain.event_query import EventQuery
from app.domain.ids import DestinationNumber
from app.store import PipelineConnection
from app.store.replays.selection import FOUND, Places, arguments_of


async def dismiss(
    connection: PipelineConnection,
    number: DestinationNumber,
    wanted: EventQuery,
    places: Places | None,
    *,
    by: str,
    dry_run: bool,
) -> int:
    """Mark the matching open dead letters as handled by an actor, and return their number.

    With `dry_run`, only count them.
    """
    arguments = arguments_of(number, wanted, places, timedelta(0))
    matching = f"""
        {FOUND}
        SELECT e.batch, e.place FROM exceptions e JOIN singles USING (batch, place)
        WHERE e.status = 'dead' AND e.dismissed_at IS NULL"""
    if dry_run:
        found: int = await connection.fetchval(f"SELECT count(*) FROM ({matching}) matching", *arguments)
        return found
    status: str = await connection.execute(
        f"UPDATE exceptions e SET dismissed_at = now(), dismissed_by = $11 FROM ({matching}) m "
        "WHERE e.batch = m.batch AND e.place = m.place AND e.status = 'dead'",
        *arguments,
        by,
    )
    return int(status.rpartition(" ")[2])


async def dead_open(connection: PipelineConnection, number: DestinationNumber) -> int:
    """Return the number of dead letters that were neither replayed nor dismissed."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM exceptions WHERE destination = $1 AND status = 'dead' AND dismissed_at IS NULL",
        number,
    )
    return found


async def open_dead_letters(
    connection: PipelineConnection, number: DestinationNumber
) -> list[tuple[str, int]]:
    """Return (reason, number) of the dead letters neither replayed nor dismissed, most frequent first."""
    rows = await connection.fetch(
        "SELECT reason, count(*) AS n FROM exceptions "
        "WHERE destination = $1 AND status = 'dead' AND dismissed_at IS NULL GROUP BY reason ORDER BY n DESC",
        number,
    )
    return [(row["reason"], row["n"]) for row in rows]
