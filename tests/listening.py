"""HTTP servers on real sockets: with a script that may misbehave, of the product, and in a thread."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import uvicorn

from app.server.server import Server

Script = Callable[["Heard", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Heard:
    """One request as it came over the wire, and the stream it came by."""

    head: str
    body: bytes
    reader: asyncio.StreamReader

    @property
    def headers(self) -> dict[str, str]:
        """Return the header fields by their names in lower case."""
        pairs = (line.partition(":") for line in self.head.split("\r\n")[1:] if line)
        return {name.lower(): value.strip() for name, _, value in pairs}


@dataclass
class Listener:
    """A server that answers every request with `script`, and what it saw."""

    script: Script
    url: str = ""
    connections: int = 0
    heard: list[Heard] = field(default_factory=list)
    request_arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                request = Heard(head, b"", reader)
                request.body = await reader.readexactly(int(request.headers.get("content-length", "0")))
                self.heard.append(request)
                self.request_arrived.set()
                await self.script(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()


def says(content: bytes, *, and_closes: bool = False) -> Script:
    """Return the script of a server that writes these bytes, whatever it is asked."""

    async def script(_: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        if and_closes:
            writer.close()

    return script


@asynccontextmanager
async def listening(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    """Serve `script` on a free port of this machine."""
    listener = Listener(script)
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(listener.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    scheme = "https" if tls else "http"
    listener.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield listener
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


Listen = Callable[..., Awaitable[Listener]]


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Start listeners that end with the test."""
    async with AsyncExitStack() as stack:

        async def start(script: Script, tls: ssl.SSLContext | None = None) -> Listener:
            return await stack.enter_async_context(listening(script, tls))

        yield start


def content_of(body: bytes, status: str = "207 Multi-Status", *headers: str) -> bytes:
    """Return a complete answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[int]:
    """Run the server of a process in this event loop; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0)
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            await asyncio.wait_for(task, 20)


@contextmanager
def serving_in_a_thread(config: uvicorn.Config) -> Iterator[str]:
    """Run an application with an event loop of its own; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Connections inherit it: head and body are two writes, and the second would wait 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            assert not thread.is_alive()


class SilentHandler(BaseHTTPRequestHandler):
    """Prints no line about a request."""

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def handling(handler: type[SilentHandler]) -> Iterator[ThreadingHTTPServer]:
    """Serve a handler in threads."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
