"""The figures of the last events of mappings: written by the API, read by the incident monitor."""

from collections.abc import Collection, Mapping
from typing import Final

from app.domain.ids import DestinationNumber, MappingNumber
from app.domain.incidents.mapping_problems import SchemaDrift, SuspectAmounts
from app.domain.match_quality.recent_events import Drift, MappingCheck, PathDays
from app.store import PipelineConnection
from app.store.sql import read_sql

SQL: Final = read_sql(__file__)


async def add_to_day(
    connection: PipelineConnection,
    destination: DestinationNumber,
    mapping: MappingNumber,
    paths: Collection[str],
    events: int,
    filled: Mapping[str, int],
    texts: Mapping[str, int],
) -> dict[str, PathDays]:
    """Add events to the day, and return by path what is known of today and yesterday."""
    ordered = sorted(paths)
    rows = await connection.fetch(
        SQL["add_to_day"],
        destination,
        mapping,
        events,
        ordered,
        [filled.get(path, 0) for path in ordered],
        [texts.get(path, 0) for path in ordered],
    )
    return {path: PathDays(*counts) for path, *counts in rows}


async def write_check(
    connection: PipelineConnection,
    destination: DestinationNumber,
    mapping: MappingNumber,
    process: int,
    check: MappingCheck,
    *,
    amount_path: str | None,
    drift: Drift | None,
) -> None:
    """Replace the figures of a mapping as a process saw them."""
    worst = check.worst()
    await connection.execute(
        SQL["write_check"],
        destination,
        mapping,
        process,
        check.events,
        check.purchases,
        worst[0].value if worst else None,
        amount_path if worst else None,
        worst[1] if worst else 0,
        drift.path if drift else None,
        drift.successor if drift else None,
        drift.is_text if drift else None,
    )


async def forget(connection: PipelineConnection, mappings: Collection[MappingNumber]) -> None:
    """Delete what is too old for these mappings: checks after a day, figures of paths after two."""
    await connection.execute(SQL["forget_checks"], list(mappings))
    await connection.execute(SQL["forget_days"], list(mappings))


async def problems(
    connection: PipelineConnection,
) -> tuple[dict[DestinationNumber, SuspectAmounts], dict[DestinationNumber, SchemaDrift]]:
    """Return the greatest problem of each kind of each destination, among its mappings with events of a day.

    A process that ended leaves its figures: they count only while no other process has newer ones.
    """
    rows = await connection.fetch(SQL["problems"])
    suspects: dict[DestinationNumber, SuspectAmounts] = {}
    drifts: dict[DestinationNumber, SchemaDrift] = {}
    for row in rows:
        number, mapping, path = row["destination"], row["mapping"], row["suspect_path"]
        if row["suspect_rule"] is not None:
            amounts = SuspectAmounts(mapping, row["suspect_rule"], path, row["suspects"], row["purchases"])
            suspects.setdefault(number, amounts)
        if row["drift_path"] is not None:
            drifts.setdefault(
                number,
                SchemaDrift(
                    mapping, row["drift_path"], row["drift_successor"], row["events"], row["drift_is_text"]
                ),
            )
    return suspects, drifts
