"""The product as the edge tests meet it: one API process on a real database, callers with keys of their own.

No worker runs, so what a caller posts stays where it can be counted.
"""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.domain.conversion.results import DeploymentRules
from app.processes.api import build_ingest
from app.processes.resources import open_resources
from tests.pipeline.amazon import FakeAmazon
from tests.pipeline.processes import ADMIN, Product
from tests.pipeline.world import World, settings_of, stamp

# Two minutes before the tests began, the same in all of them.
OCCURRED = stamp()


@dataclass(frozen=True)
class Caller:
    """One customer of the service: a key that reaches one destination."""

    number: int
    destination: str
    key: str


@dataclass
class EdgeService:
    """A running API process. `callers` are made with it."""

    product: Product
    url: str
    callers: list[Caller]

    @property
    def port(self) -> int:
        return self.product.api_port

    def text(self, path: str) -> str:
        """GET a public path and return the body."""
        with urllib.request.urlopen(self.product.api + path, timeout=30) as answer:
            return str(answer.read().decode())

    def call(self, method: str, path: str, body: Any = None, *, key: str = ADMIN) -> Any:
        """Ask the service over a connection of its own; returns the JSON of a 2xx."""
        request = urllib.request.Request(
            self.product.api + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def newest_events(self, destination: str) -> set[str]:
        """Return the ids of the newest stored events of a destination."""
        page = self.call("GET", f"/destinations/{destination}/events?limit=200")
        return {item["event_id"] for item in page["items"]}

    def all_events(self, destination: str) -> set[str]:
        """Return the ids of all stored events of a destination."""
        found: set[str] = set()
        cursor = ""
        while True:
            page = self.call("GET", f"/destinations/{destination}/events?limit=200{cursor}")
            found |= {item["event_id"] for item in page["items"]}
            if not page["next_cursor"]:
                return found
            cursor = f"&cursor={page['next_cursor']}"


async def _make_destinations(url: str, how_many: int) -> list[str]:
    settings = settings_of(url)
    async with open_resources(settings, role="worker", pool_size=2) as resources:
        intake = build_ingest(resources, DeploymentRules())
        world = World(resources, FakeAmazon(), intake, url)
        return [await world.destination() for _ in range(how_many)]


@contextmanager
def running_service(url: str, folder: Path, callers: int, **environment: str) -> Iterator[EdgeService]:
    """Run an API process on a migrated, empty database."""
    destinations = asyncio.run(_make_destinations(url, callers))
    with closing(
        Product(url, folder / "service.log", more={"LOG_LEVEL": "warning", **environment})
    ) as product:
        product.serve("api")
        product.ready(product.api + "/health/live")
        service = EdgeService(product, url, [])
        for number, destination in enumerate(destinations):
            scopes = ["events:write", "events:read", "destinations:read"]
            form = {"name": f"caller {number}", "scopes": scopes, "destination_ids": [destination]}
            made = service.call("POST", "/keys", form)
            service.callers.append(Caller(number, destination, made["key"]))
        yield service


def event(destination: str, event_id: str, **more: Any) -> dict[str, Any]:
    """Return a harmless event."""
    return {
        "destination_id": destination,
        "event_id": event_id,
        "event": {"timestamp": OCCURRED, "total": 12.5, "brand": "acme"},
        "user": {"email": "ada@example.com"},
        **more,
    }
