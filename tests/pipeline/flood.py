"""A sender in a process of its own: a closed loop that finds the peak, or an open loop that does not wait.

`python -m tests.pipeline.flood PORT DESTINATION KEY SEED SECONDS MAX_CONNECTIONS [RATE]` prints one JSON
object: what was answered within SECONDS, by status, once the first two are over, and how long answers took.
With RATE (posts a second) posts leave on time whatever happened to those before, as long as a connection is
free.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import uvloop

EVENTS = 50
RAMP_S = 2.0
MARK = b"@MARK@@@"


class Line(asyncio.Protocol):
    """One connection; streams would cost the sender more than the answers cost the API."""

    def __init__(self, flood: "Flood") -> None:
        self.flood, self.got, self.wanted, self.began = flood, b"", 0, 0.0
        self.answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def post(self) -> None:
        """Send one post, with a mark of its own."""
        flood = self.flood
        flood.sent += 1
        self.got, self.wanted, self.began = b"", 0, time.monotonic()
        mark = f"{flood.seed:02d}{flood.sent:06d}".encode()
        self.transport.write(flood.head + flood.body.replace(MARK, mark))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.got += data
        if not self.wanted:
            head, end, _ = self.got.partition(b"\r\n\r\n")
            if not end:
                return
            length = head.lower().partition(b"content-length: ")[2]
            self.wanted = len(head) + 4 + int(length.split(b"\r\n", 1)[0])
        if len(self.got) >= self.wanted:
            self.flood.note(self.got[9:12].decode(), self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.flood.note(f"lost {type(exc).__name__}", self)


@dataclass
class Flood:
    """Posts of fifty events, each event with an id of its own."""

    port: int
    head: bytes
    body: bytes
    seed: int
    connections: int
    since: float = 0.0
    until: float = 0.0
    rate: float | None = None
    statuses: "Counter[str]" = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    idle: list[Line] = field(default_factory=list)
    sent: int = 0
    kept_back: int = 0

    def note(self, status: str, line: Line) -> None:
        """Note an answer that came in time; in a closed loop the next post follows it."""
        now = time.monotonic()
        if now > self.until:
            return
        if now > self.since:
            self.statuses[status] += 1
            (self.waits if status == "202" else self.refusals).append(now - line.began)
        if self.rate is None:
            line.post()
        else:
            self.idle.append(line)

    async def run(self, seconds: float) -> None:
        # Opened beforehand: journeys keep their connections, and a queue of new ones would hold posts back.
        loop = asyncio.get_running_loop()
        for _ in range(self.connections):
            _, line = await loop.create_connection(lambda: Line(self), "127.0.0.1", self.port)
            self.idle.append(line)
        began, due = time.monotonic(), 0
        # The queue fills first: what is answered until then belongs to neither a calm nor a crowded API.
        self.since = began + RAMP_S
        self.until = self.since + seconds
        if self.rate is None:
            for line in self.idle:
                line.post()
            await asyncio.sleep(RAMP_S + seconds)
            return
        while (now := time.monotonic()) < self.until:
            while due < (now - began) * self.rate:
                due += 1
                if self.idle:
                    self.idle.pop().post()
                else:
                    self.kept_back += 1  # the system limits the number of connections
            await asyncio.sleep(0.005)


async def main(
    port: str, destination: str, key: str, seed: str, seconds: str, connections: str, *rate: str
) -> None:
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    mark = MARK.decode()
    events = [
        {
            "event_id": f"flood-{mark}-{number}",
            "event": {"timestamp": stamp, "total": number, "brand": "acme"},
            "user": {"email": f"p{mark}{number}@example.com", "first_name": "Ada", "last_name": "Lovelace"},
        }
        for number in range(EVENTS)
    ]
    body = json.dumps({"destination_id": destination, "events": events}).encode()
    head = (
        f"POST /events HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    flood = Flood(int(port), head, body, int(seed), int(connections), rate=float(rate[0]) if rate else None)
    await flood.run(float(seconds))
    waits = sorted(flood.waits) or [0.0]
    refusals = sorted(flood.refusals) or [0.0]
    report = {
        "statuses": flood.statuses,
        "sent": flood.sent,
        "kept_back": flood.kept_back,
        "events_s": flood.statuses["202"] * EVENTS / float(seconds),
        "p50_s": waits[len(waits) // 2],
        "p99_s": waits[len(waits) * 99 // 100],
        "refused_p50_s": refusals[len(refusals) // 2],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
