"""Amazon for rehearsals: behind httpx's transport, outliving every life of the service, and its record."""

import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace

import httpx

from tests.crashes.evidence import Request, members_of


@dataclass(frozen=True, slots=True)
class Reply:
    """What the stand-in does: which places it takes, what it says, and whether that says it all."""

    taken: frozenset[int]
    says: httpx.Response | Exception
    clear: bool


Script = Callable[[Request], Reply | Awaitable[Reply]]


def take(request: Request, *, but: Collection[int] = (), code: str = "INTERNAL_ERROR") -> Reply:
    """Take all events but those at some places, and say so."""
    places = range(len(request.ids))
    error = [{"index": n, "errors": [{"code": code, "message": "not now"}]} for n in places if n in but]
    success = [{"index": n, "event": None} for n in places if n not in but]
    body = {"success": success, "error": error}
    headers = {"Amazon-Advertising-API-RequestId": f"standin-{request.number}"}
    return Reply(frozenset(places).difference(but), httpx.Response(207, json=body, headers=headers), True)


def take_and_hang_up(request: Request) -> Reply:
    """Take everything and say nothing."""
    return Reply(frozenset(range(len(request.ids))), httpx.ReadError("connection reset"), False)


def refuse(status: int, *, retry_after: int | None = None) -> Callable[[Request], Reply]:
    """Take nothing, and answer with this status."""

    def script(request: Request) -> Reply:
        headers = {"Amazon-Advertising-API-RequestId": f"standin-{request.number}"}
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        return Reply(frozenset(), httpx.Response(status, json={"code": "X"}, headers=headers), True)

    return script


def say_nothing_of(request: Request) -> Reply:
    """Take nothing, and answer 207 with an empty object."""
    return Reply(frozenset(), httpx.Response(207, json={}), False)


@dataclass
class StandIn:
    """Answers by `script`, and gives a token to every client. `requests` is the record that the judge reads.

    Windows after a 429 are not noted: in a rehearsal the clock that they are measured by is a number.
    """

    script: Script = take
    requests: list[Request] = field(default_factory=list)
    tokens: int = 0
    received: int = 0

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    async def _answer(self, incoming: httpx.Request) -> httpx.Response:
        body = await incoming.aread()
        if incoming.url.path.endswith("/auth/o2/token"):
            self.tokens += 1
            token = {"access_token": f"Atza|{self.tokens}", "token_type": "bearer", "expires_in": 3600}
            return httpx.Response(200, json=token)
        ids, hashes = members_of(body)
        self.received += 1
        moment = time.time()
        request = Request(
            number=self.received,
            advertiser=incoming.headers["Amazon-Ads-AccountId"],
            began=moment,
            ended=moment,
            ids=ids,
            hashes=hashes,
            taken=tuple(False for _ in ids),
        )
        reply = self.script(request)
        if not isinstance(reply, Reply):
            reply = await reply
        self.requests.append(
            replace(
                request,
                ended=time.time(),
                status=reply.says.status_code if isinstance(reply.says, httpx.Response) else None,
                clear=reply.clear,
                taken=tuple(place in reply.taken for place in range(len(ids))),
            )
        )
        if isinstance(reply.says, Exception):
            raise reply.says
        return reply.says
