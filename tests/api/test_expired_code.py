"""A code that grew older than Amazon lets it: the real client against the sandbox, whose clock moves on."""

from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from app.amazon.tokens import SignIn
from sandbox import create_sandbox
from tests.api.world import PUBLIC, ApiWorld, make_world

CLIENT = "amzn1.application-oa2-client.tests"


class Clock:
    """The sandbox's clock; the product's own stands still."""

    now = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("minutes", "status"), [pytest.param(4.9, 303, id="in time"), pytest.param(5.1, 400, id="too late")]
)
async def test_a_code_is_good_for_five_minutes(engine: AsyncEngine, minutes: float, status: int) -> None:
    """Then a page says to begin again, and the destination is a draft as before."""
    clock = Clock()
    sandbox = httpx.ASGITransport(create_sandbox(clock=clock, monotonic=clock))
    sign_in = SignIn(
        CLIENT, SecretStr("secret"), f"{PUBLIC}/oauth/amazon/callback", "http://amazon.test", sandbox
    )
    world = over(engine, sign_in)
    made = await world.create_destination()
    url = (await world.call("POST", f"/destinations/{made['id']}/connect")).json()["authorize_url"]
    parts = urlsplit(url)
    async with httpx.AsyncClient(transport=sandbox, base_url="http://amazon.test") as browser:
        form = {**dict(parse_qsl(parts.query)), "decision": "allow"}
        allowed = await browser.post(parts.path, data=form)
    back = {name: one for name, (one,) in parse_qs(urlsplit(allowed.headers["location"]).query).items()}
    clock.now += minutes * 60
    world.advertisers.visible.add(("NA", made["advertiser_id"]))
    answer = await world.back(html=True, state=back["state"], code=back["code"])
    assert answer.status_code == status, answer.text
    now = (await world.call("GET", f"/destinations/{made['id']}")).json()
    assert (now["state"], now["connected"]) == (("connected", True) if status == 303 else ("draft", False))
    if status == 400:
        assert "works once and for five minutes" in answer.text
        assert f"/console/destinations/{made['id']}" in answer.text
        assert back["code"] not in answer.text
        assert await world.sql("SELECT * FROM sign_ins") == []
    await world.client.aclose()


def over(engine: AsyncEngine, sign_in: SignIn) -> ApiWorld:
    """Return a world whose sign-in is Amazon's client itself."""
    world = make_world(engine)
    world.app.state.context = replace(world.context, sign_in=sign_in)
    return world
