"""Use case: send marked conversions to a data set of their own, and return Amazon's answer. Never automatic.

They touch no lane, count, pin or stored event of the service. Only the audit records them.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.match_quality.inputs import TestConversionsRequest
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.crypto import CannotDecrypt
from app.domain.destination import State
from app.domain.mapping.event_name import clean_event_name, event_name_problem
from app.domain.match_quality.marked_conversions import MarkedConversion, marked_conversions
from app.domain.outcomes.outcome import (
    ItemAccepted,
    ItemFailed,
    ItemRefused,
    Outcome,
    PerItemReply,
    SentRequest,
)
from app.store import audit
from app.store.audit import AuditAction
from app.store.destinations import sign_ins, token_leases
from app.store.destinations.destinations import Destination
from app.store.mappings import event_names


@dataclass(frozen=True, slots=True)
class TestItem:
    """Amazon's answer for one conversion. `code` and `message` are Amazon's, if it refused the conversion."""

    index: int
    event_id: str
    status: str
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class TestResult:
    """Amazon's answer to the request, item by item; without items if it refused the whole request."""

    outcome: str
    http_status: int | None
    request_id: str | None
    dataset_name: str
    event_name: str
    items: Sequence[TestItem]


async def send_test_conversions(
    context: AppContext, caller: Caller, destination_id: str, body: TestConversionsRequest
) -> TestResult:
    """Send marked conversions. Raises Refusal (404, 409, 422, 502).

    Data set and event name must be others than those of real events, so that no real figure is changed.
    """
    if event_name_problem(body.event_name):
        raise Refusal(ErrorCode.INVALID, None, FieldProblem("event_name", "event_name_invalid"))
    name = clean_event_name(body.event_name)
    async with context.engine.begin() as connection:
        destination = await find_visible(connection, caller, destination_id)
        if destination.state is State.ARCHIVED:
            raise Refusal(ErrorCode.DESTINATION_ARCHIVED)
        pinned = {pin.name for pin in await event_names.of_advertiser(connection, destination.advertiser_id)}
        if name in pinned:
            detail = "Events are sent under this name. A test needs an event name of its own."
            raise Refusal(ErrorCode.INVALID, detail, FieldProblem("event_name", "not_allowed"))
        if body.dataset_name == destination.dataset_name:
            detail = "Events are sent to this data set. A test needs a data set of its own."
            raise Refusal(ErrorCode.INVALID, detail, FieldProblem("dataset_name", "not_allowed"))
        sealed = await sign_ins.access_token(connection, destination.id)
        token = _opened(context, destination, sealed)
        after = {"count": body.count, "dataset_name": body.dataset_name, "event_name": name}
        await audit.record(
            connection,
            caller.actor,
            AuditAction.TEST_CONVERSIONS_SENT,
            destination.id,
            destination=destination.id,
            after=after,
        )
    sent = marked_conversions(
        [secrets.token_hex(8) for _ in range(body.count)],
        region=destination.region,
        event_name=name,
        dataset_name=body.dataset_name,
        now=context.now(),
    )
    # No transaction is open during the call to Amazon.
    answer = await context.send_conversions(
        destination.region,
        access_token=token,
        advertiser_id=destination.advertiser_id,
        conversions=[each.body for each in sent],
    )
    if answer.status is None:
        raise Refusal(ErrorCode.AMAZON_UNAVAILABLE)
    return TestResult(
        answer.outcome, answer.status, answer.request_id, body.dataset_name, name, _items(sent, answer)
    )


def _opened(context: AppContext, destination: Destination, sealed: bytes | None) -> str:
    try:
        if sealed is not None:
            return context.vault.open(sealed, place=token_leases.access_place(destination.id)).decode()
    except CannotDecrypt:
        pass
    raise Refusal(ErrorCode.NOT_CONNECTED)


def _items(sent: Sequence[MarkedConversion], answer: SentRequest) -> list[TestItem]:
    if not isinstance(answer.reply, PerItemReply):
        return []
    return [
        TestItem(index, each.event_id, *_described(outcome))
        for index, (each, outcome) in enumerate(zip(sent, answer.reply.outcomes, strict=True))
    ]


def _described(outcome: Outcome) -> tuple[str, str | None, str | None]:
    match outcome:
        case ItemAccepted():
            return "accepted", None, None
        case ItemRefused(code, message) | ItemFailed(code, message):
            return "refused", code, message
        case _:
            return "unknown", None, None
