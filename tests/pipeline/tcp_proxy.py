"""A TCP proxy that misbehaves on request: between the service and Postgres, and between it and Amazon.

It passes bytes on, slowly, in drips, or not at all; resets connections; and cuts one exactly when a chosen
message passes, so that the answer to a COMMIT is lost though the COMMIT was done.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Container
from dataclasses import dataclass

COMMIT_ANSWER = b"C\x00\x00\x00\x0bCOMMIT\x00"  # CommandComplete, as the server frames it
COMMIT_ASKED = b"COMMIT;\x00"  # the driver's simple query
INSERT_ANSWER = b"INSERT 0 1\x00"
_CHUNK = 65_536


@dataclass(slots=True)
class Cut:
    """Cut a connection at an `occurrence` of `message`, before the message is passed on."""

    message: bytes
    towards_client: bool
    occurrence: int = 1


class Proxy:
    """Listens on a port of its own and speaks to `target`. Change its attributes at any time."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[bool]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._lines: dict[asyncio.StreamWriter | None, asyncio.Event] = {}
        self._clients: dict[asyncio.StreamWriter | None, int] = {}  # the port of the client of each line
        self.port = 0
        self.latency = 0.0  # seconds each way
        self.drip: int | None = None  # bytes a second each way
        self.cuts: list[Cut] = []

    def address(self, direct: str) -> str:
        """Return the address by which a client of the target comes through here."""
        return direct.replace(f":{self._target}/", f":{self.port}/")

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> None:
        """Abort every open connection: both ends see a reset."""
        for writer in list(self._open):
            _sever(writer)

    def stall(self) -> None:
        """Half-open: connections stay, and nothing passes any more."""
        self._flowing.clear()

    def stall_one(self, port: int) -> bool:
        """Leave one connection half-open, known by the port from which it goes on to the target."""
        for there, flowing in self._lines.items():
            address = there.get_extra_info("sockname")
            if address is not None and address[1] == port:
                flowing.clear()
                return True
        return False

    def stall_open(self, clients: Container[int] | None = None) -> None:
        """Leave the open connections half-open, or those from these ports; new connections pass."""
        for there, flowing in self._lines.items():
            if clients is None or self._clients[there] in clients:
                flowing.clear()

    def heal(self) -> None:
        """Pass on everything again. What was held back is lost with its connection, as in a real outage."""
        if not self._flowing.is_set():
            self.reset()
        self._flowing.set()
        for there, flowing in list(self._lines.items()):
            if not flowing.is_set():
                _sever(there)
                flowing.set()
        self.latency, self.drip, self.cuts = 0.0, None, []

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            from_there, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._open.add(there)
            self._lines[there] = flowing = asyncio.Event()
            self._clients[there] = writer.get_extra_info("peername")[1]
            flowing.set()
            ways = [
                asyncio.create_task(self._pass(reader, there, flowing, towards_client=False)),
                asyncio.create_task(self._pass(from_there, writer, flowing, towards_client=True)),
            ]
            self._tasks.update(ways)
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if any(way.done() and not way.cancelled() and way.result() for way in ways):
                _sever(writer)
                _sever(there)
            for way in ways:
                way.cancel()
                self._tasks.discard(way)
            await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            self._lines.pop(there, None)
            self._clients.pop(there, None)
            for end in (writer, there):
                if end is not None:
                    self._open.discard(end)
                    end.close()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flowing: asyncio.Event,
        *,
        towards_client: bool,
    ) -> bool:
        """Pass bytes on until one side ends; True when a cut ended it."""
        tail = b""
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._flowing.wait()
                await flowing.wait()
                if self.latency:
                    await asyncio.sleep(self.latency)
                if writer.transport.is_closing():
                    return False
                if self._cuts_at(tail + chunk, len(tail), towards_client=towards_client):
                    return True
                tail = chunk[-32:]
                await self._write(writer, chunk)
        return False

    async def _write(self, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        while self.drip is not None and chunk:
            step = max(1, self.drip // 20)
            writer.write(chunk[:step])
            await writer.drain()
            chunk = chunk[step:]
            await asyncio.sleep(0.05)
        writer.write(chunk)
        await writer.drain()

    def _cuts_at(self, seen: bytes, old: int, *, towards_client: bool) -> bool:
        """Count a message that ends in the new bytes; True when a cut was waiting for it."""
        for cut in list(self.cuts):
            if cut.towards_client is not towards_client:
                continue
            start = max(0, old - len(cut.message) + 1)
            while (at := seen.find(cut.message, start)) >= 0:
                start = at + 1
                cut.occurrence -= 1
                if cut.occurrence <= 0:
                    self.cuts.remove(cut)
                    return True
        return False


def _sever(writer: asyncio.StreamWriter) -> None:
    """Reset a connection: bytes in transit are lost, and the other end gets an error."""
    held = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
