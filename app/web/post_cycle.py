"""A plain post of events between its connection and its answer, past everything that ASGI wants said."""

from asyncio import Event, Transport
from collections.abc import Callable
from typing import Any, Final, cast

from starlette.types import Receive
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from app.web.envelope import FIXED_HEADERS
from app.web.headers import RawHeaders
from app.web.posting import Posting, Reply
from app.web.pressure import Ticket

# The headers that every answer has, and the line that ends a head.
_FIXED_LINES: Final = b"".join(name + b": " + value + b"\r\n" for name, value in FIXED_HEADERS) + b"\r\n"


class PostCycle(RequestResponseCycle):
    """A plain post on its way. Its body is brought in one piece, its answer leaves in one write.

    The server would wake the request for each chunk that comes and copy what came thrice. The room for the
    body is charged before (`Gauges.let_in`), so that nothing is gained by reading it in steps.
    """

    def __init__(
        self,
        headers: RawHeaders,
        told: int | None,
        ticket: Ticket,
        *,
        transport: Transport,
        flow: FlowControl,
        default_headers: list[tuple[bytes, bytes]],
        keep_alive: bool,
        on_response: Callable[[], None],
    ) -> None:
        # Not the server's own way: this is what its protocol looks at in a cycle, and no more.
        self.transport, self.flow, self.default_headers = transport, flow, default_headers
        self.keep_alive, self.on_response = keep_alive, on_response
        self.message_event, self.more_body, self.disconnected = Event(), True, False
        self.response_started = self.response_complete = False
        self._headers, self._told, self._ticket = headers, told, ticket
        self._chunks: list[bytes] = []

    def take(self, chunk: bytes) -> None:
        """Keep a chunk of the body; after the answer, of one that was refused unread, none is kept."""
        if not self.response_complete:
            self._chunks.append(chunk)

    async def receive(self) -> Any:
        """Return the whole body as one message, or that its caller is gone."""
        while self.more_body and not self.disconnected:
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        chunks, self._chunks = self._chunks, []
        return {"type": "http.request", "body": b"".join(chunks), "more_body": False}

    async def run_asgi(self, app: Posting) -> None:  # type: ignore[override]
        """Answer the post; with nothing where its caller hung up, or was told already to go."""
        try:
            receive = cast(Receive, self.receive)
            reply = await app.answer_let_in(self._headers, receive, self._told, self._ticket)
            if self.flow.write_paused and not self.disconnected:
                await self.flow.drain()
        except BaseException:  # cancelled: the process leaves, and has waited for long enough
            self.transport.close()
            raise
        if reply is not None and not self.disconnected:
            self._write(reply)

    def _write(self, reply: Reply) -> None:
        self.response_started = self.response_complete = True
        lines = [STATUS_LINE[reply.status]]
        lines += [b"%b: %b\r\n" % header for header in self.default_headers]
        lines += [b"%b: %b\r\n" % header for header in reply.headers]
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines += (_FIXED_LINES, reply.body)
        self.transport.write(b"".join(lines))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
