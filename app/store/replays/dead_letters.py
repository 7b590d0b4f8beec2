"""Dead letters: dismiss them, and count those that are open."""

from typing import Final

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection, fetch_scalar, read_sql
from app.store.replays.selection import FOUND, ReplaySelection

SQL: Final = read_sql(__file__)


async def dismiss(
    connection: PipelineConnection, selection: ReplaySelection, *, by: str, dry_run: bool
) -> int:
    """Mark the selected open dead letters as handled by an actor, and return their number.

    With `dry_run`, only count them.
    """
    statement = f"""
        {FOUND}, matching AS (
          -- Open dead letters among the selected events.
          SELECT e.batch, e.place FROM exceptions e JOIN singles USING (batch, place)
          WHERE e.status = 'dead' AND e.dismissed_at IS NULL
        ), dismissed AS (
          -- A dry run changes nothing.
          UPDATE exceptions e SET dismissed_at = now(), dismissed_by = $11 FROM matching m
          WHERE NOT $12 AND e.batch = m.batch AND e.place = m.place AND e.status = 'dead' RETURNING 1
        )
        SELECT CASE WHEN $12 THEN (SELECT count(*) FROM matching) ELSE (SELECT count(*) FROM dismissed) END"""
    return await fetch_scalar(connection, int, statement, *selection.arguments, by, dry_run)


async def dead_open(connection: PipelineConnection, number: DestinationNumber) -> int:
    """Return the number of dead letters that were neither replayed nor dismissed."""
    return await fetch_scalar(connection, int, SQL["dead_open"], number)


async def open_dead_letters(
    connection: PipelineConnection, number: DestinationNumber
) -> list[tuple[str, int]]:
    """Return (reason, number) of the dead letters neither replayed nor dismissed, most frequent first."""
    rows = await connection.fetch(SQL["open_dead_letters"], number)
    return [(row["reason"], row["n"]) for row in rows]
