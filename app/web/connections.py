"""One connection of the server, with a deadline for each thing that a client may be slow at.

The server itself waits for ever: for the head of a request, for its body, for a client to read its answer.
A few hundred clients that drip would hold all its sockets. Here each phase has a time, heads have a size,
and connections have a number; what is exceeded is told where that is still possible, and cut. Healthy
clients notice nothing: no timer is set for a request, a sweep looks at all connections twice a second.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from starlette.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.domain.admission import Cause
from app.web.envelope import FIXED_HEADERS, request_id_of, told_length
from app.web.errors import Problem, Word, body_of, status_of
from app.web.incoming import PATH, cap_of
from app.web.post_cycle import PostCycle
from app.web.posting import Posting
from app.web.pressure import Gauges, Ticket, problem_of

NEVER: Final = float("inf")
# What a header weighs beside its bytes, as HTTP/2 counts (RFC 9113 §6.5.2): ten thousand of one letter each
# cost more to keep than to send.
_HEADER_BYTES: Final = 32
# How long a client that was told to go may take to read it.
_PARTING_S: Final = 1.0
# How long a connection without a request may still bring the one that is on its way when we leave.
_FAREWELL_S: Final = 0.5

_POSTS_TO: Final = PATH.encode()


@dataclass(frozen=True, slots=True)
class Terms:
    """What a client must keep to; times in seconds, `head_bytes` over request line and headers together."""

    head_s: float = 10.0
    body_s: float = 30.0
    read_s: float = 30.0  # for reading an answer that fills our buffers
    head_bytes: int = 64 * 1024
    connections: int = 900


@dataclass(slots=True)
class Closing:
    """Whether the process is about to leave: each connection then ends with the answer it waits for."""

    begun: bool = False


class Phase(StrEnum):
    """What a connection waits for."""

    HEAD = "head"
    BODY = "body"
    OURSELVES = "ourselves"
    NEXT = "next"
    PARTING = "parting"


class Connection(HttpToolsProtocol):
    """A connection on terms. `cut` is told why one was ended: a phase, `head_bytes`, `reading`, `crowd`."""

    def __init__(
        self,
        *given: Any,
        terms: Terms,
        closing: Closing,
        cut: Callable[[str], None],
        gauges: Gauges | None = None,
        posting: Posting | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*given, **more)
        self._gauges, self._skipping, self._posting = gauges, False, posting
        self._terms, self._closing, self._cut = terms, closing, cut
        self._phase, self._due, self._read_due = Phase.HEAD, NEVER, NEVER
        self._head_bytes = self._weight = 0  # of this head: as it comes, and as it is read
        self._refusal = Problem(Word.MALFORMED, "This is not HTTP/1.1.")

    def look(self, now: float) -> None:
        """End the connection when what it waits for is overdue."""
        if now >= self._read_due:
            self._cut("reading")
            self.transport.abort()
        elif self.transport.is_closing():
            # It waits for its last answer to be read, of which there may be too little to pause for.
            self._read_due = min(self._read_due, now + self._terms.read_s)
        elif now >= self._due:
            if self._phase is Phase.NEXT:
                self.transport.close()  # nobody waits for anything
            else:
                self._cut(self._phase.value)
                self._end_overdue()

    def part_politely(self) -> None:
        """Let the answer under way be the last one, and tell the client so."""
        if self._is_under_way():
            self.cycle.keep_alive = False

    # What the server calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._due = self.loop.time() + self._terms.head_s
        if len(self.connections) > self._terms.connections:
            self._cut("crowd")
            busy = Problem(Word.UNAVAILABLE, "Too many connections; use fewer, and keep them open.")
            self._part(busy)

    def data_received(self, data: bytes) -> None:
        match self._phase:
            case Phase.PARTING:
                return
            case Phase.NEXT:
                # Also what begins no request, such as empty lines, must end in one within the time.
                self._begin_head()
            case _:
                pass
        if self._phase is Phase.HEAD:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._phase is Phase.HEAD:
            if self._head_bytes > self._terms.head_bytes:
                self._refuse_head()
            elif self._head_bytes == len(data) and _names_no_version(data):
                self._part(self._refusal)  # its request line may be all that ever comes

    def on_message_begin(self) -> None:
        super().on_message_begin()
        behind_another = self._phase is not Phase.HEAD
        self._begin_head()
        if behind_another:
            self._head_bytes = 1  # or more, that came with the end of the other

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._weigh(len(self.url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._weigh(len(name) + len(value) + _HEADER_BYTES)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._phase, self._due = Phase.BODY, self.loop.time() + self._terms.body_s
        if self.parser.get_http_version() == "0.9":
            # Neither a version nor the first one has headers; the parser takes both.
            raise ValueError("not HTTP/1")  # ends the parser; answered by send_400_response
        if self._is_post():
            self._begin_post()
        else:
            super().on_headers_complete()
        if self._closing.begun and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self._skipping:
            return
        if isinstance(self.cycle, PostCycle):
            self.cycle.take(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._skipping or (self.cycle is not None and self.cycle.response_complete):
            # Answered before its end came: nothing else would begin the wait for the next.
            self._skipping = False
            self._await_next()
            if self._closing.begun or not self.parser.should_keep_alive():
                self.transport.close()
            return
        self._phase, self._due = Phase.OURSELVES, NEVER
        super().on_message_complete()

    def on_response_complete(self) -> None:
        # All that the server does here, but for the timer that it sets for an idle connection.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            if self._phase is Phase.OURSELVES:
                self._phase = Phase.NEXT
        elif self._phase in (Phase.OURSELVES, Phase.NEXT):
            self._await_next()
        # A request that began before this answer gets its time from now on.
        if self._phase is Phase.BODY:
            self._due = self.loop.time() + self._terms.body_s
        elif self._phase is Phase.HEAD:
            self._due = self.loop.time() + self._terms.head_s

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_due = self.loop.time() + self._terms.read_s

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_due = NEVER

    def shutdown(self) -> None:
        """End after the answer under way; one without a request a moment later, for what is on its way."""
        if self._is_under_way():
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(_FAREWELL_S, self._end_idle)

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser could not take, in the one shape of errors."""
        del msg
        self._forsake()
        self._part(self._refusal)

    # Within

    def _forsake(self) -> None:
        """Tell the application that nobody is there any more, so that it does not answer as well."""
        if self._is_under_way():
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _is_post(self) -> bool:
        """Whether this is a plain post of events with nothing before it; the rest is the application's."""
        return not self._is_under_way() and self.url == _POSTS_TO and self.parser.get_method() == b"POST"

    def _begin_post(self) -> None:
        """Let a post in or turn it away, by its head alone."""
        told = told_length(self.headers)
        if self._gauges is None or (told or 0) > cap_of(PATH):
            super().on_headers_complete()
        elif self._posting is not None and told is not None and self._is_usual():
            entered = self._gauges.let_in(told)
            if isinstance(entered, Ticket):
                self._take_post(self._posting, told, entered)
            else:
                self._turn_away(self._gauges, entered)
        elif (cause := self._gauges.turned_away(told)) is not None:
            self._turn_away(self._gauges, cause)
        else:
            super().on_headers_complete()

    def _is_usual(self) -> bool:
        """Whether the head asks for nothing but the body to be read."""
        if self.expect_100_continue:
            return False
        http_version: str = self.parser.get_http_version()
        return http_version == "1.1" and not self.parser.should_upgrade()

    def _take_post(self, posting: Posting, told: int, ticket: Ticket) -> None:
        """Have a plain post of events answered past the application; reading stays as the server does it."""
        self.cycle = PostCycle(
            self.headers,
            told,
            ticket,
            transport=self.transport,
            flow=self.flow,
            default_headers=self.server_state.default_headers,
            keep_alive=self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self._start_asgi_task(self.cycle, posting)  # type: ignore[arg-type]

    def _turn_away(self, gauges: Gauges, cause: Cause) -> None:
        """Answer a post that may not come in, at the cost of a few lines: no task, and nothing of its body.

        When there is ten times too much, what refusing costs is what is left for the rest.
        """
        if self.expect_100_continue:
            # Whether the body still comes is the client's choice: there is no telling what follows.
            self._part(problem_of(cause))
            return
        self._skipping = True
        last = self._closing.begun or not self.parser.should_keep_alive()
        lines = [name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers]
        lines.append(b"retry-after: %d\r\n" % gauges.retry_after(cause))
        lines.append(b"x-request-id: " + request_id_of(self.headers).encode() + b"\r\n")
        if last:
            lines.append(b"connection: close\r\n")
        head, body = _READY_ANSWERS[cause]
        self.transport.write(head + b"".join(lines) + body)

    def _await_next(self) -> None:
        """Begin the wait for a next request. The sweep ends it: a timer a request costs more than that."""
        self._phase, self._due = Phase.NEXT, self.loop.time() + self.timeout_keep_alive

    def _begin_head(self) -> None:
        # Who waits for an answer of ours is not late with what he begins meanwhile.
        self._due = NEVER if self._is_under_way() else self.loop.time() + self._terms.head_s
        if self._phase is not Phase.HEAD:
            self._phase, self._head_bytes = Phase.HEAD, 0
        self._weight = 0

    def _is_under_way(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _weigh(self, more: int) -> None:
        """Count parts of a head as they are read: one chunk may bring all of it."""
        self._weight += more
        if self._weight > self._terms.head_bytes:
            self._cut("head_bytes")
            self._refusal = Problem(Word.HEAD_TOO_LARGE)
            raise ValueError("the head is too large")  # ends the parser; answered by send_400_response

    def _refuse_head(self) -> None:
        self._cut("head_bytes")
        self._part(Problem(Word.HEAD_TOO_LARGE))

    def _end_overdue(self) -> None:
        under_way = self._is_under_way()
        if self._phase is Phase.BODY and under_way and not self.cycle.response_started:
            self._forsake()
            self._part(Problem(Word.TOO_SLOW))
        elif self._phase is Phase.HEAD and self._head_bytes and not under_way:
            self._part(Problem(Word.TOO_SLOW))
        elif under_way:
            self.transport.abort()
        else:
            self.transport.close()

    def _end_idle(self) -> None:
        idle = self._phase is Phase.NEXT or (self._phase is Phase.HEAD and not self._head_bytes)
        if idle and not self.transport.is_closing():
            self.transport.close()

    def _part(self, problem: Problem) -> None:
        """Answer and end; the socket stays for a moment, so that the client can read what it was told."""
        if self.transport.is_closing():
            return
        self._phase, self._due = Phase.PARTING, NEVER
        self.transport.write(_answer(problem, self.server_state.default_headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(_PARTING_S, self.transport.abort)


def _names_no_version(head: bytes) -> bool:
    """Tell whether what begins a head is a whole request line without a version (HTTP of 1991)."""
    line, ended, _ = head.lstrip(b"\r\n").partition(b"\n")
    return bool(ended) and b" HTTP/" not in line


def _answer(problem: Problem, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return a whole response, as the application would have answered; the last of its connection."""
    head, body = _ready(problem)
    more = {"connection": "close", "x-request-id": secrets.token_hex(8)}
    if status_of(problem) == 503:
        more["retry-after"] = str(1 + secrets.randbelow(5))
    lines = [*headers, *((name.encode(), value.encode()) for name, value in more.items())]
    return head + b"".join(name + b": " + value + b"\r\n" for name, value in lines) + body


def _ready(problem: Problem) -> tuple[bytes, bytes]:
    """Return what is the same in every answer of a problem: what stands before and after the rest."""
    response = JSONResponse(body_of(problem), status_of(problem))
    fixed = [*response.raw_headers, *FIXED_HEADERS]
    head = STATUS_LINE[response.status_code] + b"".join(
        name + b": " + value + b"\r\n" for name, value in fixed
    )
    return head, b"\r\n" + bytes(response.body)


_READY_ANSWERS: Final = {cause: _ready(problem_of(cause)) for cause in Cause}
