"""The journey engine of a campaign: open-loop, seeded, and it records the result of every event."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from campaigns.chaos.administrator import order

CONNECTIONS = 64
PATIENCE_S = 6.0
AGE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Post:
    """One request to come: `at` seconds after the beginning."""

    at: float
    destination: int
    names: tuple[str, ...]


@dataclass
class Ledger:
    """The results that callers got. Unanswered events are unknown, and posted again with the same id."""

    offered: dict[str, str] = field(default_factory=dict)  # to which destination
    acknowledged: dict[str, float] = field(default_factory=dict)  # when
    refused: set[str] = field(default_factory=set)
    unexpected: list[str] = field(default_factory=list)

    @property
    def unanswered(self) -> set[str]:
        return self.offered.keys() - self.acknowledged.keys() - self.refused

    def ids_of(self, destination: str) -> frozenset[str]:
        """Return the events that were offered to a destination."""
        return frozenset(name for name, place in self.offered.items() if place == destination)


def event(name: str, at: datetime) -> dict[str, Any]:
    """The event of a name; the same name is the same content. One that begins with `bad` has no match key."""
    user = {} if name.startswith("bad") else {"email": f"{name}@example.com"}
    return {
        "event_id": name,
        "order": order(name),
        "event": {"timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}", "properties": {"brand": "acme"}},
        "user": user,
    }


class Caller:
    """Posts at its own times, whatever becomes of earlier posts, and repeats what was not answered."""

    def __init__(self, api: str, key: str, luck: random.Random, *, keeps: bool = True) -> None:
        """With `keeps`, connections are used again; without, each post may reach another API process."""
        self._api = httpx.AsyncClient(
            base_url=api,
            headers={"Authorization": f"Bearer {key}"},
            timeout=PATIENCE_S,
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=None if keeps else 0),
            trust_env=False,
        )
        # In httpx, each post that waits for a connection costs every other post time. Thousands wait after a
        # fault, and the proxies before Postgres run in this process, too.
        self._turn = asyncio.Semaphore(CONNECTIONS)
        self._luck = luck
        self._midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0)
        self.off: timedelta | None = (
            None  # events are of this moment, by a clock that is off; else of midnight
        )
        self.ledger = Ledger()

    async def run(self, posts: Sequence[Post], destinations: Sequence[str], *, deadline: float) -> None:
        """Send every post at its time; returns when each was answered, or `deadline` seconds have passed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        pending = set()
        for post in posts:
            await asyncio.sleep(max(0.0, began + post.at - loop.time()))
            until = began + deadline
            pending.add(asyncio.create_task(self.send(post.names, destinations[post.destination], until)))
        await asyncio.gather(*pending)

    async def send(self, names: Sequence[str], destination: str, until: float) -> bool:
        """Post these events until they are answered for; False when that did not happen in time."""
        now = self._midnight if self.off is None else datetime.now(UTC) + self.off - AGE
        body = [event(name, now) for name in names]
        self.ledger.offered.update(dict.fromkeys(names, destination))
        while asyncio.get_running_loop().time() < until:
            try:
                async with self._turn:
                    answer = await self._api.post(
                        "/events", params={"destination_id": destination}, json=body
                    )
            except httpx.HTTPError:
                pass
            else:
                if answer.status_code in {202, 207, 422} and "results" in answer.json():
                    names = self._note_results(answer.json()["results"], names)
                    if not names:
                        return True
                    body = [event(name, now) for name in names]
                elif answer.status_code not in {429, 503}:
                    self.ledger.unexpected.append(f"POST /events answered {answer.status_code}")
            await asyncio.sleep(0.2 + 0.6 * self._luck.random())
        return False

    def _note_results(self, results: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str]:
        """Record the result of each event; return events that may be sent again after a reconnect."""
        again = []
        for result, name in zip(results, names, strict=True):
            if result["status"] == "rejected" and result["reason"] == "destination_draft":
                # Disconnected while nothing waited: it takes no events until it is connected.
                again.append(name)
            elif result["status"] == "rejected":
                self.ledger.refused.add(name)
                if result["reason"] != "no_match_key" and not name.startswith("bad"):
                    self.ledger.unexpected.append(f"an event was rejected: {result['reason']}")
            else:
                self.ledger.acknowledged.setdefault(name, time.time())
        return again

    async def close(self) -> None:
        await self._api.aclose()
