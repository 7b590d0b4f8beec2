"""One HTTP/1.1 connection: strict parsing, with limits on time, sizes and rates.

Only this module uses uvicorn's protocol.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.admin import ErrorCode, Problem
from app.api.errors import problem_of
from app.domain.admission import ShedReason
from app.server import request_head
from app.server.admission import PERMIT, REFUSAL_DELAY_S, AdmissionController, Permit
from app.server.connection_limits import (
    HEADER_BYTES,
    NEVER,
    AnswerTransport,
    ConnectionLimits,
    ConnectionWait,
    Phase,
    WaitingConnections,
)
from app.server.raw_errors import last_response, shed_response

# At shutdown, an idle connection stays open for this time: a request may be in transit.
_SHUTDOWN_GRACE_S: Final = 0.5


class HttpConnection(HttpToolsProtocol):
    """A connection with limits. It calls `closed` with the reason when a limit closes it."""

    def __init__(
        self,
        *args: Any,
        limits: ConnectionLimits,
        closed: Callable[[str], None],
        waiting: WaitingConnections,
        admission: AdmissionController | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.url = b""  # of the current request
        self._admission = admission
        self._permit: Permit | None = None
        self._limits, self._closed = limits, closed
        self._waiting, self._wait = waiting, ConnectionWait(limits)
        self._head_bytes = self._parsed_head_bytes = 0  # of the current head: received, and parsed
        self._lines = request_head.RequestLines()
        self._close_after_drain = False
        self._kept_after_body = True  # whether the connection continues after the body
        self._input_ended = False  # the last request was received; further input is ignored
        self._ignored_input = False  # input came after the last request
        self._eof = False  # the client closed its side
        self._refusal = request_head.UNREADABLE
        self._deferred: Problem | None = None  # a refusal that waits for the responses to earlier requests

    def check_deadlines(self, now: float) -> None:
        """Close the connection if its current phase missed its deadline."""
        paused = self.flow.read_paused or bool(self.pipeline)
        overdue = self._wait.overdue(now, closing=self.transport.is_closing(), paused=paused)
        if overdue is Phase.NEXT:
            self.transport.close()  # no response is due
        elif overdue is Phase.LINGERING:
            self.transport.abort()
        elif overdue is not None:
            self._closed(overdue.value)
            self._close_overdue(overdue)

    def begin_shutdown(self) -> None:
        """Close the connection after the current response, if any, which gets `Connection: close`."""
        if self._is_answering():
            self.cycle.keep_alive = False

    def evict(self) -> None:
        """Close this connection, which owes no response, to make room for another."""
        self._closed("evicted")
        self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._answer_transport: Any = AnswerTransport(
            transport.write, transport.is_closing, self._close_after_answer
        )
        self._wait.begin(Phase.HEAD, self.loop.time(), self._limits.head_s)
        self._waiting.opened(self)
        if len(self.connections) > self._limits.connections and not self._waiting.make_room(self):
            self._closed("crowd")
            self._answer_and_close(request_head.CROWDED)

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.remove(self)
        self._waiting.pipelined -= len(self.pipeline)
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._wait.phase in (Phase.DRAINING, Phase.LINGERING) and not self._wait.discarded(len(data)):
            self.transport.abort()
            return
        if self._input_ended:
            self._ignored_input = True
            return
        if self._wait.phase is Phase.NEXT:
            # Input before a request, such as empty lines, also has the deadline of a head.
            self._begin_head()
        in_head = self._wait.phase is Phase.HEAD
        self._lines.received(data, in_head=in_head, boundary=in_head and not self._head_bytes)
        if in_head:
            self._head_bytes += len(data)
        try:
            self._feed_parser(data)
        except httptools.HttpParserError as error:
            self._refuse_unreadable(error)
            return
        if self._wait.phase is Phase.HEAD and not self._input_ended:
            if self._head_bytes > self._limits.head_bytes:
                self._closed("head_bytes")
                self._refuse(Problem(ErrorCode.HEAD_TOO_LARGE))
            elif self._head_bytes == len(data) and request_head.names_no_version(data):
                self._refuse(request_head.UNREADABLE)  # HTTP/0.9: nothing may follow

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer the requests that are complete, then close. Return False to close the connection now."""
        self._eof = self._input_ended = True
        if self._wait.phase in (Phase.BODY, Phase.DRAINING, Phase.LINGERING) or not self._is_answering():
            return False
        if self._deferred is None:
            self.cycle.keep_alive = False
        # Close now if the response has started, because its client may be gone.
        return bool(self.pipeline) or not self.cycle.response_started

    def on_message_begin(self) -> None:
        if self._input_ended or (self._is_answering() and not self.cycle.keep_alive):
            self._input_ended = True
            raise ValueError("input after the last request")  # stops the parser
        super().on_message_begin()
        pipelined = self._wait.phase is not Phase.HEAD
        self._begin_head()
        if pipelined:
            self._head_bytes = 1  # at least: the head began in the last segment of the previous request

    def on_header(self, name: bytes, value: bytes) -> None:
        self._parsed_head_bytes += len(name) + len(value) + HEADER_BYTES
        if self._parsed_head_bytes > self._limits.head_bytes:
            self._refuse_large_head()
        if self._wait.phase is Phase.HEAD:  # not a trailer (RFC 9110 §6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._parsed_head_bytes + len(self.url) > self._limits.head_bytes:
            self._refuse_large_head()
        method, version = self.parser.get_method(), self.parser.get_http_version()
        foreign = self._lines.is_foreign(method, self.url)
        problem = request_head.problem_of_head(method, version, self.url, self.headers, foreign=foreign)
        if problem is not None:
            self._refusal = problem
            raise ValueError("head refused")  # stops the parser
        if self.parser.should_upgrade():
            return  # the parser stops after this head: see _feed_parser
        self.expect_100_continue = self.expect_100_continue and version != "1.0"
        head = request_head.read_head(method, self.url, self.headers)
        self._permit = None
        # A pipelined request is admitted later, by the application, and so is HEAD: its response has no body.
        if self._admission is not None and method != b"HEAD" and not self._is_answering():
            admitted = self._admission.admit(head)
            if isinstance(admitted, ShedReason):
                self._shed(self._admission, admitted, head)
                return
            self._permit = self.scope["state"][PERMIT] = admitted
        try:
            super().on_headers_complete()
        except BaseException:
            if self._permit is not None and self._admission is not None:
                self._admission.release(self._permit, 0)
            raise
        self._waiting.remove(self)
        self._wait.begin(Phase.BODY, self.loop.time(), NEVER if self.pipeline else self._limits.body_s)
        self.cycle.transport = self._answer_transport
        # The endpoint of events sends head and body together. `100 Continue` comes before the head.
        self._answer_transport.joins = (
            self._permit is not None and self._permit.is_events and not self.expect_100_continue
        )
        if self._waiting.shutdown_begun or (head.length or 0) > self._limits.drain_bytes:
            self.cycle.keep_alive = False
        if self.pipeline and self._waiting.is_last_pipelined(len(self.pipeline)):
            self.cycle.keep_alive = False
        # The end of a chunked body may be malformed. So a response before that end is the connection's last.
        self._kept_after_body = self.cycle.keep_alive
        if head.length is None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self._wait.phase is not Phase.BODY:
            return
        self._wait.body_bytes += len(body)
        if self._permit is not None and self._admission is not None:
            self._admission.record_received(self._permit, len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        # After `Connection: close` in a trailer the parser stops, so this is the last request.
        keep_alive = self.parser.should_keep_alive()
        if self._wait.phase is Phase.BODY:
            self._wait.begin(Phase.PROCESSING, self.loop.time(), NEVER)
            self.cycle.keep_alive = self._kept_after_body and keep_alive and not self._waiting.shutdown_begun
            self._input_ended = not self.cycle.keep_alive
            super().on_message_complete()
        elif self._wait.phase is Phase.DRAINING:
            if self._close_after_drain or self._waiting.shutdown_begun or not keep_alive:
                self._input_ended = True
                self.transport.close()
            else:
                self._await_next()

    def on_response_complete(self) -> None:
        # As in uvicorn, but without its keep-alive timer: `ConnectionWait` has the deadline.
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._wait.phase in (Phase.DRAINING, Phase.LINGERING):
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._waiting.pipelined -= 1
            self._start_asgi_task(*self.pipeline.pop())
        elif self._deferred is not None:
            self._answer_and_close(self._deferred)
        elif self._wait.phase is Phase.PROCESSING:
            self._await_next()
        now = self.loop.time()  # the deadline of a pipelined request starts now
        if self._wait.phase is Phase.BODY:
            if self.cycle.response_complete:
                self._drain(last=False)
            else:
                self._wait.begin(Phase.BODY, now, NEVER if self.pipeline else self._limits.body_s)
        elif self._wait.phase is Phase.HEAD:
            self._wait.begin(Phase.HEAD, now, NEVER if self._is_answering() else self._limits.head_s)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait.write_paused(self.loop.time())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._wait.write_resumed()

    def shutdown(self) -> None:
        """Close after the current response. Close an idle connection after `_SHUTDOWN_GRACE_S`."""
        if self._is_answering() and self._wait.phase is not Phase.LINGERING:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(_SHUTDOWN_GRACE_S, self._close_idle)

    def _feed_parser(self, data: bytes) -> None:
        """Feed the parser. Raises HttpParserError for malformed input.

        At a request for an upgrade the parser stops and assumes that there is no body. A new parser then gets
        the head without the upgrade, and the bytes after the head.
        """
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as stopped:
                rest = memoryview(rest)[stopped.args[0] :]
            head = request_head.without_upgrade(
                self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers
            )
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)

    def _refuse_unreadable(self, error: httptools.HttpParserError) -> None:
        """Refuse malformed input, or a request that a parser callback refused."""
        if self._input_ended:
            self._ignored_input = True
        elif isinstance(error.__context__, MemoryError):
            self._refuse(problem_of(error.__context__))
        elif self._wait.phase is Phase.HEAD and self._refusal is request_head.UNREADABLE:
            self._refuse(request_head.problem_of_version(self.parser.get_http_version()) or self._refusal)
        else:
            self._refuse(self._refusal)

    def _refuse(self, problem: Problem) -> None:
        """Refuse the current request after the responses to earlier requests, and close."""
        self._input_ended = True
        if self._wait.phase is Phase.DRAINING:
            self.transport.close()  # already answered
            return
        pipelined = self._is_answering()
        if self._wait.phase is Phase.BODY:
            # The application already has the request, or it is in the pipeline.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            pipelined = bool(self.pipeline)
            if pipelined:
                self._waiting.pipelined -= 1
                self.pipeline.popleft()
            elif self.cycle.response_started:
                self.transport.close()
                return
        if pipelined:
            self._wait.begin(Phase.PROCESSING, self.loop.time(), NEVER)
            self._deferred = problem
        else:
            self._answer_and_close(problem)

    def _shed(
        self, admission: AdmissionController, reason: ShedReason, head: request_head.RequestHead
    ) -> None:
        """Answer a shed post without a task, discard its body, and delay the next request."""
        # A client that sent `Expect` may send the body or the next request: the next bytes are ambiguous.
        last = self._waiting.shutdown_begun or not self.parser.should_keep_alive() or self.expect_100_continue
        last = last or head.length is None  # as in `on_headers_complete`
        default, wait_s = self.server_state.default_headers, admission.retry_after(reason)
        self.transport.write(shed_response(reason, wait_s, head.headers, default, last=last))
        if self.expect_100_continue:
            self._linger()
            return
        self._drain(last=last)
        if not last:
            self.flow.pause_reading()
            self.loop.call_later(REFUSAL_DELAY_S, self.flow.resume_reading)

    def _begin_head(self) -> None:
        self._head_bytes = self._head_bytes if self._wait.phase is Phase.HEAD else 0
        self._parsed_head_bytes = 0
        self._wait.begin(Phase.HEAD, self.loop.time(), NEVER if self._is_answering() else self._limits.head_s)

    def _refuse_large_head(self) -> NoReturn:
        """Refuse a head by its parsed bytes. The last received segment may also hold a part of the body."""
        self._closed("head_bytes")
        self._refusal = Problem(ErrorCode.HEAD_TOO_LARGE)
        raise ValueError("head too large")  # stops the parser

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_next(self) -> None:
        self._wait.begin(Phase.NEXT, self.loop.time(), self.timeout_keep_alive)
        self._waiting.idle(self)

    def _close_overdue(self, overdue: Phase) -> None:
        answering = self._is_answering()
        in_body = overdue is Phase.BODY and answering and not self.cycle.response_started
        in_head = overdue is Phase.HEAD and self._head_bytes and not answering
        if in_body or in_head:
            self._refuse(Problem(ErrorCode.TOO_SLOW))
        elif answering or overdue is Phase.READING:
            self.transport.abort()
        else:
            self.transport.close()

    def _close_after_answer(self) -> None:
        """Close after the last response. If input may follow, discard it first."""
        if self._eof or not self.cycle.response_complete:
            self.transport.close()
        elif self._wait.phase is Phase.BODY:
            self._drain(last=True)
        elif self._ignored_input or self._wait.phase is Phase.HEAD:
            self._linger()
        else:
            self.transport.close()

    def _drain(self, *, last: bool) -> None:
        """Discard the rest of the body of an answered request, so that its client can read the response."""
        self._close_after_drain = last
        if self.cycle is not None:
            self.cycle.body = bytearray()
        self._discard_input(Phase.DRAINING, last=last)

    def _linger(self) -> None:
        """Stop sending and discard input. Unread input would reset the connection and lose the response."""
        self._input_ended = True
        self._discard_input(Phase.LINGERING, last=True)

    def _discard_input(self, phase: Phase, *, last: bool) -> None:
        self._wait.begin(phase, self.loop.time(), self._limits.drain_s)
        if last and self.transport.can_write_eof():
            self.transport.write_eof()
        self._waiting.idle(self)
        self.flow.resume_reading()

    def _answer_and_close(self, problem: Problem) -> None:
        """Send an error response and close, after the client had time to read the response."""
        if self.transport.is_closing():
            return
        to_head = bool(self.url) and self.parser.get_method() == b"HEAD"  # no URL: no method yet
        self.transport.write(last_response(problem, self.server_state.default_headers, to_head=to_head))
        (self.transport.close if self._eof else self._linger)()

    def _close_idle(self) -> None:
        in_head = self._wait.phase is Phase.HEAD and self._head_bytes
        if not in_head and self._wait.phase not in (Phase.BODY, Phase.PROCESSING):
            self.transport.close()
