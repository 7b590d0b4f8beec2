"""An instance with a life behind it: what the pages are photographed and measured on."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import httpx

from app.domain.mapping.presets import EXAMPLE_MAPPING
from app.store import read_sql
from tests.databases import connected
from tests.pipeline.processes import ADMIN, Product

MAPPING: dict[str, Any] = {
    **EXAMPLE_MAPPING,
    "fields": {**EXAMPLE_MAPPING["fields"], "value": {"path": "event.properties.total"}},
    "custom_data": [{"name": name, "path": f"event.properties.{name}"} for name in ("brand", "sku")],
}
_SQL = read_sql(__file__)
PEOPLE = (("ada", "Lovelace"), ("alan", "Turing"), ("grace", "Hopper"), ("edsger", "Dijkstra"))


@dataclass
class Showcase:
    """Some destinations by name, each in a state of its own."""

    product: Product
    client: httpx.Client
    luck: random.Random
    sent: int = 0

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.client.request(method, path, json=body)
        assert answer.status_code in (200, 201, 202, 207), answer.text
        return answer.json()

    def destination(self, name: str, advertiser: str, region: str, currency: str) -> str:
        """Make a draft."""
        body = {"name": name, "advertiser_id": advertiser, "region": region, "currency": currency}
        return str(self.ask("POST", "/destinations", body)["id"])

    def connect(self, destination: str) -> None:
        """Sign in at the sandbox and click Allow."""
        advertiser = self.ask("GET", f"/destinations/{destination}")["advertiser_id"]
        parts = urlsplit(self.ask("POST", f"/destinations/{destination}/connect")["authorize_url"])
        form = {**dict(parse_qsl(parts.query)), "decision": "allow", "advertiser_id": advertiser}
        allowed = httpx.post(f"{parts.scheme}://{parts.netloc}{parts.path}", data=form, timeout=30)
        self.client.get(allowed.headers["location"], headers={"Accept": "application/json"})

    def publish(self, destination: str, document: Any = MAPPING) -> str:
        """Make a mapping and publish it."""
        made = str(self.ask("POST", f"/destinations/{destination}/mappings", document)["id"])
        self.ask("POST", f"/destinations/{destination}/mappings/{made}/publish")
        return made

    def shop(
        self, name: str, advertiser: str, region: str = "NA", currency: str = "USD", document: Any = MAPPING
    ) -> str:
        """Make a destination that sends: connected, with a published mapping."""
        made = self.destination(name, advertiser, region, currency)
        self.connect(made)
        self.publish(made, document)
        return made

    def events(self, destination: str, number: int) -> list[dict[str, Any]]:
        """Return events of a shop's visitors; not every visitor left everything."""
        made = []
        for _ in range(number):
            self.sent += 1
            first, last = self.luck.choice(PEOPLE)
            user: dict[str, Any] = {"email": f"{first}.{self.sent}@example.com", "country": "US"}
            if self.luck.random() < 0.62:
                user["phone"] = f"+1202555{self.sent % 10_000:04d}"
            if self.luck.random() < 0.85:
                user |= {"first_name": first.title(), "last_name": last}
            if self.luck.random() < 0.3:
                user["maid"] = f"6d92078a-8246-4ba4-ae5b-{self.sent:012x}"
            at = datetime.now(UTC) - timedelta(seconds=self.luck.randrange(600))
            made.append(
                {
                    "event_id": f"ord-{1000 + self.sent}:node-7",
                    "destination_id": destination,
                    "journey": {
                        "id": "cart-reminder",
                        "node_id": "n7",
                        "execution_id": f"run-{self.sent // 3}",
                    },
                    "event": {
                        "name": "addToCart",
                        "timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}",
                        "properties": {
                            "brand": self.luck.choice(("acme", "globex", "initech")),
                            "sku": f"A{self.luck.randrange(90) + 10}",
                            "total": round(self.luck.uniform(8, 240), 2),
                        },
                    },
                    "user": user,
                }
            )
        return made

    def send(self, events: Sequence[Any]) -> None:
        self.ask("POST", "/events", {"events": list(events)})

    def fault(self, advertiser: str, **fault: Any) -> None:
        """Let the sandbox misbehave towards an advertiser."""
        body = {"advertiser_id": advertiser, "fault": fault}
        assert httpx.post(f"{self.product.amazon}/_sandbox/faults", json=body, timeout=30).status_code == 201

    def heal(self) -> None:
        """Let Amazon behave again."""
        assert httpx.delete(f"{self.product.amazon}/_sandbox/faults", timeout=30).status_code < 300

    def drain(self, destination: str) -> None:
        """Wait until nothing of a destination is on its way."""
        self.until(lambda: self.counts(destination)["queued"] == 0)
        self.until(lambda: self.counts(destination)["retrying"] == 0)

    def counts(self, destination: str) -> dict[str, int]:
        counts: dict[str, int] = self.ask("GET", f"/destinations/{destination}/stats")["counts"]
        return counts

    def until(self, done: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for something to become true."""
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise TimeoutError(self.product.log.read_text()[-3000:])
            time.sleep(0.05)


def opened(product: Product, seed: int = 7) -> Showcase:
    """Return a showcase with nothing in it."""
    client = httpx.Client(base_url=product.api, headers={"Authorization": f"Bearer {ADMIN}"}, timeout=30)
    return Showcase(product, client, random.Random(seed))


@dataclass(frozen=True)
class Stage:
    """The ids of a destination that sends, of what is stored for it, and of a draft."""

    shop: str
    mapping: str
    draft: str
    event: str
    rejected: str
    replay: str
    request: str
    advertiser: str

    @property
    def pages(self) -> dict[str, str]:
        """Every page of the router that can be opened by its address."""
        here, draft = f"/console/destinations/{self.shop}", f"/console/destinations/{self.draft}"
        mapping = f"{here}/mappings/{self.mapping}"
        return {
            "destinations": "/console",
            "found": "/console/find?q=acme",
            "new-destination": "/console/destinations/new",
            "destination": here,
            "destination-draft": draft,
            "mappings": f"{here}/mappings",
            "mapping-new": f"{here}/mappings/new",
            "mapping": mapping,
            **{name: f"{mapping}/{name}" for name in ("publish", "versions", "copy")},
            "events-dead": f"{here}/events?status=dead",
            "event": f"{here}/event?id={quote(self.event)}",
            "event-rejected": f"{here}/event?id={quote(self.rejected)}",
            **{name: f"{here}/{name}" for name in ("activate", "events", "errors", "rejections", "requests")},
            **{name: f"{here}/{name}" for name in ("journeys", "replays", "preflight", "match-quality")},
            **{name: f"{here}/{name}" for name in ("event-schema", "consent")},
            "request": f"{here}/requests/{self.request}",
            "replay": f"{here}/replay?status=dead",
            "replay-job": f"{here}/replays/{self.replay}",
            "tail": "/console/tail",
            "tail-destination": f"/console/tail?destination={self.shop}&status=dead",
            "preflight-draft": f"{draft}/preflight",
            "event-schema-none": f"{draft}/event-schema",
            "settings-of-destination": f"{here}/settings",
            "search": "/console/events?status=delivered",
            "search-execution": "/console/events?q=run-7",
            "notifications-of-destination": f"{here}/notifications",
            "event-name": f"/console/event-names/{self.advertiser}/ADD_TO_SHOPPING_CART",
            **{name: f"/console/{name}" for name in ("incidents", "components", "event-names", "audit")},
            **{name: f"/console/{name}" for name in ("system", "hash-tester", "notifications", "privacy")},
            **{name: f"/console/{name}" for name in ("keys", "sessions", "organisations", "settings")},
            "signed-out": "/console/signed-out",
        }


@dataclass(frozen=True)
class Cast(Stage):
    """The ids of what stands in the showcase."""

    europe: str
    outlet: str
    dead: str

    @property
    def pages(self) -> dict[str, str]:
        """Every page, most of them also with other content."""
        here, draft = f"/console/destinations/{self.shop}", f"/console/destinations/{self.draft}"
        return {
            **super().pages,
            "destinations-none": "/console?q=nothing-like-it",
            "destinations-failed": "/console?sort=failed&range=30d",
            "destinations-delivered": "/console?sort=delivered&range=7d",
            "destinations-delivered-day": "/console?sort=delivered&range=24h",
            "destinations-backlog": "/console?sort=backlog&page=60&range=1h",
            "destinations-attention": "/console?health=needs_attention&range=7d&sort=delivered",
            "found-nothing-yet": "/console/find",
            "destination-month": f"{here}?range=30d",
            "destination-parked": f"/console/destinations/{self.europe}",
            "destination-paused": f"/console/destinations/{self.outlet}",
            **{f"events-{one}": f"{here}/events?status={one}" for one in ("queued", "retrying", "expired")},
            "events-reason": f"{here}/events?reason=nothing_like_it",
            "events-execution": f"{here}/events?execution_id=nothing-like-it",
            "event-dead": f"{here}/event?id={quote(self.dead)}",
            "event-missing": f"{here}/event?id=nothing-like-it",
            "rejections-filtered": f"{here}/rejections?journey_id=nothing-like-it",
            "events-rejected": f"{here}/events?status=rejected",
            "requests-failed": f"{here}/requests?failed=true&range=30d",
            "journeys-month": f"{here}/journeys?range=30d",
            "replay-event": f"{here}/replay?status=dead&event={quote(self.dead)}",
            **{f"{one}-none": f"{draft}/{one}" for one in ("mappings", "events", "errors", "requests")},
            **{f"{one}-none": f"{draft}/{one}" for one in ("match-quality", "consent")},
            "search-all": "/console/events",
            "search-rejected": "/console/events?status=rejected",
            "search-rejected-none": "/console/events?status=rejected&reason=nothing_like_it",
            "search-none": "/console/events?q=nothing-like-it",
            "event-names-none": "/console/event-names?q=nothing-like-it",
            "audit-filtered": "/console/audit?kind=mapping",
            "nowhere": "/console/nowhere",
        }


def furnish(product: Product, dsn: str, *, posts: int = 45) -> Cast:
    """Fill an instance: four destinations, each in another state, events of every disposition.

    The shop gets some `posts`, each delivered before the next, so that its charts have many requests.
    """
    case = opened(product)
    shop = case.destination("Acme Shop", "580123456789", "NA", "USD")
    case.connect(shop)
    mapping = case.publish(shop)
    for _ in range(posts):
        case.send(case.events(shop, case.luck.randrange(20, 60)))
        case.drain(shop)
    case.fault("580123456789", kind="partial", indexes=[0, 3], code="BAD_REQUEST")
    last = case.events(shop, 40)
    case.send(last)
    case.drain(shop)
    bad = case.events(shop, 7)
    for one in bad:
        del one["event"]["timestamp"]
    case.send([*bad, *last[:12], *case.events(shop, 9)])
    case.drain(shop)
    dead = case.ask("GET", f"/destinations/{shop}/events?status=dead")["items"]
    again = {"status": "dead", "event_ids": [dead[-1]["event_id"]], "dry_run": False}
    replay = case.ask("POST", f"/destinations/{shop}/replay", again)["replay_id"]
    case.drain(shop)
    for name, key in (
        ("journey engine", ["events:write"]),
        ("support desk", ["destinations:read", "events:read"]),
    ):
        case.ask("POST", "/keys", {"name": name, "scopes": key})

    outlet = case.shop("Acme Outlet", "580123450001")
    case.send(case.events(outlet, 120))
    case.drain(outlet)
    case.ask("POST", f"/destinations/{outlet}/pause")
    case.send(case.events(outlet, 63))

    europe = case.shop("Acme Shop Europe", "580987654321", "EU", "EUR")
    case.send(case.events(europe, 300))
    case.drain(europe)
    case.fault("580987654321", kind="revoked")
    case.send(case.events(europe, 41))
    case.until(lambda: case.ask("GET", f"/destinations/{europe}")["state"] == "needs_reconnect")

    japan = case.destination("Acme Japan", "580555000111", "FE", "JPY")
    draft = {**MAPPING, "fields": {**MAPPING["fields"], "phone": {"path": "user.telephone"}}}
    case.ask("PATCH", f"/destinations/{shop}/mappings/{mapping}", draft)
    asyncio.run(spread(dsn, case.luck))
    request = newest_request(case.product, shop, "?failed=true&range=30d")
    return Cast(
        shop,
        mapping,
        japan,
        event=last[20]["event_id"],
        rejected=bad[0]["event_id"],
        replay=replay,
        request=request,
        advertiser="580123456789",
        europe=europe,
        outlet=outlet,
        dead=dead[0]["event_id"],
    )


@contextmanager
def visiting(product: Product) -> Iterator[httpx.Client]:
    """A visitor who is signed in, and reads pages as a browser gets them."""
    headers = {"Accept": "text/html", "Origin": product.api}
    with httpx.Client(base_url=product.api, headers=headers, timeout=20) as client:
        assert client.post("/console/sign-in", data={"key": ADMIN}).status_code == 303
        yield client


@asynccontextmanager
async def signed_in(product: Product) -> AsyncIterator[httpx.AsyncClient]:
    """The same in an event loop."""
    headers = {"Accept": "text/html", "Accept-Encoding": "gzip", "Origin": product.api}
    async with httpx.AsyncClient(base_url=product.api, headers=headers, timeout=60) as client:
        assert (await client.post("/console/sign-in", data={"key": ADMIN})).status_code == 303
        yield client


def newest_request(product: Product, destination: str, query: str = "") -> str:
    """Return the id of the first request in a destination's list."""
    with visiting(product) as pages:
        listed = pages.get(f"/console/destinations/{destination}/requests{query}").text
    return re.findall(r"/requests/(att_[\w-]+)", listed)[0]


async def spread(dsn: str, luck: random.Random) -> None:
    """Tell of the requests as if they had been sent over the last hour, and of the days before.

    What was sent in seconds would be a single bucket of every chart.
    """
    async with connected(dsn) as connection:
        rows = await connection.fetch("SELECT id FROM attempts WHERE settled_at IS NOT NULL ORDER BY id")
        back = sorted((luck.uniform(60, 3500) for _ in rows), reverse=True)
        await connection.executemany(
            _SQL["attempt"],
            [
                (row["id"], timedelta(seconds=seconds), int(luck.lognormvariate(4.6, 0.5)))
                for row, seconds in zip(rows, back, strict=True)
            ],
        )
        for name in ("counts", "history"):
            await connection.execute(_SQL[name])
