"""Write the figures of the last events of mappings. The incident monitor reads them with its facts."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from app.domain.ids import DestinationNumber, MappingNumber
from app.domain.match_quality.recent_events import Drift, MappingCheck, PathDays
from app.store import PipelineConnection, read_sql, transposed

SQL: Final = read_sql(__file__)


class NewPathEvents(NamedTuple):
    """New events of a mapping, and how many filled a path, also with a text."""

    destination: DestinationNumber
    mapping: MappingNumber
    events: int
    path: str
    filled: int
    texts: int


async def add_to_day(
    connection: PipelineConnection, new: Sequence[NewPathEvents]
) -> dict[tuple[MappingNumber, str], PathDays]:
    """Add events to the day, and return by mapping and path what is known of today and yesterday."""
    rows = await connection.fetch(SQL["add_to_day"], *transposed(new, 6))
    return {(MappingNumber(mapping), path): PathDays(*counts) for mapping, path, *counts in rows}


class ObservedMapping(NamedTuple):
    """The figures of a mapping as a process saw them."""

    destination: DestinationNumber
    number: MappingNumber
    check: MappingCheck
    money_paths: Mapping[str, str | None]
    drift: Drift | None


async def write_checks(
    connection: PipelineConnection, process: int, observed: Iterable[ObservedMapping]
) -> None:
    """Replace the figures of mappings, which are in order of their numbers."""
    rows = []
    for destination, mapping, check, money_paths, drift in observed:
        worst = check.worst()
        amounts: tuple[str | None, str | None, int] = (None, None, 0)
        if worst:
            rule, suspects = worst
            amounts = (rule.value, money_paths.get(rule.field), suspects)
        path = (drift.path, drift.successor, drift.is_text) if drift else (None, None, None)
        rows.append((destination, mapping, process, check.events, check.purchases, *amounts, *path))
    await connection.executemany(SQL["write_check"], rows)


async def forget(connection: PipelineConnection, mappings: Collection[MappingNumber]) -> None:
    """Delete what is too old for these mappings: checks after a day, figures of paths after two."""
    await connection.execute(SQL["forget_checks"], list(mappings))
    await connection.execute(SQL["forget_days"], list(mappings))
