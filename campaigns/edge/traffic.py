"""Callers and attackers at once, seeded; every response is held to the request that it came for.

A caller knows what each of its requests must bring: the status, the request's own id, and contents that no
other response has (its events, its one destination). An attacker holds no key. What a caller was answered is
reconciled with what is stored at the end.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.edge.cases import CASES, EVENT, ID_LENGTH, Case, chunks, head
from tests.edge.service import Caller, EdgeService
from tests.edge.wire import Response, take_response
from tests.pipeline.processes import ADMIN

PATIENCE_S = 20.0
ATTACKER_PATIENCE_S = 0.3
SHED = frozenset({429, 503})
NO_KEY = "no-key-that-anybody-has-0123456789ab"


@dataclass
class Ledger:
    """What was sent and what came of it."""

    sent: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)  # of the callers' events
    hostile: Counter[str] = field(default_factory=Counter)
    hostile_statuses: Counter[str] = field(default_factory=Counter)
    accepted: dict[str, set[str]] = field(default_factory=dict)  # by destination
    unanswered: dict[str, set[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return sum(self.sent.values()) + sum(self.hostile.values())

    def object(self, sentence: str) -> None:
        self.problems.append(sentence[:400])


class Channel:
    """A connection that is opened when it is needed, and asks one thing at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._buffer = b""

    async def ask(self, *parts: bytes, is_head: bool = False) -> Response | None:
        """Send a request and return its response; None where the connection ended without one."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        try:
            for part in parts:
                writer.write(part)
                if len(parts) > 1:
                    await asyncio.sleep(0)
            response = await asyncio.wait_for(self._response(reader, is_head), PATIENCE_S)
        except (ConnectionError, TimeoutError):
            self.close()
            return None
        if response is None or response.headers.get("connection", "").lower() == "close":
            self.close()
        return response

    async def _response(self, reader: asyncio.StreamReader, is_head: bool) -> Response | None:
        ended = False
        while True:
            taken = take_response(self._buffer, head=is_head, at_end=ended)
            if taken is not None:
                response, self._buffer = taken
                if response.status >= 200:
                    return response
                continue
            if ended:
                return None
            more = await reader.read(65_536)
            self._buffer += more
            ended = not more

    @property
    def surplus(self) -> bytes:
        return self._buffer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._streams, self._buffer = None, b""


JSON = "Content-Type: application/json"


# What a client may send through a proxy. Proxies answer or change the other requests of the table themselves.
_LEGAL_NAMES = {
    *("length", "one chunk", "two chunks", "chunks of one byte", "chunk extensions", "an empty field"),
    *("field names in lower case", "ids in the query", "a body that names a protocol", "close"),
    *("expects 100", "expects 100, chunked", "liveness", "HEAD", "no such path"),
    *(
        f"{offer}: {request}"
        for offer in ("h2c", "websocket", "an unknown protocol")
        for request in ("events", "events, chunked", "events without a key", "liveness")
    ),
    *("no key, with a body", "two keys", "no JSON", "no body"),
}
LEGAL = [case for case in CASES if case.name in _LEGAL_NAMES]
_numbers = itertools.count()


class CallerAtWork:
    """One caller: sends legal requests and holds each response to what it asked."""

    def __init__(self, caller: Caller, port: int, seed: int, ledger: Ledger) -> None:
        self._caller, self._ledger, self._port = caller, ledger, port
        self._random = random.Random(f"{seed}-caller-{caller.number}")
        self._channel = Channel(port)
        self._mine: list[str] = []
        self._visible = {caller.destination}
        self._accepted = ledger.accepted.setdefault(caller.destination, set())
        self._unanswered = ledger.unanswered.setdefault(caller.destination, set())
        self._kinds: list[tuple[int, Callable[[str], Any]]] = [
            (85, self._from_the_table),
            (8, self._destinations),
            (6, self._trace),
            (1, self._hang_up),
        ]

    async def work(self, requests: int) -> None:
        weights = [weight for weight, _ in self._kinds]
        kinds = [kind for _, kind in self._kinds]
        for kind in self._random.choices(kinds, weights, k=requests):
            self._ledger.sent[kind.__name__.strip("_")] += 1
            await kind(f"t{next(_numbers):0{ID_LENGTH - 1}d}")
        self._channel.close()

    async def _ask(
        self, request_id: str, *parts: bytes, statuses: Collection[int], is_head: bool = False
    ) -> Response | None:
        """Ask, and hold status and request id to the request."""
        response = await self._channel.ask(*parts, is_head=is_head)
        if response is None:
            self._ledger.object(f"{request_id}: no response to {parts[0][:80]!r}")
            return None
        self._ledger.statuses[response.status] += 1
        if self._channel.surplus:
            self._ledger.object(f"{request_id}: bytes behind the response: {self._channel.surplus[:80]!r}")
            self._channel.close()
        if response.status not in statuses:
            self._ledger.object(
                f"{request_id}: {response.status} for {parts[0][:60]!r}: {response.body[:120]!r}"
            )
        elif response.request_id != request_id:
            self._ledger.object(f"{request_id}: the response of {response.request_id!r}")
        return response

    def _filled(self, case: Case, event_id: str) -> bytes:
        self._ledger.ids.add(event_id)
        return case.of(key=self._caller.key, destination=self._caller.destination, event_id=event_id)

    async def _from_the_table(self, event_id: str) -> None:
        """Send a request in one part or in two, and note what became of its event."""
        case = self._random.choice(LEGAL)
        request = self._filled(case, event_id)
        at = self._random.randrange(1, len(request))
        parts = [request] if self._random.random() < 0.5 else [request[:at], request[at:]]
        response = await self._ask(event_id, *parts, statuses=case.status | SHED, is_head=case.head)
        if response is None or response.status in (502, 504):
            self._unanswered.add(event_id)
        elif response.status == 202:
            answered = [result["event_id"] for result in response.json().get("results", ())]
            if answered != [event_id]:
                self._ledger.object(f"{event_id}: answered for the events {answered}")
            self._accepted.update(answered)
            self._mine.append(event_id)

    async def _get(self, request_id: str, target: str, *, status: int = 200) -> Response | None:
        """Return a response with status 200."""
        fields = ("Host: edge", f"X-Api-Key: {self._caller.key}", f"X-Request-Id: {request_id}")
        request = head(*fields, method="GET", target=target)
        response = await self._ask(request_id, request, statuses={status})
        return response if response is not None and response.status == 200 else None

    async def _destinations(self, request_id: str) -> None:
        response = await self._get(request_id, "/destinations?limit=200")
        if response is not None:
            shown = {item.get("id") for item in response.json().get("items", ())}
            if shown != self._visible:
                self._ledger.object(f"{request_id}: was shown the destinations {sorted(map(str, shown))}")

    async def _trace(self, request_id: str) -> None:
        one = self._random.choice(self._mine) if self._mine else "none"
        target = f"/events/{one}?destination_id={self._caller.destination}"
        response = await self._get(request_id, target, status=200 if self._mine else 404)
        if response is not None and response.json().get("event_id") != one:
            self._ledger.object(f"{request_id}: was shown another event than {one}")

    async def _hang_up(self, event_id: str) -> None:
        """Send a post, or a part of one, and do not wait for the response."""
        request = self._filled(LEGAL[0], event_id)
        self._channel.close()
        self._unanswered.add(event_id)
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(request[: self._random.choice((len(request), len(request) - 1, len(request) // 2))])
        await asyncio.sleep(0)
        writer.transport.abort()


class OperatorAtWork(CallerAtWork):
    """Somebody with every right: what a smuggled request would be made with."""

    def __init__(self, port: int, seed: int, ledger: Ledger, destinations: set[str]) -> None:
        super().__init__(Caller(999, "dst_none", ADMIN), port, seed, ledger)
        self._visible = destinations
        self._kinds = [(1, self._destinations), (1, self._catalog)]

    async def _catalog(self, request_id: str) -> None:
        response = await self._get(request_id, "/catalog")
        if response is not None and b"event_types" not in response.body:
            self._ledger.object(f"{request_id}: the catalogue was {response.body[:80]!r}")


def smuggling(kind: str, padding: int, destination: str) -> bytes:
    """Return the proof of concept: an offer to upgrade whose body ends in the beginning of another request.

    The next request on the same connection to the service would complete it, with its own credentials.
    """
    begun = {
        "keys": "GET /keys HTTP/1.1",
        "delete": f"DELETE /destinations/{destination}?discard=true HTTP/1.1",
        "live": "GET /health/live HTTP/1.1",
    }[kind]
    body = b"\r\n" * (padding // 2) + f"{begun}\r\nX-Ignore: ".encode()
    return (
        head("Host: edge", "Connection: upgrade", "Upgrade: websocket", JSON, f"Content-Length: {len(body)}")
        + body
    )


class Attacker:
    """Sends hostile requests without a key; nothing it does may be answered with anybody's data."""

    def __init__(self, number: int, port: int, seed: int, ledger: Ledger, callers: Sequence[Caller]) -> None:
        self._random = random.Random(f"{seed}-attacker-{number}")
        self._port, self._ledger, self._callers = port, ledger, callers
        self._name = f"a{number}s{seed}"

    async def work(self, requests: int) -> None:
        kinds = [(4, self._smuggle), (5, self._from_the_table), (1, self._broken), (1, self._trailing_key)]
        chosen = self._random.choices([k for _, k in kinds], [w for w, _ in kinds], k=requests)
        for count, kind in enumerate(chosen):
            request, name = kind(f"{self._name}-{count}")
            self._ledger.hostile[name] += 1
            await self._send(request)

    def _smuggle(self, _request_id: str) -> tuple[bytes, str]:
        victim = self._random.choice(self._callers)
        kind = self._random.choice(("keys", "delete", "live"))
        padding = int(10 ** self._random.uniform(0, 4.85))
        return smuggling(kind, padding, victim.destination), "smuggling"

    def _from_the_table(self, request_id: str) -> tuple[bytes, str]:
        case = self._random.choice([case for case in CASES if len(case.request) < 300_000])
        event_id = f"h{abs(hash(request_id)) % 10**9:09d}"
        victim = self._random.choice(self._callers)
        return case.of(key=NO_KEY, destination=victim.destination, event_id=event_id), "from the table"

    def _broken(self, request_id: str) -> tuple[bytes, str]:
        request, _ = self._from_the_table(request_id)
        changed = bytearray(request)
        for _ in range(self._random.randrange(1, 4)):
            changed[self._random.randrange(len(changed))] = self._random.choice(b"\r\n\0 :;,%/09aZ\xff")
        return bytes(changed), "broken"

    def _trailing_key(self, _request_id: str) -> tuple[bytes, str]:
        content = chunks(EVENT, trailers=[f"X-Api-Key: {NO_KEY}", "Content-Length: 3", "Connection: upgrade"])
        return head("Host: edge", JSON, "Transfer-Encoding: chunked") + content, "key in a trailer"

    async def _send(self, request: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        received = b""
        try:
            at = self._random.randrange(len(request))
            for part in (request[:at], request[at:]):
                writer.write(part)
                await asyncio.sleep(0)
            async with asyncio.timeout(ATTACKER_PATIENCE_S):
                while more := await reader.read(65_536):
                    received += more
                    if (taken := take_response(received)) is not None and taken[0].status >= 200:
                        break
        except (ConnectionError, TimeoutError):
            pass
        finally:
            writer.transport.abort()
        self._ledger.hostile_statuses[received[9:12].decode("latin-1") or "none"] += 1
        if b"dst_" in received or b"key_" in received or b'"accepted"' in received:
            self._ledger.object(f"an attacker was answered {received[:200]!r}")


async def run(service: EdgeService, port: int, *, requests: int, seed: int) -> Ledger:
    """Send about so many requests through `port`, a third of them hostile, all callers at once."""
    ledger = Ledger()
    callers = service.callers
    destinations = {item["id"] for item in service.call("GET", "/destinations?limit=200")["items"]}
    attackers = 8 if requests < 10_000 else 24
    per_attacker = requests // 3 // attackers
    operators = max(1, requests // 30)
    each = (requests - attackers * per_attacker - operators) // len(callers)
    await asyncio.gather(
        *(CallerAtWork(caller, port, seed, ledger).work(each) for caller in callers),
        *(Attacker(number, port, seed, ledger, callers).work(per_attacker) for number in range(attackers)),
        OperatorAtWork(port, seed, ledger, destinations).work(operators),
    )
    return ledger


def reconcile(service: EdgeService, ledger: Ledger) -> dict[str, int]:
    """Hold what is stored to what was answered, and what is configured to what it was."""
    stored_total = accepted_total = unknown = 0
    for caller in service.callers:
        events = service.all_events(caller.destination)
        stored = {one for one in events if one in ledger.ids or one[:1] == "h"}
        accepted = ledger.accepted.get(caller.destination, set())
        unanswered = ledger.unanswered.get(caller.destination, set())
        if missing := accepted - stored:
            ledger.object(
                f"{caller.destination}: {len(missing)} answered 202 and not stored: {sorted(missing)[:3]}"
            )
        if surplus := stored - accepted - unanswered:
            ledger.object(f"{caller.destination}: {len(surplus)} stored without a 202: {sorted(surplus)[:3]}")
        state = service.call("GET", f"/destinations/{caller.destination}")["state"]
        if state != "active":
            ledger.object(f"{caller.destination}: is {state}")
        stored_total, accepted_total = stored_total + len(stored), accepted_total + len(accepted)
        unknown += len(stored - accepted)
    actions = {item["action"] for item in service.call("GET", "/audit?limit=200")["items"]}
    if changed := {action for action in actions if action.startswith("destination.")}:
        ledger.object(f"the audit shows {changed}")
    return {"accepted": accepted_total, "stored": stored_total, "stored, response not waited for": unknown}
