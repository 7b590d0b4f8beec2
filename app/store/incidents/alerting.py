"""Read and write the incident thresholds and the notification settings of destinations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from app.domain.ids import DestinationId
from app.domain.incidents.kinds import Severity
from app.domain.notifications import Preference
from app.store import PipelineConnection, read_row, read_sql

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class AlertingRow:
    """The incident thresholds (`alerting`) and the notification settings of one destination."""

    alerting: Mapping[str, Any]
    preference: Preference


DEFAULT_ROW = AlertingRow({}, Preference())


async def read(connection: PipelineConnection, destination: DestinationId) -> AlertingRow:
    """Return the settings of a destination, or the defaults if none are stored."""
    return (await read_all(connection, [destination])).get(destination, DEFAULT_ROW)


async def read_all(connection: PipelineConnection, destinations: Sequence[str]) -> dict[str, AlertingRow]:
    """Return the stored settings by destination id. A destination with default settings has no entry."""
    rows = await connection.fetch(SQL["read_all"], list(destinations))
    return {row["destination"]: alerting_row(row) for row in rows}


async def write_alerting(
    connection: PipelineConnection, destination: DestinationId, alerting: Mapping[str, Any]
) -> None:
    """Replace the incident thresholds of a destination."""
    await connection.execute(SQL["write_alerting"], destination, msgspec.json.encode(alerting).decode())


async def write_preference(
    connection: PipelineConnection, destination: DestinationId, preference: Preference
) -> None:
    """Replace the notification settings of a destination."""
    channels = None if preference.channels is None else sorted(preference.channels)
    kinds = None if preference.kinds is None else sorted(preference.kinds)
    severity = preference.min_severity.value
    await connection.execute(SQL["write_preference"], destination, channels, kinds, severity)


def alerting_row(row: Any) -> AlertingRow:
    """Convert a row of the table `destination_alerting`, or of an outer join with it, to an `AlertingRow`."""
    severity = row["min_severity"] or Severity.WARNING
    preference = read_row(Preference, row, min_severity=severity)
    return AlertingRow(msgspec.json.decode(row["alerting"] or "{}"), preference)
