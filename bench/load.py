"""The process that posts. Reads a plan from standard input, prints the result as JSON.

Open loop (`per_second` set): posts are sent when they are due, even if earlier ones have no response, and
latency counts from the due time, so that a stall affects all posts during it. Closed loop: each connection
posts again as soon as it is answered; this finds the highest rate.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from bench.events import bodies


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of posts. `per_second` counts posts, None for a closed loop."""

    port: int
    key: str
    run: str
    events: int
    per_post: int
    destinations: list[str]
    connections: int
    per_second: float | None = None
    rejected: bool = False  # events without a time, which the service rejects
    times: int = 1  # number of repetitions of all posts, with other ids


@dataclass(slots=True)
class Posted:
    """The result; times are seconds on the monotonic clock, one per post, None if it failed."""

    began: float
    due: list[float]
    answered: list[float | None]
    accepted: int
    rejected: int
    failures: dict[str, int]

    @property
    def accept_ms(self) -> list[float]:
        """The times from when a post was due to its response, of those that were answered."""
        answers = zip(self.due, self.answered, strict=True)
        return [(at - due) * 1e3 for due, at in answers if at is not None]


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(rest) >= length and self._answer is not None and not self._answer.done():
            self._received = b""
            self._answer.set_result((int(head[9:12]), rest))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


def _with_new_ids(requests: list[bytes], number: int, run: bytes) -> bytes:
    """Return the request of this number; in repetitions its ids begin differently."""
    times, place = divmod(number, len(requests))
    if times == 0:
        return requests[place]
    other = b"%06d" % times + run[6:]  # of the same length, for Content-Length; unlike those of other runs
    return requests[place].replace(run, other)


def _count(answer: bytes, member: bytes) -> int:
    return int(answer.split(member, 1)[1].split(b",", 1)[0])


async def post(plan: Plan) -> Posted:
    """Carry out a plan."""
    head = (
        f"POST /events HTTP/1.1\r\nHost: bench\r\nX-Api-Key: {plan.key}\r\nContent-Type: application/json\r\n"
    )
    requests = [
        f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        for body in bodies(plan.run, plan.events, plan.per_post, plan.destinations, rejected=plan.rejected)
    ]
    fresh, posts = plan.run.encode(), len(requests) * plan.times
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Connection, "127.0.0.1", plan.port) for _ in range(plan.connections)]
    waiting: asyncio.Queue[int] = asyncio.Queue()
    began = time.monotonic()
    posted = Posted(began, [began] * posts, [None] * posts, 0, 0, {})

    async def carry(connection: Connection) -> None:
        while (nth := await waiting.get()) >= 0:
            if plan.per_second is None:
                posted.due[nth] = time.monotonic()
            try:
                status, answer = await connection.ask(_with_new_ids(requests, nth, fresh))
            except OSError as error:
                posted.failures[type(error).__name__] = posted.failures.get(type(error).__name__, 0) + 1
                return
            if status == (422 if plan.rejected else 202):
                posted.answered[nth] = time.monotonic()
                posted.accepted += _count(answer, b'"accepted":')
                posted.rejected += _count(answer, b'"rejected":')
            else:
                posted.failures[str(status)] = posted.failures.get(str(status), 0) + 1

    carriers = [asyncio.create_task(carry(connection)) for _, connection in made]
    for nth in range(posts):
        if plan.per_second is not None:
            posted.due[nth] = began + nth / plan.per_second
            if (wait := posted.due[nth] - time.monotonic()) > 0:
                await asyncio.sleep(wait)
        waiting.put_nowait(nth)
    for _ in carriers:
        waiting.put_nowait(-1)
    await asyncio.gather(*carriers)
    for transport, _ in made:
        transport.close()
    return posted


if __name__ == "__main__":
    done = json.dumps(asdict(uvloop.run(post(Plan(**json.load(sys.stdin))))))
    # Always buffered: an unbuffered write to a full pipe may write only a part.
    with open(sys.stdout.fileno(), "w", closefd=False) as out:
        out.write(done)
