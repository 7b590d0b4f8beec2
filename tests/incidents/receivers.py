"""Receivers of notifications on real sockets: they take messages, hang, refuse, redirect or drip."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

SECRET_BYTES = b"a-secret-of-thirty-two-bytes-ok!"
SECRET = "whsec_" + base64.b64encode(SECRET_BYTES).decode()


@dataclass
class WebhookReceiver:
    """Takes messages and verifies their signatures; `mode` is how it answers."""

    mode: str = "ok"
    port: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    requests: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/secret-path"

    def of_type(self, name: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == f"incident.{name}"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[1:]
                headers = {
                    line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines if line
                }
                body = await reader.readexactly(int(headers["content-length"]))
                self.requests += 1
                await self._answer(headers, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        match self.mode:
            case "hang":
                await writer.wait_closed()
            case "drip":
                for byte in b"HTTP/1.1 200 OK\r\n" + b"x-slow: y\r\n" * 200:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.5)
            case "refuse":
                writer.write(b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n")
            case "redirect":
                writer.write(
                    f"HTTP/1.1 302 Found\r\nlocation: {self.url}\r\ncontent-length: 0\r\n\r\n".encode()
                )
            case _:
                verify(headers, body)
                self.messages.append(json.loads(body))
                self.ids.append(headers["webhook-id"])
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()


def verify(headers: dict[str, str], body: bytes) -> None:
    """Fail unless the Standard Webhooks signature is right."""
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
    wanted = base64.b64encode(hmac.digest(SECRET_BYTES, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"


@asynccontextmanager
async def webhook_receiver(mode: str = "ok") -> AsyncIterator[WebhookReceiver]:
    """Listen on a free port during the block."""
    receiver = WebhookReceiver(mode)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
