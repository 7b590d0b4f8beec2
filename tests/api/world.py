"""The web as tests use it: the real application, a real Postgres, fakes for Amazon and the pipeline."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin.context import AppContext
from app.amazon.accounts import CannotTell, NotVisible, Visible
from app.amazon.tokens import InvalidClient, SignInRefused, Tokens, Unavailable
from app.api.recent_rows import REFRESH_SECONDS
from app.crypto import NamedKey, Vault
from app.domain.destination import Region
from app.domain.event import Event, Rejection
from app.domain.ids import DestinationNumber, LaneId
from app.domain.outcomes.outcome import Unauthorized
from app.health import Readiness
from app.ingest.evaluate import PendingRequest
from app.ingest.intake import EventResult
from app.processes.application import create_application
from app.store import PipelineConnection, driver_of
from tests.api.description import check_responses
from tests.domain.conversions import DOCUMENT

JSON = dict[str, Any]
BOOTSTRAP = "bootstrap-key-of-thirty-two-letters"
PUBLIC = "https://conversions.example"
ACCESS, REFRESH = "Atza|access-token-of-the-test", "Atzr|refresh-token-of-the-test"

# Streams have no end: GET is tried in `tests/console`.
STREAMS = {
    "/console/live",
    "/console/tail/live",
    "/console/destinations/{destination_id}/live",
    "/console/destinations/{destination_id}/activate/live",
    "/console/destinations/{destination_id}/event/live",
    "/console/destinations/{destination_id}/replays/{replay_id}/live",
}


@dataclass
class FakeSignIn:
    """Amazon's sign-in: codes that it knows, each good once, and only with the right verifier."""

    codes: dict[str, Tokens] = field(default_factory=dict)
    challenges: dict[str, str] = field(default_factory=dict)
    exchanged: list[str] = field(default_factory=list)
    unavailable: bool = False
    unknown: bool = False

    def authorize_url(self, region: Region, *, state: str, code_verifier: str) -> str:
        digest = hashlib.sha256(code_verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        self.challenges[state] = challenge
        query = {"state": state, "code_challenge": challenge, "code_challenge_method": "S256"}
        return f"https://amazon.example/{region.value.lower()}/ap/oa?{urlencode(query)}"

    async def exchange(
        self, region: Region, *, code: str, code_verifier: str
    ) -> Tokens | SignInRefused | InvalidClient | Unavailable:
        self.exchanged.append(code)
        if self.unknown:
            return InvalidClient()
        if self.unavailable:
            return Unavailable("timeout")
        digest = hashlib.sha256(code_verifier.encode()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") not in self.challenges.values():
            return SignInRefused("invalid_grant", "")
        return self.codes.pop(code, None) or SignInRefused("invalid_grant", "")


@dataclass
class FakeAdvertisers:
    """Amazon's advertisers: those that the signed-in user can see."""

    visible: set[tuple[str, str]] = field(default_factory=set)
    unavailable: bool = False
    declines: bool = False  # no token is good here
    currency: str | None = None

    async def __call__(
        self, region: Region, access_token: str, advertiser_id: str
    ) -> Visible | NotVisible | CannotTell | Unauthorized:
        if self.unavailable:
            return CannotTell("timeout")
        if self.declines:
            return Unauthorized()
        if (region.value, advertiser_id) in self.visible:
            return Visible(self.currency, "Acme")
        return NotVisible(tuple(id_ for where, id_ in sorted(self.visible) if where == region.value))


@dataclass
class FakeDeliveryControl:
    """The pipeline: how many events wait, and in which order the web asked for what."""

    owed: dict[int, int] = field(default_factory=dict)
    calls: list[tuple[str, int]] = field(default_factory=list)

    async def quiesce(self, destination: DestinationNumber) -> None:
        self.calls.append(("quiesce", destination))

    async def waiting(self, connection: PipelineConnection, destination: DestinationNumber) -> int:
        self.calls.append(("waiting", destination))
        return self.owed.get(destination, 0)

    async def discard(self, connection: PipelineConnection, destination: DestinationNumber) -> int:
        self.calls.append(("discard", destination))
        return self.owed.pop(destination, 0)

    def count_discarded(self, events: int) -> None:
        self.calls.append(("count_discarded", events))

    async def wake(self, lane: LaneId) -> None:
        self.calls.append(("wake", lane))


async def _write_nothing() -> None:
    """Write nothing: the fake intake samples, records and counts nothing."""


class FakeIntake:
    """An intake that accepts all events and stores none. `sent` are the events of the last request."""

    sent: list[Event | Rejection]
    sampler = recorder = SimpleNamespace(write=_write_nothing)
    shadows = SimpleNamespace(synchronise=_write_nothing)

    def evaluating_large(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def parse_large(self, owner: str, parse: Callable[[], Any]) -> Any:
        return parse()

    async def evaluate(self, request: PendingRequest) -> None:
        self.sent = list(request.events)

    async def store(self, request: PendingRequest) -> list[EventResult] | None:
        return [
            EventResult(n, getattr(event, "event_id", None), "accepted")
            for n, event in enumerate(request.events)
        ]


@dataclass
class ApiWorld:
    """One application with its fakes. `call` goes through all of it, as the bootstrap key by default."""

    engine: AsyncEngine
    sign_in: FakeSignIn
    advertisers: FakeAdvertisers
    delivery_control: FakeDeliveryControl
    context: AppContext
    client: httpx.AsyncClient
    app: FastAPI
    now: datetime = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    elapsed: float = 1000.0

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = BOOTSTRAP,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
        **settings: Any,
    ) -> httpx.Response:
        """Return the response; `status` is the status that it must have."""
        given = dict(headers or {})
        if key is not None:
            given.setdefault("Authorization", f"Bearer {key}")
        if body is not None:
            given.setdefault("Content-Type", "application/json")
            settings["content"] = body if isinstance(body, bytes) else json.dumps(body)
        answer = await self.client.request(method, path, headers=given, **settings)
        assert status in (None, answer.status_code), (method, path, answer.status_code, answer.text)
        return answer

    async def create_destination(self, **changes: Any) -> dict[str, Any]:
        """Make a destination and return it."""
        return (await self.call("POST", "/destinations", {**DESTINATION, **changes}, status=201)).json()

    async def create_mapping(self, destination: str, **changes: Any) -> dict[str, Any]:
        """Make a mapping of a destination and return it."""
        answer = await self.call("POST", f"/destinations/{destination}/mappings", {**MAPPING, **changes})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def mapping_path(self, *, published: bool = False, **changes: Any) -> str:
        """Make a destination with a mapping; return the address of the mapping."""
        made = await self.create_destination()
        make = self.publish_mapping if published else self.create_mapping
        mapping = await make(made["id"], **changes)
        return f"/destinations/{made['id']}/mappings/{mapping['id']}"

    async def publish_mapping(self, destination: str, **changes: Any) -> dict[str, Any]:
        """Make and publish a mapping of a destination and return it."""
        mapping = await self.create_mapping(destination, **changes)
        answer = await self.call("POST", f"/destinations/{destination}/mappings/{mapping['id']}/publish")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def state_of_sign_in(self, destination: str) -> str:
        """Begin a sign-in and return its state."""
        answer = await self.call("POST", f"/destinations/{destination}/connect", status=200)
        return parse_qs(urlsplit(answer.json()["authorize_url"]).query)["state"][0]

    async def connect(self, destination: dict[str, Any]) -> dict[str, Any]:
        """Take a destination through the sign-in and return it."""
        state = await self.state_of_sign_in(destination["id"])
        self.grant("code-1")
        self.advertisers.visible.add((destination["region"], destination["advertiser_id"]))
        answer = await self.back(state=state, code="code-1", json=True)
        assert answer.status_code == 200, answer.text
        return (await self.call("GET", f"/destinations/{destination['id']}")).json()

    def grant(self, code: str) -> None:
        """Let Amazon give tokens for a code."""
        self.sign_in.codes[code] = Tokens(ACCESS, REFRESH, 3600)

    async def back(self, *, json: bool = False, html: bool = False, **query: str) -> httpx.Response:
        """Come back from Amazon, without any key."""
        accept = "application/json" if json else "text/html" if html else "*/*"
        return await self.call(
            "GET", "/oauth/amazon/callback", key=None, headers={"Accept": accept}, params=query
        )

    async def pages(self, path: str, *, limit: int = 2) -> list[Any]:
        """Return the items of all pages of a list."""
        found: list[Any] = []
        cursor = ""
        while cursor is not None:
            params = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
            page = (await self.call("GET", path, params=params)).json()
            assert set(page) >= {"items", "next_cursor"}
            assert len(page["items"]) <= limit
            found += page["items"]
            cursor = page["next_cursor"]
        return found

    async def key(self, *scopes: str, **limits: Any) -> str:
        """Make a key and return it."""
        answer = await self.call("POST", "/keys", {"name": "a key", "scopes": list(scopes), **limits})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    async def pass_time(self, seconds: float) -> None:
        """Let time pass for the application, with what its process does in the background."""
        for _ in range(int(seconds / REFRESH_SECONDS)):
            self.elapsed += REFRESH_SECONDS
            await self.app.state.key_ring.refresh()
            await self.app.state.organisations.refresh()

    async def sql(self, statement: str, **values: Any) -> Any:
        """Run a statement and return its rows, if it has any."""
        async with self.engine.begin() as connection:
            found = await connection.execute(text(statement), values)
            return found.all() if found.returns_rows else None

    async def actions(self) -> list[str]:
        """Return what the audit says was done, oldest first."""
        return [row.action for row in await self.sql("SELECT action FROM audit ORDER BY id")]


def counted(registry: CollectorRegistry, name: str, **labels: str) -> float:
    """Return the value of a metric of the service, without its prefix; 0 before its first sample."""
    return registry.get_sample_value(f"amazon_conversions_{name}", labels) or 0.0


def statements_of(world: ApiWorld) -> list[str]:
    """Return a list that gets every statement of the application."""
    executed: list[str] = []
    engine = world.context.engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *given: executed.append(given[2]))
    return executed


def cache_queries(statements: list[str]) -> list[str]:
    """Return those that read keys or organisations for the caches."""
    parts = ("FROM api_keys WHERE api_keys.digest", "FROM organisations WHERE organisations.id")
    return [
        statement for statement in statements if any(part in " ".join(statement.split()) for part in parts)
    ]


DESTINATION = {"name": "Acme US", "advertiser_id": "580123456789", "region": "NA", "currency": "USD"}
MAPPING = {
    **DOCUMENT,
    "fields": {"event_timestamp": {"path": "event.timestamp"}, "email": {"path": "user.email"}},
}
EVENT = {
    "event_id": "ord-1001",
    "event": {"name": "addToCart", "timestamp": "2026-11-24T11:00:00Z", "properties": {"brand": "acme"}},
    "user": {"email": "ada@example.com"},
}


@dataclass(frozen=True)
class EnginePool:
    """Lends the driver's connections of an engine: few pages of this world read the pipeline's tables."""

    engine: AsyncEngine

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[PipelineConnection]:
        async with self.engine.connect() as connection:
            # The borrower begins its own transactions.
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            yield await driver_of(connection)


def make_world(engine: AsyncEngine, limited: AsyncEngine | None = None) -> ApiWorld:
    """Return a world on an engine; the application uses `limited` where it is given."""
    sign_in, advertisers, delivery_control = FakeSignIn(), FakeAdvertisers(), FakeDeliveryControl()
    context = AppContext(
        engine=limited or engine,
        pool=EnginePool(limited or engine),  # type: ignore[arg-type]
        intake=FakeIntake(),  # type: ignore[arg-type]
        vault=Vault([NamedKey("test", b"k" * 32)]),
        sign_in=sign_in,
        find_advertiser=advertisers,
        send_conversions=None,  # type: ignore[arg-type]  # tests/incidents/test_marked_conversions.py
        delivery_control=delivery_control,  # type: ignore[arg-type]
        readiness=Readiness(EnginePool(limited or engine), lambda: world.elapsed),  # type: ignore[arg-type]
        public_url=PUBLIC,
        development=True,
        bootstrap_key_digest=hashlib.sha256(BOOTSTRAP.encode()).digest(),
        pepper=b"pepper",
        now=lambda: world.now,
        monotonic=lambda: world.elapsed,
    )
    app = create_application(context)
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    client = httpx.AsyncClient(
        transport=transport, base_url="http://testserver", event_hooks={"response": [check_responses(app)]}
    )
    world = ApiWorld(engine, sign_in, advertisers, delivery_control, context, client, app)
    return world
