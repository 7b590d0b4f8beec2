"""Read request bodies up to the size cap, and charge them to admission control."""

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from app.admin.refusals import ErrorCode, Refusal
from app.server.admission import AdmissionController, Permit


class RequestBodyReader:
    """Reads one request body. `declared_length` is None if the body is chunked.

    Reading raises Refusal for a body over `cap` or over a limit of admission control.
    """

    __slots__ = ("_admission", "_cap", "_declared_length", "_permit", "_receive", "_size")

    def __init__(
        self,
        receive: Receive,
        cap: int,
        declared_length: int | None,
        permit: Permit | None,
        admission: AdmissionController,
    ) -> None:
        self._receive = receive
        self._cap, self._declared_length, self._size = cap, declared_length, 0
        self._permit, self._admission = permit, admission

    async def receive(self) -> Message:
        """Return the next ASGI message."""
        if (self._declared_length or 0) > self._cap:
            raise Refusal(ErrorCode.TOO_LARGE)
        message = await self._receive()
        body = message.get("body", b"")
        self._size += len(body)
        if self._size > self._cap:
            raise Refusal(ErrorCode.TOO_LARGE)
        if self._permit is not None and self._permit.read_at is None:
            complete = message["type"] == "http.request" and not message.get("more_body", False)
            problem = self._admission.record_read(self._permit, body, complete=complete)
            if problem is not None:
                raise Refusal.of(problem)
        return message

    async def read(self) -> bytes:
        """Return the body. Raises ClientDisconnect if the client closes before the body's end."""
        chunks = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
