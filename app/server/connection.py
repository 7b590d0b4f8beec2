"""One HTTP/1.1 connection: parsed strictly, with limits on time, sizes and rates.

uvicorn's protocol has no such limits. A request beyond a limit is answered if possible and the connection
closed. The server checks all deadlines twice a second. This module holds all uses of uvicorn's protocol.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.admin.refusals import ErrorCode, Problem
from app.api.errors import problem_of
from app.domain.admission import ShedReason
from app.server import message_rules
from app.server.admission import TICKET, AdmissionController, Permit
from app.server.connection_eviction import WaitingConnections
from app.server.connection_limits import (
    AnswerTransport,
    ConnectionLimits,
    ConnectionWait,
    Phase,
    ShutdownState,
)
from app.server.middleware import declared_length
from app.server.raw_errors import last_response, shed_response
from app.server.request_body import PATH, max_body_bytes, posts_events

# The overhead of a header field, as in HTTP/2 (RFC 9113 §6.5.2): small fields cost more to hold than to send.
_HEADER_BYTES: Final = 32
# How long, when we leave, a connection may still bring a request that is on its way, or be drained.
_FAREWELL_S: Final = 0.5

_CROWD: Final = Problem(ErrorCode.UNAVAILABLE, "Too many connections; use fewer, and keep them open.")


class HttpConnection(HttpToolsProtocol):
    """A connection on terms. `cut` counts why one was ended: a phase, `head_bytes`, `crowd`, `evicted`."""

    def __init__(
        self,
        *given: Any,
        terms: ConnectionLimits,
        closing: ShutdownState,
        cut: Callable[[str], None],
        waiting: WaitingConnections,
        admission: AdmissionController | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*given, **more)
        self._admission = admission
        self._permit: Permit | None = None
        self._terms, self._closing, self._cut, self._waiting = terms, closing, cut, waiting
        self._wait = ConnectionWait(terms)
        self._head_bytes = self._weight = 0  # of this head: as it comes, and as it is read
        self._lines = message_rules.RequestLines()
        self._offered = False  # this head offers another protocol: see _feed
        self._last = False  # the answer that was given ends the connection
        self._deaf = False  # nothing more is read: the last request of this connection has come
        self._unread = False  # something came nevertheless
        self._ended = False  # the client sends nothing more
        self._refusal = message_rules.UNREADABLE
        self._deferred: Problem | None = None  # to be answered after the requests before it

    def look(self, now: float) -> None:
        """End the connection when what it waits for is overdue."""
        paused = self.flow.read_paused or bool(self.pipeline)
        overdue = self._wait.overdue(now, closing=self.transport.is_closing(), paused=paused)
        if overdue is Phase.NEXT:
            self.transport.close()  # nobody waits for anything
        elif overdue is Phase.PARTING:
            self.transport.abort()
        elif overdue is not None:
            self._cut(overdue.value)
            self._end_overdue(overdue)

    def begin_shutdown(self) -> None:
        """Let the answer under way be the last one, and tell the client so."""
        if self._is_under_way():
            self.cycle.keep_alive = False

    def evict(self) -> None:
        """End a connection that owes no answer, to make room for another."""
        self._cut("evicted")
        self.transport.close()

    # What the server calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._answers: Any = AnswerTransport(transport, self._end_after_answer)
        self._wait.opened(self.loop.time())
        self._waiting.opened(self)
        if len(self.connections) > self._terms.connections and not self._waiting.make_room(self):
            self._cut("crowd")
            self._part(_CROWD)

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._wait.phase in (Phase.DRAINING, Phase.PARTING) and not self._wait.drained(len(data)):
            self.transport.abort()
            return
        if self._deaf:
            self._unread = True
            return
        if self._wait.phase is Phase.NEXT:
            # Also what begins no request, such as empty lines, must end in one within the time.
            self._begin_head()
        self._lines.received(data, boundary=self._wait.phase is Phase.HEAD and not self._head_bytes)
        if self._wait.phase is Phase.HEAD:
            self._head_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse_unreadable(error)
            return
        if self._wait.phase is Phase.HEAD and not self._deaf:
            self._lines.head_goes_on()
            if self._head_bytes > self._terms.head_bytes:
                self._cut("head_bytes")
                self._refuse(Problem(ErrorCode.HEAD_TOO_LARGE))
            elif self._head_bytes == len(data) and message_rules.names_no_version(data):
                self._refuse(message_rules.UNREADABLE)  # its request line may be all that ever comes
        else:
            self._lines.head_ended()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what was asked completely, and end. False closes the connection at once."""
        self._ended = self._deaf = True
        if self._wait.phase in (Phase.BODY, Phase.DRAINING, Phase.PARTING) or not self._is_under_way():
            return False
        if self._deferred is None:
            self.cycle.keep_alive = False
        # Of an answer that was begun the client may have gone away in the middle.
        return bool(self.pipeline) or not self.cycle.response_started

    def on_message_begin(self) -> None:
        if self._deaf or (self._is_under_way() and not self.cycle.keep_alive):
            self._deaf = True
            raise ValueError("nothing is read after the last request")  # ends the parser
        super().on_message_begin()
        self._lines.head_begins()
        behind_another = self._wait.phase is not Phase.HEAD
        self._begin_head()
        if behind_another:
            self._head_bytes = 1  # or more, that came with the end of the other

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._weigh(len(self.url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._weigh(len(name) + len(value) + _HEADER_BYTES)
        if self._wait.phase is Phase.HEAD:  # trailers are no headers (RFC 9110 §6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        foreign = self._lines.is_foreign(method, self.url)
        problem = message_rules.problem_of_head(method, version, self.url, self.headers, foreign=foreign)
        if problem is not None:
            self._refusal = problem
            raise ValueError("a head is refused")  # ends the parser
        if self.parser.should_upgrade():
            self._offered = True  # the parser stops behind this head
            return
        if version == "1.0":
            self.expect_100_continue = False
        told = declared_length(self.headers)
        self._permit = None
        # Behind another request it is admitted when its turn comes.
        if self._admission is not None and posts_events(method, self.url) and not self._is_under_way():
            admitted = self._admission.admit(0 if (told or 0) > max_body_bytes(PATH) else told)
            if isinstance(admitted, ShedReason):
                self._shed(self._admission, admitted)
                return
            self._permit = self.scope["state"][TICKET] = admitted
        try:
            super().on_headers_complete()
        except BaseException:
            if self._permit is not None and self._admission is not None:
                self._admission.leave(self._permit, 0)
            raise
        self._waiting.remove(self)
        self._wait.body(self.loop.time(), behind=bool(self.pipeline))
        self.cycle.transport = self._answers
        if self._permit is not None and not self.expect_100_continue:
            self._answers.join_two()
        if self._closing.begun or (told or 0) > self._terms.drain_bytes:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self._wait.phase is not Phase.BODY:
            return
        self._wait.body_received(len(body))
        if self._permit is not None and self._admission is not None:
            self._admission.arrived(self._permit, len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        # A trailer may say `Connection: close`; the parser reads nothing after that, so neither does this.
        keep_alive = self.parser.should_keep_alive()
        if self._wait.phase is Phase.BODY:
            self._wait.ourselves()
            self.cycle.keep_alive = self.cycle.keep_alive and keep_alive
            self._deaf = not self.cycle.keep_alive
            super().on_message_complete()
        elif self._wait.phase is Phase.DRAINING:
            if self._last or self._closing.begun or not keep_alive:
                self._deaf = True
                self.transport.close()
            else:
                self._await_next()

    def on_response_complete(self) -> None:
        # What the server does here, but for the timer of an idle connection.
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._wait.phase in (Phase.DRAINING, Phase.PARTING):
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._deferred is not None:
            self._part(self._deferred)
        elif self._wait.phase is Phase.OURSELVES:
            self._await_next()
        # A request that began before this answer has its time from now on.
        if self._wait.phase is Phase.BODY:
            if self.cycle.response_complete:
                self._drain(last=False)
            else:
                self._wait.body(self.loop.time(), behind=bool(self.pipeline))
        elif self._wait.phase is Phase.HEAD:
            self._wait.head(self.loop.time(), behind=self._is_under_way())

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait.reading(self.loop.time())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._wait.read()

    def shutdown(self) -> None:
        """End after the answer under way; one without a request a moment later, for what is on its way."""
        if self._is_under_way() and self._wait.phase is not Phase.PARTING:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(_FAREWELL_S, self._end_idle)

    def _feed(self, data: bytes) -> None:
        """Let the parser read. Raises HttpParserError for what it cannot.

        At an Upgrade offer the parser stops and assumes that there is no body. A fresh parser then gets the
        head without the offer, and the bytes that followed it.
        """
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as stopped:
                rest = memoryview(rest)[stopped.args[0] :]
            self._offered = False
            head = message_rules.without_upgrade(
                self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers
            )
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)

    def _refuse_unreadable(self, error: httptools.HttpParserError) -> None:
        """Answer what the parser could not take, or what one of the methods above refused."""
        if self._deaf:
            self._unread = True
        elif isinstance(error.__context__, MemoryError):
            self._refuse(problem_of(error.__context__))
        elif self._wait.phase is Phase.HEAD and self._refusal is message_rules.UNREADABLE:
            self._refuse(message_rules.problem_of_version(self.parser.get_http_version()) or self._refusal)
        else:
            self._refuse(self._refusal)

    def _refuse(self, problem: Problem) -> None:
        """Refuse the request that is being read, after the answers of those before it, and end."""
        self._deaf = True
        if self._wait.phase is Phase.DRAINING:
            self.transport.close()  # it has its answer
            return
        behind = self._is_under_way()
        if self._wait.phase is Phase.BODY:
            # The request is with the application already, or waits for its turn.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            behind = bool(self.pipeline)
            if behind:
                self.pipeline.popleft()
            elif self.cycle.response_started:
                self.transport.close()
                return
        if behind:
            self._wait.ourselves()
            self._deferred = problem
        else:
            self._part(problem)

    def _shed(self, admission: AdmissionController, cause: ShedReason) -> None:
        """Answer a post that is not admitted: without a task, and without reading its body."""
        # With `Expect` it is the client's choice whether the body still comes: what follows is unknown.
        last = self._closing.begun or not self.parser.should_keep_alive() or self.expect_100_continue
        default, wait_s = self.server_state.default_headers, admission.retry_after(cause)
        self.transport.write(shed_response(cause, wait_s, self.headers, default, last=last))
        if self.expect_100_continue:
            self._linger()
        else:
            self._drain(last=last)

    def _begin_head(self) -> None:
        self._head_bytes = self._head_bytes if self._wait.phase is Phase.HEAD else 0
        self._weight = 0
        self._wait.head(self.loop.time(), behind=self._is_under_way())

    def _weigh(self, more: int) -> None:
        """Count parts of a head as they are read: one chunk may bring all of it."""
        self._weight += more
        if self._weight > self._terms.head_bytes:
            self._cut("head_bytes")
            self._refusal = Problem(ErrorCode.HEAD_TOO_LARGE)
            raise ValueError("the head is too large")  # ends the parser

    def _is_under_way(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_next(self) -> None:
        """Begin the wait for a next request."""
        self._wait.next(self.loop.time(), self.timeout_keep_alive)
        self._waiting.idle(self)

    def _end_overdue(self, overdue: Phase) -> None:
        under_way = self._is_under_way()
        in_body = overdue is Phase.BODY and under_way and not self.cycle.response_started
        in_head = overdue is Phase.HEAD and self._head_bytes and not under_way
        if in_body or in_head:
            self._refuse(Problem(ErrorCode.TOO_SLOW))
        elif under_way or overdue is Phase.READING:
            self.transport.abort()
        else:
            self.transport.close()

    # Ending

    def _end_after_answer(self) -> None:
        """End because an answer was the last one; what the client still sends is drained."""
        if self._ended or not self.cycle.response_complete:
            self.transport.close()
        elif self._wait.phase is Phase.BODY:
            self._drain(last=True)
        elif self._unread or self._wait.phase is Phase.HEAD:
            self._linger()
        else:
            self.transport.close()

    def _drain(self, *, last: bool) -> None:
        """Pass over the rest of a body whose request was answered, so that the client can read the answer."""
        self._last = last
        self._wait.drain(Phase.DRAINING, self.loop.time())
        if last and self.transport.can_write_eof():
            self.transport.write_eof()
        if self.cycle is not None:
            self.cycle.body = bytearray()
        self._waiting.idle(self)
        self.flow.resume_reading()

    def _linger(self) -> None:
        """Send no more, and discard what still arrives: unread, it would reset the response."""
        self._deaf = True
        self._wait.drain(Phase.PARTING, self.loop.time())
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._waiting.idle(self)
        self.flow.resume_reading()

    def _part(self, problem: Problem) -> None:
        """Answer and end; the socket stays for a moment, so that the client can read what it was told."""
        if self.transport.is_closing():
            return
        self.transport.write(last_response(problem, self.server_state.default_headers))
        if self._ended:
            self.transport.close()
        else:
            self._linger()

    def _end_idle(self) -> None:
        in_head = self._wait.phase is Phase.HEAD and self._head_bytes
        if not in_head and self._wait.phase not in (Phase.BODY, Phase.OURSELVES):
            self.transport.close()
