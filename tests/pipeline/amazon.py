"""Amazon as the pipeline's tests see it: a handler behind httpx's transport, with a log that judges."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

Answer = httpx.Response | Exception
Script = Callable[["Request"], Answer | Awaitable[Answer] | None]


@dataclass(frozen=True)
class Request:
    """One request for the events call, its events sliced as sent."""

    advertiser_id: str
    token: str
    events: Sequence[dict]
    body: bytes
    number: int

    @property
    def ids(self) -> list[str]:
        return [event["eventId"] for event in self.events]


@dataclass
class Hanging:
    """A script that answers when it is released."""

    answer: Answer | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: Request) -> Any:
        self.entered.set()
        await self.release.wait()
        return self.answer


def items(*codes: str | None, message: str = "no") -> httpx.Response:
    """Return a 207 that refuses the events with a code and accepts the others."""
    error = [
        {"index": n, "errors": [{"code": code, "message": message}]} for n, code in enumerate(codes) if code
    ]
    success = [{"index": n, "event": None} for n, code in enumerate(codes) if not code]
    return httpx.Response(207, json={"success": success, "error": error})


def refuse_odd(request: Request) -> httpx.Response:
    """Refuse the events with an odd number."""
    numbers = [int(one.rpartition("-")[2]) for one in request.ids]
    return items(*("FIELD_VALUE_IS_INVALID" if number % 2 else None for number in numbers))


@dataclass
class FakeAmazon:
    """Takes everything unless `script` answers otherwise; `script` may raise httpx errors."""

    script: Script | None = None
    requests: list[Request] = field(default_factory=list)
    accepted: dict[str, set[str]] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    token_answer: Callable[[dict[str, str]], httpx.Response] | None = None
    token_server: asyncio.Event | None = None  # where there is one: it answers once this is set
    unanswered: int = 0  # requests whose answer the script or the token server still owes
    on_unanswered: Callable[[], None] = lambda: None

    def client(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._handle)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        if request.url.path.endswith("/auth/o2/token"):
            if self.token_server is not None:
                await self._owed(self.token_server.wait())
            return self._token(body)
        assert request.url.path.endswith("/adsApi/v1/create/events"), request.url.path
        parsed = Request(
            advertiser_id=request.headers["Amazon-Ads-AccountId"],
            token=request.headers["Authorization"].removeprefix("Bearer "),
            events=json.loads(body)["events"],
            body=body,
            number=len(self.requests),
        )
        self.requests.append(parsed)
        answer = self.script(parsed) if self.script else None
        if asyncio.iscoroutine(answer):
            answer = await self._owed(answer)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        return self.take(parsed)

    async def _owed(self, answer: Awaitable[Any]) -> Any:
        self.unanswered += 1
        self.on_unanswered()
        try:
            return await answer
        finally:
            self.unanswered -= 1

    def _token(self, body: bytes) -> httpx.Response:
        form = dict(pair.split("=", 1) for pair in body.decode().split("&"))
        if self.token_answer:
            return self.token_answer(form)
        token = f"Atza|fresh-{len(self.tokens)}"
        self.tokens.append(token)
        tokens = {"access_token": token, "refresh_token": "Atzr|1", "token_type": "bearer"}
        return httpx.Response(200, json={**tokens, "expires_in": 3600})

    def take(self, request: Request, *, but: Sequence[int] = ()) -> httpx.Response:
        """Accept all but some, and answer 207 for those accepted."""
        success = []
        for index, event in enumerate(request.events):
            if index in but:
                continue
            text = json.dumps(event, sort_keys=True)
            self.accepted.setdefault(event["eventId"], set()).add(hashlib.sha256(text.encode()).hexdigest())
            self.times[event["eventId"]] = self.times.get(event["eventId"], 0) + 1
            success.append({"index": index, "event": None})
        return httpx.Response(207, json={"success": success, "error": []})
