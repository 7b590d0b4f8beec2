"""Send a complete response in one write: a single system call, and a single wake-up of the client.

ASGI sends head and body separately, and uvicorn checks each header. The endpoint of `POST /events` avoids
both costs.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from app.api.headers import RawHeaders

# Key of the request's `Respond` in the ASGI scope's state. The endpoint removes it, because `Respond` refers
# to the scope and this reference cycle would delay the release of memory.
RESPOND: Final = "respond"

# Sends a complete response: its status, headers and body.
Respond: TypeAlias = Callable[[int, RawHeaders, bytes], Awaitable[None]]


async def respond(cycle: RequestResponseCycle, status: int, headers: RawHeaders, body: bytes) -> None:
    """Send a complete response to the request of `cycle`, unless its client disconnected.

    The caller passes valid `headers` with the length of the body. This function does not check them.
    """
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    parts = [STATUS_LINE[status]]
    for name, value in (*cycle.default_headers, *headers):
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", body)
    cycle.response_started = cycle.response_complete = True
    cycle.transport.write(b"".join(parts))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
