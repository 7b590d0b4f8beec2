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

from tests.listening import Heard, listening

SECRET_BYTES = b"a-secret-of-thirty-two-bytes-ok!"
SECRET = "whsec_" + base64.b64encode(SECRET_BYTES).decode()


@dataclass
class WebhookReceiver:
    """Takes messages and verifies their signatures; `mode` is how it answers."""

    mode: str = "ok"
    url: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    requests: int = 0

    def of_type(self, name: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == f"incident.{name}"]

    async def answer(self, heard: Heard, writer: asyncio.StreamWriter) -> None:
        self.requests += 1
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
                verify(heard.headers, heard.body)
                self.messages.append(json.loads(heard.body))
                self.ids.append(heard.headers["webhook-id"])
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
    async with listening(receiver.answer) as listener:
        receiver.url = f"{listener.url}/secret-path"
        yield receiver
