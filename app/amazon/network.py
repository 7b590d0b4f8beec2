"""Network sockets for httpcore's connection pool, based on asyncio streams.

httpcore's own backend uses anyio, which needs several times the CPU for each request (ADR 0022). Reads and
writes ignore their timeouts, because each call has one deadline (ADR 0010).
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore

_END_OF_HEAD = b"\r\n\r\n"


class _Reader(asyncio.StreamReader):
    """A stream reader that counts the bytes that were received but not read yet."""

    unread = 0

    def feed_data(self, data: Any) -> None:
        self.unread += len(data)
        super().feed_data(data)

    async def read(self, n: int = -1) -> bytes:
        data = await super().read(n)
        self.unread -= len(data)
        return data


class AsyncioStream(httpcore.AsyncNetworkStream):
    """A network connection."""

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        # Keep the head of a request here, so that it is sent together with the start of the body.
        self._head = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Return 1 to `max_bytes` bytes as soon as any arrive. Return b"" at the end of the stream."""
        with _mapped(httpcore.ReadError, httpcore.ReadTimeout):
            if self._head:  # the request has no body
                await self._send(b"")
            return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Write all bytes. The head of a request is sent with the next write, or before the next read."""
        with _mapped(httpcore.WriteError, httpcore.WriteTimeout):
            if not self._head and buffer.endswith(_END_OF_HEAD):
                self._head = buffer
            elif buffer or self._head:
                await self._send(buffer)

    async def _send(self, buffer: bytes) -> None:
        head, self._head = self._head, b""
        self._writer.writelines((head, buffer))
        await self._writer.drain()

    async def aclose(self) -> None:
        """Close the connection immediately."""
        self._writer.transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        """Encrypt the connection."""
        with _mapped(httpcore.ConnectError, httpcore.ConnectTimeout):
            async with asyncio.timeout(timeout):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return a property of the connection.

        The pool closes an idle connection if `is_readable` is true.
        """
        if info == "is_readable":
            return self._reader.unread > 0 or self._reader.at_eof() or self._writer.is_closing()
        return self._writer.get_extra_info(info)


class AsyncioBackend(httpcore.AsyncNetworkBackend):
    """Opens connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host that accepts.

        Each address gets an equal share of the timeout.
        """
        loop = asyncio.get_running_loop()
        failed: OSError = OSError("the host has no address")
        with _mapped(httpcore.ConnectError, httpcore.ConnectTimeout):
            async with asyncio.timeout(timeout):
                addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                share = None if timeout is None else timeout / max(1, len(addresses))
                for family, _, _, _, address in addresses:
                    reader = _Reader()
                    protocol = asyncio.StreamReaderProtocol(reader)
                    try:
                        async with asyncio.timeout(share):
                            transport, _ = await loop.create_connection(
                                lambda protocol=protocol: protocol,
                                str(address[0]),
                                port,
                                family=family,
                            )
                        return AsyncioStream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
                    except OSError as error:  # includes TimeoutError
                        failed = error
                raise failed


@contextmanager
def _mapped(failed: type[Exception], timed_out: type[Exception]) -> Iterator[None]:
    """Convert asyncio's exceptions to exceptions of httpcore."""
    try:
        yield
    except TimeoutError as error:
        raise timed_out("not in time") from error
    except OSError as error:  # includes a wrong certificate
        raise failed(type(error).__name__) from error
