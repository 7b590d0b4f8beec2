"""The rows of a destination that takes and sends events, and the values in them that most tests share."""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any

from app.crypto import Vault
from app.domain.event import Events, read_events
from app.domain.ids import DEFAULT_ORGANISATION, BatchId, DestinationId, DestinationNumber, OrganisationId
from app.domain.trace import RequestTrace
from app.ingest.evaluate import PendingRequest, SenderAccess
from app.store.encryption import access_place, refresh_place
from app.store.events.batches import BatchRow
from tests.domain.conversions import DOCUMENT

KEY = base64.b64encode(bytes(range(32))).decode()

MAPPING: dict[str, Any] = {
    **DOCUMENT,
    "country_code": "US",
    "fields": {
        "event_timestamp": {"path": "event.timestamp"},
        "email": {"path": "user.email"},
        "value": {"path": "event.total"},
    },
    "custom_data": [{"name": "brand", "path": "event.brand"}],
}


BY_ORDER = {**MAPPING, "fields": {**MAPPING["fields"], "event_id": {"path": "order"}}}
"""Reads the Amazon event id from the event."""

LABORIOUS_VALUE: dict[str, Any] = {
    "path": "list",
    "pipe": [*[["where", "n", "above", 0]] * 8, ["pluck", "n"], "sum"],
}
LABORIOUS = {**MAPPING, "fields": {**MAPPING["fields"], "value": LABORIOUS_VALUE}}
"""Takes most of the 20,000 steps of an event to read a list of 1,500 numbers."""


async def create_destination(
    c: Any,
    vault: Vault,
    number: int,
    *,
    advertiser: str | None = None,
    pace: tuple[float, int] = (500, 50),
    mapping: dict[str, Any] = MAPPING,
    region: str = "NA",
    organisation: str = DEFAULT_ORGANISATION,
) -> str:
    """Make a connected destination with one published mapping; return its id."""
    dst, map_id = f"dst_{number:020d}", f"map_{number:020d}"
    advertiser = advertiser or str(1000 + number)
    await c.execute(
        "INSERT INTO organisations (id, name) VALUES ($1, $1) ON CONFLICT DO NOTHING", organisation
    )
    lane = await c.fetchval(
        "INSERT INTO lanes (region, advertiser_id, organisation_id) VALUES ($1, $2, $3) "
        "ON CONFLICT (region, advertiser_id, organisation_id) DO UPDATE SET region = excluded.region "
        "RETURNING id",
        *(region, advertiser, organisation),
    )
    await c.execute(
        "INSERT INTO destinations (id, lane, name, advertiser_id, region, currency, requests_per_second, "
        "burst, sign_in, published_mappings, organisation_id) "
        "VALUES ($1, $2, 'Acme', $3, $4, 'USD', $5, $6, 'valid', 1, $7)",
        *(dst, lane, advertiser, region, *pace, organisation),
    )
    refresh = vault.seal(b"Atzr|0", place=refresh_place(dst))
    access = vault.seal(b"Atza|0", place=access_place(dst))
    await c.execute(
        "INSERT INTO sign_ins (destination, refresh_token, access_token, access_until, issued_at, "
        "lifetime_s, connected_by, organisation_id) "
        "VALUES ($1, $2, $3, now() + interval '1 hour', now(), 3600, 'test', $4)",
        *(dst, refresh, access, organisation),
    )
    await publish(c, dst, map_id, mapping, version=1)
    return dst


async def publish(c: Any, dst: str, map_id: str, mapping: dict[str, Any], *, version: int) -> None:
    """Publish a version of a mapping, which is created if there is none."""
    document = json.dumps(mapping)
    await c.execute(
        "INSERT INTO mappings (organisation_id, id, destination, name, draft) "
        "SELECT organisation_id, $1, $2, $3, $4::jsonb FROM destinations WHERE id = $2 "
        "ON CONFLICT DO NOTHING",
        *(map_id, dst, mapping["name"], document),
    )
    await c.execute(
        "INSERT INTO mapping_versions (organisation_id, mapping, version, document, published_by) "
        "SELECT organisation_id, $1, $2, $3::jsonb, 'test' FROM destinations WHERE id = $4",
        *(map_id, version, document, dst),
    )
    await c.execute("UPDATE mappings SET published_version = $2 WHERE id = $1", map_id, version)
    await c.execute("UPDATE destinations SET version = version + 1 WHERE id = $1", dst)


def request_of(
    events: Sequence[dict[str, Any]],
    destination: str,
    *,
    organisation: str = DEFAULT_ORGANISATION,
    destinations: frozenset[DestinationId] | None = None,
    low_priority: bool = False,
) -> PendingRequest:
    """Return a request with these events, of a sender that may send to all destinations or to some."""
    read = read_events(list(events), default_destination=destination, default_mapping=None)
    assert isinstance(read, Events), read
    access = SenderAccess(OrganisationId(organisation), destinations)
    return PendingRequest(read, access, RequestTrace(), low_priority=low_priority)


def stored_batch(
    id: int, destination: DestinationNumber, day: date, *, attempts: tuple[int, ...] = ()
) -> BatchRow:
    """Return the state of a batch that was accepted and delivered on a day."""
    at = datetime.combine(day, time(), UTC)
    return BatchRow(BatchId(id), destination, day, at, at, 0, at, "sent", at, None, attempts, (), None)
