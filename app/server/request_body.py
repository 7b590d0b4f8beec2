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

    __slots__ = ("_admission", "_cap", "_loop_limiter", "_permit", "_receive", "_seen", "_told")

    def __init__(
        self,
        receive: Receive,
        *,
        cap: int,
        told: int | None,
        permit: Permit | None,
        admission: AdmissionController,
        loop_limiter: LoopLimiter,
    ) -> None:
        self._receive = receive
        self._cap, self._told, self._seen = cap, told, 0
        self._permit, self._admission, self._loop_limiter = permit, admission, loop_limiter

    async def receive(self) -> Message:
        """Return the next message, as ASGI has it."""
        if (self._told or 0) > self._cap:
            raise Refusal(ErrorCode.TOO_LARGE)
        message = await self._receive()
        body = message.get("body", b"")
        self._seen += len(body)
        if self._seen > self._cap:
            raise Refusal(ErrorCode.TOO_LARGE)
        if self._permit is not None and self._permit.read_at is None:
            complete = message["type"] == "http.request" and not message.get("more_body", False)
            await self._charge(self._permit, body, complete=complete)
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

    async def _charge(self, permit: Permit, body: bytes, *, complete: bool) -> None:
        problem = self._admission.read(permit, body, complete=complete)
        if problem is None and complete and permit.is_post:
            # Behind this the post is read and judged: that is where its time goes.
            await self._loop_limiter.acquire(permit.cost)
            problem = self._admission.grown(permit)
        if problem is not None:
            raise Refusal.of(problem)
