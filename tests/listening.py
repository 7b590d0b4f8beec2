"""HTTP servers on real sockets, each with a script that may misbehave."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

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
