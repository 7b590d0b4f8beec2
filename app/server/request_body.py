"""The body of a request on its way in: capped, charged to the request's ticket, and behind the turnstile."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from app.admin.refusals import ErrorCode, Refusal
from app.server.admission import AdmissionController, Permit
from app.server.loop_limiter import LoopLimiter

MIB: Final = 1024 * 1024
PATH: Final = "/events"  # where posts of events go
_PATH: Final = PATH.encode()
_PATH_AND_QUERY: Final = _PATH + b"?"
BODY_CAP: Final = MIB
# Where more is taken than of an administrative body.
LARGER_BODIES: Final[Mapping[str, int]] = {PATH: 5 * MIB}


def max_body_bytes(path: str) -> int:
    """Return the longest body that an address takes, in bytes."""
    return LARGER_BODIES.get(path, BODY_CAP)


def posts_events(method: bytes, target: bytes) -> bool:
    """Tell whether a request line posts events, in the usual spelling of the address."""
    return method == b"POST" and (target == _PATH or target.startswith(_PATH_AND_QUERY))


class RequestBodyReader:
    """Brings the messages of one body. `told` is its length as told beforehand, None where it was not.

    Both ways of bringing raise Refusal for a body that is larger than `cap` or outgrows the room there is.
    """

    __slots__ = ("_cap", "_gauges", "_receive", "_seen", "_ticket", "_told", "_turnstile")

    def __init__(
        self,
        receive: Receive,
        *,
        cap: int,
        told: int | None,
        ticket: Permit | None,
        gauges: AdmissionController,
        turnstile: LoopLimiter,
    ) -> None:
        self._receive = receive
        self._cap, self._told, self._seen = cap, told, 0
        self._ticket, self._gauges, self._turnstile = ticket, gauges, turnstile

    async def receive(self) -> Message:
        """Return the next message, as ASGI has it."""
        if (self._told or 0) > self._cap:
            raise Refusal(ErrorCode.TOO_LARGE)
        message = await self._receive()
        body = message.get("body", b"")
        self._seen += len(body)
        if self._seen > self._cap:
            raise Refusal(ErrorCode.TOO_LARGE)
        if self._ticket is not None and self._ticket.read_at is None:
            complete = message["type"] == "http.request" and not message.get("more_body", False)
            await self._charge(self._ticket, body, complete=complete)
        return message

    async def whole(self) -> bytes:
        """Return the whole body. Raises ClientDisconnect when the caller hangs up before its end."""
        chunks = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _charge(self, ticket: Permit, body: bytes, *, complete: bool) -> None:
        problem = self._gauges.read(ticket, body, complete=complete)
        if problem is None and complete and ticket.is_post:
            # Behind this the post is read and judged: that is where its time goes.
            await self._turnstile.pass_through(ticket.cost)
            problem = self._gauges.grown(ticket)
        if problem is not None:
            raise Refusal.of(problem)
