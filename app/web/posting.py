"""The journey's door without the framework: a plain `POST /events`, from its headers to its answer.

What the framework and its layers do around a route costs twice what storing one event costs. A post with a
query goes their way, which reads and judges queries; both ways call the same functions in the same order,
and a test holds them to the same answers.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from app.web import events
from app.web.auth import Caller, KeyRing
from app.web.door import admitted, scopes_of
from app.web.envelope import FIXED_HEADERS, REQUEST_ID, Envelope, request_id_of, told_length
from app.web.errors import Problem, answer, problem_of
from app.web.headers import RawHeaders
from app.web.incoming import PATH, Incoming, cap_of
from app.web.pressure import Gauges, Ticket
from app.web.turnstile import Turnstile
from app.web.wiring import Wiring

_CAP: Final = cap_of(PATH)
_SCOPES: Final = scopes_of(events.post_events)
_GIVEN_UP: Final = 499  # noted where nobody is left to be answered


class Reply(msgspec.Struct, frozen=True):
    """An answer, ready to be written: its own headers, without the `FIXED_HEADERS` that every answer has."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Posting:
    """Answers plain posts. One per process; `monotonic` is in seconds."""

    def __init__(
        self,
        *,
        wiring: Wiring,
        key_ring: KeyRing,
        gauges: Gauges,
        turnstile: Turnstile,
        envelope: Envelope,
        monotonic: Callable[[], float],
    ) -> None:
        self._wiring = wiring
        self._key_ring = key_ring
        self._gauges = gauges
        self._turnstile = turnstile
        self._envelope = envelope
        self._monotonic = monotonic

    async def answer(self, headers: RawHeaders, receive: Receive) -> Reply | None:
        """Take a post that knocks, and return its answer; None when its caller hung up."""
        told = told_length(headers)
        # Before anything is asked of the database, and before the body is read. What is too large anyway is
        # answered 413 and never read.
        entered = self._gauges.enter(0 if (told or 0) > _CAP else told, is_post=True)
        if isinstance(entered, Ticket):
            return await self.answer_let_in(headers, receive, told, entered)
        reply = _refused(entered, request_id := request_id_of(headers))
        self._envelope.note("POST", PATH, reply.status, 0.0, request_id, None)
        return reply

    async def answer_let_in(
        self, headers: RawHeaders, receive: Receive, told: int | None, ticket: Ticket
    ) -> Reply | None:
        """Take a post that was let in and return its answer, once what it says is stored.

        `told` is the length of its body as told beforehand, None where it was not. Gives the ticket back,
        unless it is cancelled before its first step, which happens to a process that leaves only.
        """
        request_id = request_id_of(headers)
        caller: Caller | Problem | None = None
        reply: Reply | None = None
        try:
            caller = await admitted(self._key_ring, headers, _SCOPES)
            if isinstance(caller, Problem):
                reply = _refused(caller, request_id)
            else:
                body = Incoming(
                    receive,
                    cap=_CAP,
                    told=told,
                    ticket=ticket,
                    gauges=self._gauges,
                    turnstile=self._turnstile,
                )
                stored = await events.take(headers, body.whole, self._wiring, self._gauges, caller)
                reply = _told(stored, request_id)
        except ClientDisconnect:
            pass
        except Exception as error:  # a refusal from further down, or what nobody foresaw
            reply = _refused(problem_of(error), request_id)
        finally:
            status = _GIVEN_UP if reply is None else reply.status
            self._gauges.leave(ticket, status)
            key = caller.key if isinstance(caller, Caller) else None
            took = self._monotonic() - ticket.began
            self._envelope.note("POST", PATH, status, took, request_id, key)
        return reply


def _told(told: events.Told, request_id: str) -> Reply:
    headers = [
        (b"content-length", b"%d" % len(told.body)),
        (b"content-type", b"application/json"),
        (REQUEST_ID, request_id.encode()),
    ]
    return Reply(told.status, headers, told.body)


def _refused(problem: Problem, request_id: str) -> Reply:
    response = answer(problem)
    headers = [*response.raw_headers, (REQUEST_ID, request_id.encode())]
    return Reply(response.status_code, headers, bytes(response.body))


def all_headers(reply: Reply) -> list[tuple[bytes, bytes]]:
    """Return every header of a reply, as the framework's way would have sent them."""
    return [*reply.headers, *FIXED_HEADERS]
