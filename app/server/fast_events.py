"""The endpoint of `POST /events`, without the framework: from the request headers to the response.

The framework's overhead for a request is twice the cost of storing an event. The framework's route for this
path (`app.api.events.intake.post_events`) only serves the OpenAPI description.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.refusals import ErrorCode, Problem, Refusal
from app.api.access.auth import KeyRing
from app.api.access.organisation_cache import OrganisationCache
from app.api.access.secured_route import acting_in, authorize, scopes_of
from app.api.errors import STATUSES, error_response, problem_of
from app.api.events import intake
from app.api.http.headers import first_headers
from app.domain.admission import ShedReason
from app.domain.ids import OrganisationId
from app.domain.trace import RequestTrace
from app.server.admission import REFUSAL_DELAY_S, AdmissionController, Permit
from app.server.middleware import (
    CLIENT_CLOSED_REQUEST,
    FIXED_HEADERS,
    REQUEST_ID,
    RequestBodyReader,
    RequestMiddleware,
    admitted_by_head,
    request_id_of,
    traceparent_of,
)
from app.server.request_head import KIB, PATH, max_body_bytes
from app.store.errors import is_unavailable

_CAP: Final = max_body_bytes(PATH.encode())
# Only one body of more than this size is parsed and evaluated at a time, so that posts of few events wait for
# no more than one of them.
_LARGE_BODY_BYTES: Final = 8 * KIB
_SCOPES: Final = scopes_of(intake.post_events)
_DELAYED_STATUSES: Final = {STATUSES[ErrorCode.TOO_MANY_REQUESTS], STATUSES[ErrorCode.UNAVAILABLE]}


class EventsReply(msgspec.Struct, frozen=True):
    """A complete response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class EventsEndpoint:
    """Serves posts of events for one process. `monotonic` is in seconds."""

    def __init__(
        self,
        *,
        context: AppContext,
        key_ring: KeyRing,
        organisations: OrganisationCache,
        admission: AdmissionController,
        middleware: RequestMiddleware,
        monotonic: Callable[[], float],
    ) -> None:
        self._context = context
        self._key_ring = key_ring
        self._organisations = organisations
        self._admission = admission
        self._backlog_refusal = partial(admission.refusal, ShedReason.LANE)
        self._large_bodies = asyncio.Lock()
        self._middleware = middleware
        self._monotonic = monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a post (ASGI)."""
        reply: EventsReply | None
        admitted = admitted_by_head(scope, self._admission)
        if isinstance(admitted, Permit):
            reply = await self._accept(scope, receive, admitted)
        else:
            request_id = request_id_of(first_headers(scope["headers"]))
            reply = _refused(self._admission.problem(admitted), request_id)
            self._middleware.record("POST", PATH, reply.status, 0.0, request_id, None)
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
        headers = permit.head.headers
        request_id = request_id_of(headers)
        trace = RequestTrace(traceparent_of(headers), request_id=request_id)
        caller: Caller | Problem | None = None
        reply: EventsReply | None = None
        try:
            caller = await authorize(self._key_ring, scope["headers"], _SCOPES, known=permit.caller)
            if scope["query_string"] and isinstance(caller, Caller):
                caller = await acting_in(self._organisations, scope, caller)
            if isinstance(caller, Problem):
                reply = _refused(caller, request_id)
            elif isinstance(query := intake.read_query(scope), Problem):
                reply = _refused(query, request_id)
            elif (problem := await self._refused_organisation(caller.organisation)) is not None:
                reply = _refused(problem, request_id)
            else:
                body = RequestBodyReader(receive, _CAP, permit, self._admission)
                stored = await intake.accept_events(
                    headers,
                    partial(self._read, body, permit),
                    self._in_turn,
                    self._context,
                    self._backlog_refusal,
                    caller,
                    query,
                    self._organisations.charge,
                    trace,
                )
                reply = _stored(stored, request_id)
        except ClientDisconnect:
            pass
        except Exception as error:  # a Refusal or a bug
            reply = _refused(problem_of(error), request_id)
        finally:
            status = CLIENT_CLOSED_REQUEST if reply is None else reply.status
            self._admission.release(permit, status)
            key = caller.key if isinstance(caller, Caller) else None
            duration_s = self._monotonic() - permit.started_at
            self._middleware.record("POST", PATH, status, duration_s, request_id, key, trace)
        return reply

    async def _read(self, body: RequestBodyReader, permit: Permit) -> bytes:
        """Return the body of a post. Raises Refusal if parsing it would exceed the memory limit."""
        content = await body.read()
        if (problem := self._admission.memory_problem(permit, content)) is not None:
            raise Refusal.of(problem)
        return content

    def _in_turn(self, body: bytes) -> AbstractAsyncContextManager[object]:
        """Return a context in which to parse and evaluate a body. Only one large body is in it at a time."""
        return self._large_bodies if len(body) > _LARGE_BODY_BYTES else nullcontext()

    async def _refused_organisation(self, organisation: OrganisationId) -> Problem | None:
        """Return why an organisation may not send events or dry runs now, or None."""
        try:
            found = await self._organisations.find(organisation)
        except Exception as error:
            if not is_unavailable(error):
                raise
            return None  # storing the events will fail too, with a more specific error
        return self._organisations.admit(found)


def _stored(response: intake.EventsResponse, request_id: str) -> EventsReply:
    headers = [
        (b"content-length", b"%d" % len(response.body)),
        (b"content-type", b"application/json"),
        (REQUEST_ID, request_id.encode()),
        *FIXED_HEADERS,
    ]
    return EventsReply(response.status, headers, response.body)


def _refused(problem: Problem, request_id: str) -> EventsReply:
    response = error_response(problem)
    headers = [*response.raw_headers, (REQUEST_ID, request_id.encode()), *FIXED_HEADERS]
    return EventsReply(response.status_code, headers, bytes(response.body))
