"""`POST /{region}/adsApi/v1/create/events`: the call that the rest of the sandbox exists for.

The road of a request: read, struck by faults or not, authorised, each event judged, recorded, logged,
answered.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from app.sandbox import faults as menu
from app.sandbox.access import CLIENT_HEADER, Access
from app.sandbox.advertisers import GLOBAL_ID_PREFIX
from app.sandbox.journal import Journal, Logged, payload_hash
from app.sandbox.multistatus import refused_by, shaped
from app.sandbox.rules import Refusal, excluded, judge
from app.sandbox.transport import HangUp, Silence, TooLarge, read_body, refusal
from app.sandbox.vocabulary import REGIONS, Code

MAX_EVENTS: Final = 500
MAX_BODY: Final = 1_000_000
"""Position P12: 1 MB, read as a million bytes, so that who keeps within it keeps within either reading."""


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]


_read_envelope = msgspec.json.Decoder(_Envelope).decode
_read_event = msgspec.json.Decoder().decode
# What msgspec raises on bytes that are not the JSON expected; a deep body ends in RecursionError.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(slots=True)
class Sent:
    """A request as it came. `problem` is the refusal of a body that cannot be taken apart."""

    region: str
    account: str
    body_bytes: int = 0
    bodies: Sequence[bytes] = ()
    events: Sequence[Any] = ()
    digests: Sequence[bytes] = ()
    event_ids: Sequence[str | None] = ()
    problem: Response | None = None


@dataclass(slots=True)
class Answered:
    """An answer, with what the log says of it.

    `outcomes` is one word an event: what was done with it, which a fault can make differ from what was said.
    """

    response: Response
    fault: str | None = None
    outcomes: Sequence[str] = ()


@dataclass(slots=True)
class EventsCall:
    """Serve the events call over the sandbox's state."""

    access: Access
    journal: Journal
    faults: menu.FaultBook
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    max_body: int = MAX_BODY
    echo: bool = True

    async def __call__(self, request: Request) -> Response:
        """Answer one request; every way out leaves one line in the request log before the answer goes."""
        region = REGIONS.get(request.path_params["region"])
        if region is None:
            return refusal(404, Code.NOT_FOUND, "No such region.")
        request_id = self.journal.next_request_id()
        arrived, arrived_monotonic = self.clock(), self.monotonic()
        sent = await self._read(request, region)
        answered = await self._answer(request, sent, request_id)
        response = answered.response
        self.journal.log(
            Logged(
                request_id=request_id,
                received_at=arrived,
                monotonic=arrived_monotonic,
                region=region,
                advertiser_id=sent.account,
                status=None if isinstance(response, HangUp | Silence) else response.status_code,
                fault=answered.fault,
                retry_after=response.headers.get("retry-after"),
                events=len(sent.bodies),
                body_bytes=sent.body_bytes,
                event_ids=list(sent.event_ids),
                payload_hashes=[digest.hex() for digest in sent.digests],
                outcomes=list(answered.outcomes) or ["refused"] * len(sent.bodies),
            )
        )
        response.headers["Amazon-Advertising-API-RequestId"] = f"sandbox-{request_id}"
        return response

    async def _read(self, request: Request, region: str) -> Sent:
        """Read and take apart the body; the events keep the exact bytes they came in."""
        account = request.headers.get("amazon-ads-accountid", "")[:200].removeprefix(GLOBAL_ID_PREFIX)
        sent = Sent(region, account)
        try:
            body = await read_body(request, self.max_body)
        except TooLarge:
            # The rest of the body is still on its way, so the connection cannot be used again.
            too_large = {"connection": "close"}
            sent.problem = refusal(413, Code.CONTENT_TOO_LARGE, "The request is too large.", too_large)
            return sent
        sent.body_bytes = len(body)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" or "content-encoding" in request.headers:
            sent.problem = refusal(415, Code.BAD_REQUEST, "Content-Type must be application/json, unencoded.")
            return sent
        try:
            bodies = [bytes(raw) for raw in _read_envelope(body).events]
            events = [_read_event(one) for one in bodies]
        except _UNREADABLE:
            sent.problem = refusal(
                400, Code.BAD_REQUEST, 'The body must be JSON of the form {"events": [...]}.'
            )
            return sent
        if not 1 <= len(bodies) <= MAX_EVENTS:
            sent.problem = refusal(400, Code.BAD_REQUEST, "A request holds 1 to 500 events.")
            return sent
        sent.bodies, sent.events = bodies, events
        sent.digests = [payload_hash(one) for one in bodies]
        sent.event_ids = [_event_id(event) for event in events]
        return sent

    async def _answer(self, request: Request, sent: Sent, request_id: int) -> Answered:
        deciding: menu.AnyFault | None = None
        for fault in self.faults.strike(sent.account, sent.region, sent.event_ids):
            if isinstance(fault, menu.Slow):
                await asyncio.sleep(fault.ms / 1000)
            else:
                deciding = fault
        label = None if deciding is None else menu.kind(deciding)
        struck = None if deciding is None else whole_request(deciding)
        if struck is not None:
            return Answered(struck, label)

        grant = self.access.grant(request, sent.region, (CLIENT_HEADER,))
        if isinstance(grant, Response):
            return Answered(grant, label)
        advertiser_id = self.access.account(grant, sent.account)
        if isinstance(advertiser_id, Response):
            return Answered(advertiser_id, label)
        if sent.problem is not None:
            return Answered(sent.problem, label)

        refused = self._judge(sent, deciding)
        if isinstance(deciding, menu.Unclear) and not deciding.accepted:
            return Answered(shaped(deciding, sent.bodies, refused, echo=self.echo), label)
        self._record(sent, advertiser_id, refused, request_id)
        outcomes = ["refused" if index in refused else "accepted" for index in range(len(sent.bodies))]
        return Answered(shaped(deciding, sent.bodies, refused, echo=self.echo), label, outcomes)

    def _judge(self, sent: Sent, fault: menu.AnyFault | None) -> dict[int, list[Refusal]]:
        now = self.clock()
        refused: dict[int, list[Refusal]] = {}
        for index, event in enumerate(sent.events):
            reasons = judge(event, region=sent.region, now=now)
            if reasons:
                refused[index] = reasons
        if isinstance(fault, menu.Partial):
            for index in refused_by(fault, sent.event_ids):
                refused.setdefault(index, [Refusal(fault.code, "Refused by a fault that was set.", "")])
        return refused

    def _record(
        self, sent: Sent, advertiser_id: str, refused: dict[int, list[Refusal]], request_id: int
    ) -> None:
        now = self.clock()
        for index, event in enumerate(sent.events):
            if index in refused:
                self.journal.refuse(sent.region, advertiser_id)
            else:
                self.journal.accept(
                    sent.region,
                    advertiser_id,
                    event,
                    sent.bodies[index],
                    sent.digests[index],
                    request_id=request_id,
                    now=now,
                    excluded=excluded(event),
                )


