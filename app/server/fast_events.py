"""The endpoint of `POST /events`, in front of the framework: from the headers of a post to its answer.

What the framework and its layers do around a route costs twice what storing one event costs. The framework
only describes this address (`app.api.events.post_events`).
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.refusals import Problem
from app.api import events
from app.api.auth import KeyRing
from app.api.errors import error_response, problem_of
from app.api.headers import RawHeaders
from app.api.secured_route import authorize, scopes_of
from app.domain.admission import ShedReason
from app.server.admission import TICKET, AdmissionController, Permit
from app.server.loop_limiter import LoopLimiter
from app.server.middleware import FIXED_HEADERS, REQUEST_ID, RequestMiddleware, declared_length, request_id_of
from app.server.request_body import PATH, RequestBodyReader, max_body_bytes

_CAP: Final = max_body_bytes(PATH)
_SCOPES: Final = scopes_of(events.post_events)
_GIVEN_UP: Final = 499  # noted where nobody is left to be answered


class EventsReply(msgspec.Struct, frozen=True):
    """An answer, ready to be sent."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class EventsEndpoint:
    """Answers posts of events. One per process; `monotonic` is in seconds."""

    def __init__(
        self,
        *,
        context: AppContext,
        key_ring: KeyRing,
        admission: AdmissionController,
        loop_limiter: LoopLimiter,
        middleware: RequestMiddleware,
        monotonic: Callable[[], float],
    ) -> None:
        self._context = context
        self._key_ring = key_ring
        self._admission = admission
        self._refuse_late = partial(admission.refusal, ShedReason.LANE)
        self._loop_limiter = loop_limiter
        self._middleware = middleware
        self._monotonic = monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a post (ASGI). A server that admitted it by its head left the ticket in the scope."""
        headers: RawHeaders = scope["headers"]
        told = declared_length(headers)
        reply: EventsReply | None
        permit: Permit | None = scope["state"].get(TICKET) if "state" in scope else None
        # Before anything is asked of the database, and before the body is read. What is too large anyway is
        # answered 413 and never read.
        entered = permit or self._admission.enter(0 if (told or 0) > _CAP else told, is_post=True)
        if isinstance(entered, Permit):
            reply = await self._answer(scope, receive, told, entered)
        else:
            reply = _refused(entered, request_id := request_id_of(headers))
            self._middleware.note("POST", PATH, reply.status, 0.0, request_id, None)
        if reply is not None:
            await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
            await send({"type": "http.response.body", "body": reply.body})

    async def _answer(
        self, scope: Scope, receive: Receive, told: int | None, permit: Permit
    ) -> EventsReply | None:
        """Take a post that was let in and return its answer, once what it says is stored.

        None when its caller hung up. `told` is the length of its body as told beforehand, None where it was
        not. Gives the ticket back, unless it is cancelled before its first step, which happens to a process
        that leaves only.
        """
        headers: RawHeaders = scope["headers"]
        request_id = request_id_of(headers)
        caller: Caller | Problem | None = None
        reply: EventsReply | None = None
        try:
            caller = await authorize(self._key_ring, headers, _SCOPES)
            if isinstance(caller, Problem):
                reply = _refused(caller, request_id)
            elif (
                (told or 0) <= _CAP  # else it is not read at all
                and (problem := self._admission.claim(permit, caller.quota_owner)) is not None
            ):
                reply = _refused(problem, request_id)
            elif isinstance(query := events.read_query(scope), Problem):
                reply = _refused(query, request_id)
            else:
                body = RequestBodyReader(
                    receive,
                    cap=_CAP,
                    told=told,
                    permit=permit,
                    admission=self._admission,
                    loop_limiter=self._loop_limiter,
                )
                stored = await events.accept_events(
                    headers, body.whole, self._context, self._refuse_late, caller, query
                )
                reply = _told(stored, request_id)
        except ClientDisconnect:
            pass
        except Exception as error:  # a refusal from further down, or what nobody foresaw
            reply = _refused(problem_of(error), request_id)
        finally:
            status = _GIVEN_UP if reply is None else reply.status
            self._admission.leave(permit, status)
            key = caller.key if isinstance(caller, Caller) else None
            took = self._monotonic() - permit.began
            self._middleware.note("POST", PATH, status, took, request_id, key)
        return reply


def _told(told: events.EventsResponse, request_id: str) -> EventsReply:
    headers = [
        (b"content-length", b"%d" % len(told.body)),
        (b"content-type", b"application/json"),
        (REQUEST_ID, request_id.encode()),
        *FIXED_HEADERS,
    ]
    return EventsReply(told.status, headers, told.body)


def _refused(problem: Problem, request_id: str) -> EventsReply:
    response = error_response(problem)
    headers = [*response.raw_headers, (REQUEST_ID, request_id.encode()), *FIXED_HEADERS]
    return EventsReply(response.status_code, headers, bytes(response.body))
