"""A sandbox with a clock of its own, and a caller that has signed in to it."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from sandbox import create_sandbox
from tests.clock import Clock
from tests.listening import serving_in_a_thread

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
CLIENT = "amzn1.application-oa2-client.tests"
RETURN_TO = "http://product.example:8000/oauth/amazon/callback"
ADVERTISERS = {"na": "1000000001", "eu": "2000000001", "fe": "3000000001"}


@dataclass
class Caller:
    """Speak to a sandbox as the product does: sign in, then send events for one advertiser."""

    http: httpx.AsyncClient
    region: str = "na"
    advertiser_id: str = ""
    client_id: str = CLIENT
    tokens: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.advertiser_id = self.advertiser_id or ADVERTISERS[self.region]

    def ask(self, **changes: str) -> dict[str, str]:
        """The authorisation request, with some fields changed; an empty string leaves one out."""
        fields = {
            "client_id": self.client_id,
            "scope": "advertising::campaign_management",
            "response_type": "code",
            "redirect_uri": RETURN_TO,
            "state": "state-1",
        }
        return {name: value for name, value in (fields | changes).items() if value}

    async def code(self, **changes: str) -> str:
        answer = await self.http.post(
            f"/{self.region}/ap/oa", data=self.ask(**changes) | {"decision": "allow"}
        )
        return httpx.URL(answer.headers["location"]).params["code"]

    async def token(self, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        form = {"client_id": self.client_id, "client_secret": "secret"} | fields
        sent = {name: value for name, value in form.items() if value}
        return await self.http.post(f"/{self.region}/auth/o2/token", data=sent, headers=headers)

    async def redeem(self, code: str, **fields: str) -> httpx.Response:
        return await self.token(
            **({"grant_type": "authorization_code", "code": code, "redirect_uri": RETURN_TO} | fields)
        )

    async def refresh(self, **fields: str) -> httpx.Response:
        given = {"grant_type": "refresh_token", "refresh_token": self.tokens["refresh_token"]}
        return await self.token(**(given | fields))

    async def sign_in(self) -> "Caller":
        self.tokens = (await self.redeem(await self.code())).json()
        return self

    def headers(self, **changes: str) -> dict[str, str]:
        """The headers of the events call; underscores stand for dashes, an empty string leaves one out."""
        given = {
            "authorization": f"Bearer {self.tokens['access_token']}",
            "amazon-ads-clientid": self.client_id,
            "amazon-ads-accountid": self.advertiser_id,
            "content-type": "application/json",
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        return {name: value for name, value in given.items() if value}

    async def send(self, *events: Any, **headers: str) -> httpx.Response:
        return await self.http.post(
            f"/{self.region}/adsApi/v1/create/events",
            json={"events": list(events)},
            headers=self.headers(**headers),
        )

    async def send_bytes(self, body: bytes, **headers: str) -> httpx.Response:
        return await self.http.post(
            f"/{self.region}/adsApi/v1/create/events", content=body, headers=self.headers(**headers)
        )

    async def fault(self, *faults: dict[str, Any], advertiser_id: str | None = None) -> None:
        body = {"advertiser_id": advertiser_id or self.advertiser_id, "faults": list(faults)}
        answer = await self.http.post("/_sandbox/faults", json=body)
        assert answer.status_code == 201, answer.text

    async def accepted(self, **query: str) -> dict[str, Any]:
        return dict((await self.http.get("/_sandbox/events", params={"limit": "10000"} | query)).json())

    async def requests(self) -> list[dict[str, Any]]:
        answer = await self.http.get("/_sandbox/requests", params={"limit": "10000"})
        return list(answer.json()["items"])


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def sandbox(clock: Clock) -> ASGIApp:
    return create_sandbox(clock=clock, monotonic=clock)


@pytest.fixture
async def http(sandbox: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(sandbox), base_url="http://sandbox.example"
    ) as client:
        yield client


@pytest.fixture
async def caller(http: httpx.AsyncClient) -> Caller:
    """Someone signed in to the North American region."""
    return await Caller(http).sign_in()


@pytest.fixture
async def european(http: httpx.AsyncClient) -> Caller:
    """Someone signed in to the European region."""
    return await Caller(http, "eu").sign_in()


@pytest.fixture
def a_caller() -> Callable[..., Caller]:
    """Make callers by hand."""
    return Caller


@pytest.fixture
def event() -> Callable[..., dict[str, Any]]:
    """Make a valid event of noon that day, with some members changed."""

    def build(event_id: str = "order-1", **changes: Any) -> dict[str, Any]:
        return {
            "eventDescription": {
                "name": "Order Completed",
                "conversionType": "OFF_AMAZON_PURCHASES",
                "eventSource": "WEBSITE",
                "eventIngestionMethod": "SERVER_TO_SERVER",
                "dataSetName": "Default_Events",
            },
            "countryCode": "US",
            "eventTime": "2026-11-24T12:00:00Z",
            "matchKeys": [{"type": "EMAIL", "values": ["0123456789abcdef" * 4]}],
            "value": 99.99,
            "currencyCode": "USD",
            "unitsSold": 2,
            "eventId": event_id,
            "consent": {"amazonConsent": {"amznUserData": "GRANTED", "amznAdStorage": "GRANTED"}},
            "customData": [{"name": "brand", "value": "acme"}],
        } | changes

    return build


@pytest.fixture(params=["httptools", "h11"])
def served(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a sandbox behind a real uvicorn, once for each of its HTTP implementations."""
    config = uvicorn.Config(
        create_sandbox(clock=Clock(NOON)),
        http=request.param,
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    with serving_in_a_thread(config) as address:
        yield address


@pytest.fixture
async def context(served: str) -> AsyncIterator[Caller]:
    """Someone signed in over real connections."""
    async with httpx.AsyncClient(base_url=served, timeout=5) as client:
        yield await Caller(client).sign_in()
