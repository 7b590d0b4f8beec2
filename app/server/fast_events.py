"""The application, and its endpoint of `POST /events`, which bypasses the framework.

The framework's overhead for a request is twice the cost of storing an event. The framework's route for this
path (`app.api.events.intake.post_events`) only serves the OpenAPI description.
"""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

import msgspec
from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.admin import Caller, ErrorCode, Problem, Refusal
from app.admin.context import AppContext
from app.api.access.auth import KeyRing
from app.api.access.inbound_limits import OrganisationCache, too_fast
from app.api.access.secured_route import acting_in, authorize, check_media_type, scopes_of
from app.api.errors import STATUSES, error_response, malformed_body, problem_of
from app.api.events import intake
from app.api.http.responses import NDJSON
from app.domain import strict_json
from app.domain.admission import ShedReason
from app.domain.event import LARGE_JSON_BYTES, MalformedBody, reject_late
from app.domain.ids import DestinationId
from app.domain.trace import RequestTrace
from app.ingest.evaluate import PendingRequest, SenderAccess
from app.server.admission import REFUSAL_DELAY_S, AdmissionController, Permit
from app.server.middleware import (
    CLIENT_CLOSED_REQUEST,
    FIXED_HEADERS,
    REQUEST_ID,
    RequestBodyReader,
    RequestMiddleware,
    admitted_by_head,
    ids_of,
)
from app.server.request_head import KIB, PATH

Result = TypeVar("Result")
_LARGE_BODY_BYTES: Final = 8 * KIB
_SCOPES: Final = scopes_of(intake.post_events)
_DELAYED_STATUSES: Final = {STATUSES[ErrorCode.TOO_MANY_REQUESTS], STATUSES[ErrorCode.UNAVAILABLE]}


