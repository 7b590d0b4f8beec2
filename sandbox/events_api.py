"""`POST /{region}/adsApi/v1/create/events`.

Stages of a request: read, parse, apply faults, authorise, record, log, answer.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from sandbox import faults as menu
from sandbox.access import CLIENT_HEADER, Access
from sandbox.advertisers import GLOBAL_ID_PREFIX
from sandbox.batch import Batch, Unreadable, take_apart
from sandbox.journal import Journal, Logged, Receipt
from sandbox.multistatus import refusals_of, shaped
from sandbox.transport import HangUp, Silence, TooLarge, read_body, refusal
from sandbox.vocabulary import REGIONS, Code

MAX_BODY: Final = 1_000_000
"""Position P12: 1 MB, here a million bytes, the smaller of both meanings."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A parsed request: the advertiser and its events, or the refusal of an unreadable body."""

    region: str
    account: str
    body_bytes: int
    batch: Batch
    problem: Response | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A response and its log entry.

    `outcomes` has the real result of each event. With a fault, the response may report other results.
    """

    response: Response
    fault: str | None = None
    outcomes: Sequence[str] = ()


@dataclass(slots=True)
class EventsCall:
    """Serve the events call on the sandbox's state."""

    access: Access
    journal: Journal
    faults: menu.FaultBook
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    max_body: int = MAX_BODY
    echo: bool = True

    async def __call__(self, request: Request) -> Response:
        """Answer one request. Always writes one line to the request log before the response."""
        region = REGIONS.get(request.path_params["region"])
        if region is None:
            return refusal(404, Code.NOT_FOUND, "No such region.")
        request_id = self.journal.next_request_id()
        arrived, arrived_monotonic = self.clock(), self.monotonic()
        sent = await self._read(request, region)
        answered = await self._answer(request, sent, request_id)
        response, batch = answered.response, sent.batch
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
                events=len(batch.bodies),
                body_bytes=sent.body_bytes,
                event_ids=list(batch.event_ids),
                payload_hashes=[digest.hex() for digest in batch.digests],
                outcomes=list(answered.outcomes) or ["refused"] * len(batch.bodies),
            )
        )
        response.headers["Amazon-Advertising-API-RequestId"] = f"sandbox-{request_id}"
        return response

    async def _read(self, request: Request, region: str) -> Sent:
        account = request.headers.get("amazon-ads-accountid", "")[:200].removeprefix(GLOBAL_ID_PREFIX)
        try:
            body = await read_body(request, self.max_body)
        except TooLarge:
            # The rest of the body may still arrive, so the connection cannot be reused.
            close = {"connection": "close"}
            problem = refusal(413, Code.CONTENT_TOO_LARGE, "The request is too large.", close)
            return Sent(region, account, 0, Batch(), problem)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" or "content-encoding" in request.headers:
            problem = refusal(415, Code.BAD_REQUEST, "Content-Type must be application/json, unencoded.")
            return Sent(region, account, len(body), Batch(), problem)
        batch = take_apart(body, region=region, now=self.clock())
        if isinstance(batch, Unreadable):
            problem = refusal(400, Code.BAD_REQUEST, batch.reason)
            return Sent(region, account, len(body), Batch(), problem)
        return Sent(region, account, len(body), batch)

    async def _answer(self, request: Request, sent: Sent, request_id: int) -> Answered:
        deciding: menu.AnyFault | None = None
        for fault in self.faults.strike(sent.account, sent.region, sent.batch.event_ids):
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

        batch = sent.batch
        refused = {**refusals_of(deciding, batch.event_ids), **batch.refused}
        response = shaped(deciding, batch.bodies, refused, echo=self.echo)
        if isinstance(deciding, menu.Unclear) and not deciding.accepted:
            return Answered(response, label)
        receipt = Receipt(sent.region, advertiser_id, request_id, self.clock())
        outcomes = []
        for index, line in enumerate(batch.lines):
            if line is None or index in refused:
                self.journal.refuse(receipt)
                outcomes.append("refused")
            else:
                body, digest = batch.bodies[index], batch.digests[index]
                self.journal.accept(receipt, batch.event_ids[index], body, digest, line)
                outcomes.append("accepted")
        return Answered(response, label, outcomes)


def whole_request(fault: menu.AnyFault) -> Response | None:
    """Return the response of a fault that applies before the events are read, or None."""
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
