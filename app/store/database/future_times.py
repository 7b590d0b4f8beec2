"""Correct times that were written while the database's clock was ahead.

When the clock is right again, such a time is later than any that the service writes. Without a correction,
events, leases and incidents would wait until the clock reaches it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from app.store import PipelineConnection, execute

_LIMIT = 10_000  # rows of a table in one run


@dataclass(frozen=True, slots=True)
class FutureTime:
    """A column whose times are at most `longest` in the future, in rows that match `where`.

    `key` identifies a row, or a few rows together.
    """

    table: str
    column: str
    key: str
    longest: timedelta
    where: str = "true"

    @property
    def statement(self) -> str:
        """The statement that sets times too far in the future to now. It skips locked rows."""
        # `now()` would be the start of the transaction, and later requests would seem to begin in the future.
        # The second more is for rows that are committed between this time and the statement's snapshot.
        seconds = self.longest.total_seconds() + 1
        wrong = f"{self.where} AND {self.column} > statement_timestamp() + make_interval(secs => {seconds})"
        return f"""
            UPDATE {self.table} SET {self.column} = statement_timestamp()
            WHERE {wrong} AND {self.key} = ANY(ARRAY(
              SELECT {self.key} FROM {self.table} WHERE {wrong} LIMIT {_LIMIT} FOR UPDATE SKIP LOCKED))
            """


async def correct(connection: PipelineConnection, times: Sequence[FutureTime]) -> dict[str, int]:
    """Set times that are too far in the future to now. Return the numbers of changed rows, by column."""
    changed = {}
    for each in times:
        if number := await execute(connection, each.statement):
            changed[f"{each.table}.{each.column}"] = number
    return changed