class Application(FastAPI):
    """Sends `POST /events` to its own endpoint, and every other request to FastAPI behind our middleware.

    FastAPI wraps three middlewares around every route. `POST /events` needs none of them: its endpoint
    handles exceptions and limits the size of bodies itself.
    """

    events_endpoint: ASGIApp
    request_middleware: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        is_events = scope["path"] == PATH and scope["method"] == "POST"
        await (self.events_endpoint if is_events else self.request_middleware)(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Leave out ServerErrorMiddleware, because our middleware handles unexpected exceptions."""
        error_middleware = super().build_middleware_stack()
        assert isinstance(error_middleware, ServerErrorMiddleware)
        return error_middleware.app

    async def framework(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request with FastAPI's own stack."""
        await super().__call__(scope, receive, send)


class EventsReply(msgspec.Struct, frozen=True):
    """A complete response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(slots=True)
class EventsEndpoint:
    """Serves posts of events for one process."""

    context: AppContext
    key_ring: KeyRing
    organisations: OrganisationCache
    admission: AdmissionController
    middleware: RequestMiddleware

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a post (ASGI)."""
        reply: EventsReply | None
        head, admitted = admitted_by_head(scope, self.admission)
        if isinstance(admitted, Permit):
            reply = await self._accept(scope, receive, admitted)
        else:
            request_id, _ = ids_of(head.headers)
            reply = _refused(self.admission.problem(admitted), request_id)
            self.middleware.record("POST", PATH, reply.status, 0.0, request_id, None)
        if reply is None:
            return
        if reply.status in _DELAYED_STATUSES:
            await asyncio.sleep(REFUSAL_DELAY_S)
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _accept(self, scope: Scope, receive: Receive, permit: Permit) -> EventsReply | None:
        """Store the events of an admitted post and return the response; None if the client disconnected.

        Releases the permit, unless shutdown cancels the task before its first step.
        """
        request_id, trace = ids_of(permit.head.headers)
        query: intake.EventsQuery | Problem = intake.NO_QUERY
        caller: Caller | Problem | None = None
        reply: EventsReply | None = None
        try:
            caller = await authorize(self.key_ring, scope["headers"], _SCOPES, known=permit.caller)
            if scope["query_string"] and isinstance(caller, Caller):
                caller = await acting_in(self.organisations, scope, caller)
                query = intake.read_query(scope)
            if isinstance(caller, Problem):
                reply = _refused(caller, request_id)
            elif isinstance(query, Problem):
                reply = _refused(query, request_id)
            elif (problem := await self.organisations.admit(caller.organisation)) is not None:
                reply = _refused(problem, request_id)
            else:
                stored = await self._store(permit, receive, caller, query, trace)
                headers_sent = [
                    (b"content-length", b"%d" % len(stored.body)),
                    (b"content-type", b"application/json"),
                    (REQUEST_ID, request_id.encode()),
                    *FIXED_HEADERS,
                ]
                reply = EventsReply(stored.status, headers_sent, stored.body)
        except ClientDisconnect:
            pass
        except Exception as error:  # a Refusal or a bug
            reply = _refused(problem_of(error), request_id)
        finally:
            status = CLIENT_CLOSED_REQUEST if reply is None else reply.status
            self.admission.release(permit, status)
            key = caller.key if isinstance(caller, Caller) else None
            duration_s = self.admission.monotonic() - permit.started_at
            self.middleware.record("POST", PATH, status, duration_s, request_id, key, trace)
        return reply

    async def _store(
        self, permit: Permit, receive: Receive, caller: Caller, query: intake.EventsQuery, trace: RequestTrace
    ) -> intake.EventsResponse:
        """Store the events of an authorized request and return their results. Raises Refusal.

        The body is not read if the headers or full queues already cause a refusal.
        """
        context, admission = self.context, self.admission
        media_type = check_media_type(permit.head.headers, "application/json", NDJSON)
        ids, late = caller.destination_ids, context.late.get(caller.organisation)
        if late and ids is not None:
            late = late & ids  # hides other destinations from the key
        if late and late == ids:  # the queues of all destinations of this key are too long
            raise Refusal.of(admission.refusal(ShedReason.LANE))
        own = None if ids is None else frozenset(map(DestinationId, ids))
        access = SenderAccess(caller.organisation, own)
        body = await RequestBodyReader(receive, permit, admission).read()
        async with context.intake.evaluating_large() if len(body) > _LARGE_BODY_BYTES else nullcontext():
            ids_outside = query.destination_id, query.mapping_id
            read = await self._parse(access, body, partial(intake.read_body, body, media_type, *ids_outside))
            charged = 0
            try:
                events = await self._parse(access, body, partial(reject_late, read, late)) if late else read
                if events is None:
                    raise Refusal.of(admission.refusal(ShedReason.LANE))
                if not query.dry_run:
                    charged = len(events.members)
                    if (wait_s := self.organisations.limits.charge(caller.organisation, charged)) > 0:
                        raise Refusal.of(too_fast(wait_s))
                request = PendingRequest(events, access, trace, query.priority is intake.Priority.LOW)
                await context.intake.evaluate(request)
            except MalformedBody:
                self.organisations.limits.refund(caller.organisation, charged)
                problem = await self._parse(access, body, lambda: malformed_body(strict_json.parse(body)))
                raise Refusal.of(problem) from None
        results = await (context.intake.dry_run if query.dry_run else context.intake.store)(request)
        if results is None:
            # A random delay spreads the retries of many clients over some seconds.
            delay = admission.retry_after(ShedReason.COMMITS)
            raise Refusal.of(replace(intake.NOT_STORED, retry_after=delay))
        if query.dry_run:
            # Previews of 5,000 events are 6 MB of JSON.
            build = partial(intake.results_response, results, dry_run=True)
            return await context.computations.run(caller.organisation, build)
        return intake.results_response(results)

    async def _parse(self, access: SenderAccess, body: bytes, parse: Callable[[], Result]) -> Result:
        """Return the result of a function that parses the body, in a thread if the body is large."""
        if len(body) > LARGE_JSON_BYTES:
            return await self.context.intake.parse_large(access.organisation, parse)
        return parse()


def _refused(problem: Problem, request_id: str) -> EventsReply:
    response = error_response(problem)
    headers = [*response.raw_headers, (REQUEST_ID, request_id.encode()), *FIXED_HEADERS]
    return EventsReply(response.status_code, headers, bytes(response.body))
