"""Use case: send marked conversions to a data set of their own, and return Amazon's answer. Never automatic.

They have invented identities, and are the only test at Amazon, which has no test mode.
They touch no lane, count, pin or stored event of the service. Only the audit records them.
"""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Annotated, Final, Literal

import msgspec
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import ErrorCode, Refusal, invalid
from app.admin.context import AppContext
from app.admin.destinations import changing
from app.admin.destinations.preflight import opened_token
from app.admin.inputs import DatasetName, RequestBody
from app.amazon.wire import usable_token
from app.domain.conversion.consent import GRANTED_PAIR
from app.domain.destination import Region
from app.domain.mapping.event_name import clean_event_name, event_name_problem
from app.domain.outcomes import outcome
from app.store import audit
from app.store.audit import AuditAction, AuditFilter
from app.store.destinations import sign_ins
from app.store.destinations.destinations import Destination
from app.store.mappings import event_names

_MOST_REQUESTS: Final = 10
_PERIOD: Final = timedelta(hours=1)
_COUNTRIES: Final = {Region.NA: "US", Region.EU: "DE", Region.FE: "JP"}
_AGE: Final = timedelta(seconds=10)


class TestConversionsRequest(RequestBody):
    """How many marked conversions to send, and the data set and the event name of their own."""

    count: Annotated[int, Field(ge=1, le=3)] = 1
    dataset_name: DatasetName
    event_name: Annotated[str, Field(min_length=1, max_length=256)]


@dataclass(frozen=True, slots=True)
class TestItemView:
    """Amazon's answer for one conversion."""

    index: int
    event_id: Annotated[str, Field(description="The Amazon eventId of the conversion.")]
    status: Literal["accepted", "refused", "unknown"]
    code: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class TestConversionsView:
    """Amazon's answer to a request with marked conversions."""

    outcome: Annotated[str, Field(description="As in attempts: `answered`, `throttled`, `unauthorized`, …")]
    http_status: int | None
    request_id: str | None
    dataset_name: str
    event_name: str
    items: Annotated[
        Sequence[TestItemView], Field(description="Empty if Amazon refused the request as a whole.")
    ]


async def send_test_conversions(
    context: AppContext, destination_id: str, body: TestConversionsRequest
) -> TestConversionsView:
    """Send marked conversions. Raises Refusal (403, 404, 409, 422, 429, 502).

    Data set and event name must be others than those of real events, so that no real figure is changed.
    """
    if problem := event_name_problem(body.event_name):
        raise invalid("event_name", "event_name_invalid", problem)
    name = clean_event_name(body.event_name)
    async with changing(context, destination_id) as (change, destination):
        if destination.suspended:
            raise Refusal(ErrorCode.ORGANISATION_SUSPENDED)
        connection = change.connection
        await _require_few(connection, destination, context.now())
        pinned = {pin.name for pin in await event_names.of_advertiser(connection, destination.advertiser_id)}
        if name in pinned:
            detail = "Events are sent under this name. A test needs an event name of its own."
            raise invalid("event_name", "not_allowed", detail)
        if body.dataset_name == destination.dataset_name:
            detail = "Events are sent to this data set. A test needs a data set of its own."
            raise invalid("dataset_name", "not_allowed", detail)
        sealed = await sign_ins.access_token(connection, destination.id)
        token = None if sealed is None else opened_token(context, destination, sealed)
        if not usable_token(token):
            raise Refusal(ErrorCode.NOT_CONNECTED)
        after = {"count": body.count, "dataset_name": body.dataset_name, "event_name": name}
        await change.record(AuditAction.TEST_CONVERSIONS_SENT, destination.id, after=after)
    sent = _marked_conversions(destination.region, body, name, context.now())
    # No transaction is open during the call to Amazon.
    answer = await context.send_conversions(
        destination.region,
        access_token=token,
        advertiser_id=destination.advertiser_id,
        conversions=list(sent.values()),
    )
    if answer.status is None:
        raise Refusal(ErrorCode.AMAZON_UNAVAILABLE)
    return TestConversionsView(
        answer.outcome, answer.status, answer.request_id, body.dataset_name, name, _items(sent, answer)
    )


def _marked_conversions(
    region: Region, body: TestConversionsRequest, event_name: str, now: datetime
) -> dict[str, bytes]:
    """Return the conversions of invented persons by their Amazon eventId, which is random."""
    description = {
        "name": event_name,
        "conversionType": "OTHER",
        "eventSource": "WEBSITE",
        "eventIngestionMethod": "SERVER_TO_SERVER",
        "dataSetName": body.dataset_name,
    }
    at = (now - _AGE).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {}
    for _ in range(body.count):
        event_id = f"test-{secrets.token_hex(8)}"
        address = f"{event_id}@example.com"  # a domain that RFC 2606 reserves: it belongs to no person
        event = {
            "eventDescription": description,
            "countryCode": _COUNTRIES[region],
            "eventTime": at,
            "matchKeys": [{"type": "EMAIL", "values": [hashlib.sha256(address.encode()).hexdigest()]}],
            "eventId": event_id,
            "consent": GRANTED_PAIR,
            "customData": [{"name": "test_conversion", "value": "true"}],
        }
        found[event_id] = msgspec.json.encode(event)
    return found


async def _require_few(connection: AsyncConnection, destination: Destination, now: datetime) -> None:
    """Raise Refusal (429) if the destination sent its test requests of an hour: they use Amazon's limit."""
    wanted = AuditFilter(
        action=AuditAction.TEST_CONVERSIONS_SENT, destination=destination.id, since=now - _PERIOD
    )
    sent = await audit.newest(connection, limit=_MOST_REQUESTS, wanted=wanted, id_of=str)
    if len(sent) == _MOST_REQUESTS:
        wait = max(1, ceil((sent[-1].at + _PERIOD - now).total_seconds()))
        detail = f"A destination may send {_MOST_REQUESTS} requests with test conversions an hour."
        raise Refusal(ErrorCode.TOO_MANY_REQUESTS, detail, retry_after=wait)


def _items(ids: Iterable[str], answer: outcome.SentRequest) -> list[TestItemView]:
    if not isinstance(answer.reply, outcome.PerItemReply):
        return []
    return [
        TestItemView(index, event_id, *_described(item))
        for index, (event_id, item) in enumerate(zip(ids, answer.reply.outcomes, strict=True))
    ]


def _described(
    item: outcome.Outcome,
) -> tuple[Literal["accepted", "refused", "unknown"], str | None, str | None]:
    match item:
        case outcome.ItemAccepted():
            return "accepted", None, None
        case outcome.ItemRefused(code, message) | outcome.ItemFailed(code, message):
            return "refused", code, message
        case _:
            return "unknown", None, None
