"""The ops team of a campaign: the admin API and the sign-in page, through whatever trouble there is."""

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.crashes.evidence import Sample
from tests.pipeline import rows

MAPPING: dict[str, Any] = {
    **rows.MAPPING,
    "fields": {"event_timestamp": {"path": "event.timestamp"}, "email": {"path": "user.email"}},
    "custom_data": [{"name": "brand", "path": "event.properties.brand"}],
}
# Destinations of which Amazon gets an `eventId` from the event.
WITH_MAPPED_ID: dict[str, Any] = {**MAPPING, "fields": {**MAPPING["fields"], "event_id": {"path": "order"}}}


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination of a run."""

    number: str
    advertiser: str
    mapping: str
    maps_event_id: bool

    @property
    def path(self) -> str:
        return f"/destinations/{self.number}"

    def amazon_id(self, event_id: str) -> str:
        """Return the Amazon `eventId` of an event (interface §2)."""
        if self.maps_event_id:
            return order(event_id)
        text = "\n".join((self.number, self.mapping, MAPPING["event_type"]))
        return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}:{event_id}"


def order(event_id: str) -> str:
    """Return the order that an event carries; the stand-ins read the event id after the colon."""
    return f"order:{event_id}"


@dataclass
class Administrator:
    """Repeats requests until a response; `unexpected` are responses that must not occur."""

    api: str
    amazon: str
    key: str
    unexpected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._client = httpx.AsyncClient(
            base_url=self.api,
            headers={"Authorization": f"Bearer {self.key}", "Accept": "application/json"},
            timeout=40,
            trust_env=False,
        )
        self._sandbox = httpx.AsyncClient(base_url=self.amazon, timeout=20, trust_env=False)

    async def close(self) -> None:
        await self._client.aclose()
        await self._sandbox.aclose()

    async def ask(
        self, method: str, path: str, *, patience: float = 90, timeout: float = 40, **more: Any
    ) -> httpx.Response:
        """Ask until something other than trouble is answered."""
        until = time.monotonic() + patience
        while True:
            try:
                answer = await self._client.request(method, path, timeout=timeout, **more)
                if answer.status_code < 500 and answer.status_code != 429:
                    return answer
                trouble = str(answer.status_code)
                if answer.status_code == 500:
                    self.unexpected.append(f"{method} {path} answered 500")
            except httpx.HTTPError as lost:
                trouble = type(lost).__name__
            if time.monotonic() > until:
                raise AssertionError(f"{method} {path}: {trouble} for {patience:.0f} s")
            await asyncio.sleep(0.25)

    async def create(self, name: str, advertiser: str) -> Destination:
        """Create, sign in, map and publish a destination."""
        account = {"name": name, "advertiser_id": advertiser, "region": "NA"}
        await self._sandbox.post("/_sandbox/advertisers", json={"advertisers": [account]})
        pace = {"requests_per_second": 50, "burst": 20}
        form = {**account, "currency": "USD", "rate_limit": pace}
        made = await self.ask("POST", "/destinations", json=form)
        path = f"/destinations/{made.json()['id']}"
        maps_event_id = int(advertiser) % 2 == 1
        document = WITH_MAPPED_ID if maps_event_id else MAPPING
        mapping = (await self.ask("POST", f"{path}/mappings", json=document)).json()["id"]
        destination = Destination(made.json()["id"], advertiser, mapping, maps_event_id)
        published = await self.ask("POST", f"{path}/mappings/{mapping}/publish")
        assert published.status_code == 200, published.text
        await self.sign_in(destination)
        return destination

    async def sign_in(self, destination: Destination, *, patience: float = 90) -> None:
        """Click Allow, until the destination says that it is connected."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            started = await self.ask("POST", f"{destination.path}/connect")
            address = httpx.URL(started.json()["authorize_url"])
            try:
                allowed = await self._sandbox.post(
                    f"{address.path}?{address.query.decode()}",
                    data={"decision": "allow", "advertiser_id": destination.advertiser},
                )
                back = httpx.URL(allowed.headers["location"])
                done = await self._client.get(back.raw_path.decode())
                if done.status_code == 200:
                    return
            except (httpx.HTTPError, KeyError):
                pass
            await asyncio.sleep(0.3)
        raise AssertionError("no sign-in succeeded")

    async def state(self, destination: Destination) -> str:
        return str((await self.ask("GET", destination.path, timeout=8)).json()["state"])

    async def sample(self, destination: Destination, *, patience: float = 0.0) -> Sample | None:
        """Read the counts once, or as often as it takes; None when they could not be read."""
        try:
            answer = await self.ask("GET", f"{destination.path}/stats", patience=patience, timeout=5)
        except AssertionError:
            return None
        return Sample(destination.number, time.time(), answer.json()["counts"])

    async def listed(self, destination: Destination) -> dict[str, list[str]]:
        """Return what the API lists: the statuses under each event id."""
        found: dict[str, list[str]] = {}
        cursor = None
        while True:
            query = {"limit": "200", **({"cursor": cursor} if cursor else {})}
            page = (await self.ask("GET", f"{destination.path}/events", params=query)).json()
            for item in page["items"]:
                found.setdefault(item["event_id"], []).append(item["status"])
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    async def faults(self, advertiser: str, faults: Sequence[Mapping[str, Any]]) -> None:
        """Replace the faults of an advertiser, or of everyone (`*`)."""
        for again in (True, True, False):
            try:
                if faults:
                    body = {"advertiser_id": advertiser, "faults": list(faults)}
                    answer = await self._sandbox.post("/_sandbox/faults", json=body)
                else:
                    answer = await self._sandbox.delete(
                        "/_sandbox/faults", params={"advertiser_id": advertiser}
                    )
                break
            except httpx.RemoteProtocolError:
                # A kept connection that the stand-in closed in the same moment.
                if not again:
                    raise
        assert answer.is_success, answer.text