def whole_request(fault: menu.AnyFault) -> Response | None:
    """Answer for a fault that strikes before the events are looked at; None for one that comes later."""
    match fault:
        case menu.Throttled() | menu.HiddenRateLimit():
            return refusal(429, Code.TOO_MANY_REQUESTS, "Too many requests.", _wait(fault.retry_after))
        case menu.BadRequest() | menu.Poisoned():
            return refusal(400, Code.BAD_REQUEST, "The request is not valid.")
        case menu.Unauthorized():
            return refusal(401, Code.UNAUTHORIZED, "Not authorized.")
        case menu.Forbidden():
            return refusal(403, Code.FORBIDDEN, "Not allowed for this account.")
        case menu.NotFound():
            return refusal(404, Code.NOT_FOUND, "Not found.")
        case menu.TooMany():
            return refusal(413, Code.CONTENT_TOO_LARGE, "The request is too large.")
        case menu.Teapot():
            return refusal(418, Code.BAD_REQUEST, "A teapot.")
        case menu.Moved():
            return refusal(301, Code.BAD_REQUEST, "Moved.", {"location": fault.location})
        case menu.Broken():
            return refusal(fault.status, Code.INTERNAL_ERROR, "Try again.", _wait(fault.retry_after))
        case menu.Never():
            return Silence()
        case menu.DropBeforeAccept():
            return HangUp()
        case _:
            return None


def _wait(retry_after: int | str | None) -> dict[str, str]:
    return {} if retry_after is None else {"retry-after": str(retry_after)}


def _event_id(event: Any) -> str | None:
    event_id = event.get("eventId") if type(event) is dict else None
    return event_id if type(event_id) is str else None
