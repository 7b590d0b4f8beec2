"""Read and write the incident thresholds and the notification settings of destinations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.domain.ids import DestinationId
from app.domain.incidents.kinds import Kind, Severity
from app.domain.notifications.policy import Preference
from app.store import PipelineConnection


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
    rows = await connection.fetch(
        "SELECT destination, alerting::text AS alerting, channels, kinds, min_severity "
        "FROM destination_alerting "
        "WHERE organisation_id = acting_organisation() AND destination = ANY ($1::text[])",
        list(destinations),
    )
    return {row["destination"]: alerting_row(row) for row in rows}


async def write_alerting(
    connection: PipelineConnection, destination: DestinationId, alerting: Mapping[str, Any]
) -> None:
    """Replace the incident thresholds of a destination."""
    await connection.execute(
        """
        INSERT INTO destination_alerting (organisation_id, destination, alerting)
        SELECT organisation_id, id, $2::jsonb FROM destinations
        WHERE organisation_id = acting_organisation() AND id = $1
        ON CONFLICT (destination) DO UPDATE SET alerting = excluded.alerting
        """,
        destination,
        msgspec.json.encode(alerting).decode(),
    )


async def write_preference(
    connection: PipelineConnection, destination: DestinationId, preference: Preference
) -> None:
    """Replace the notification settings of a destination."""
    await connection.execute(
        """
        INSERT INTO destination_alerting (organisation_id, destination, channels, kinds, min_severity)
        SELECT organisation_id, id, $2, $3, $4 FROM destinations
        WHERE organisation_id = acting_organisation() AND id = $1
        ON CONFLICT (destination) DO UPDATE
        SET channels = excluded.channels, kinds = excluded.kinds, min_severity = excluded.min_severity
        """,
        destination,
        None if preference.channels is None else sorted(preference.channels),
        None if preference.kinds is None else sorted(preference.kinds),
        preference.min_severity.value,
    )


def alerting_row(row: Any) -> AlertingRow:
    """Convert a row of the table `destination_alerting`, or of an outer join with it, to an `AlertingRow`."""
    return AlertingRow(
        msgspec.json.decode(row["alerting"] or "{}"),
        Preference(
            None if row["channels"] is None else frozenset(row["channels"]),
            None if row["kinds"] is None else frozenset(map(Kind, row["kinds"])),
            Severity(row["min_severity"] or "warning"),
        ),
    )
