"""Hostile values of every parameter of every public route, with a started sign-in: never a 500."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import msgspec
import pytest

from app.api.access.secured_route import scopes_of
from app.console.access.sign_in import _PLACE, _Pending
from app.domain.sign_in import Logout, OidcFailure
from app.oidc_client import OidcClient
from tests.api.world import STREAMS, ApiWorld
from tests.console.identity_provider import ISSUER, Provider

VALUES = ("", "%C3%A9", "%ff", "%00", "%ED%A0%80", "a" * 400, "9" * 5_000, "%E2%80%AE", "[]", "'\"<")
FIELDS = ("key", "next", "logout_token")
STATE = "the-state-of-a-started-sign-in"


@dataclass
class NoPeople:
    """A provider that knows no one."""

    async def authorization_url(self, **values: Any) -> str:
        return "https://people.example.com/authorize"

    async def exchange(self, code: str, **values: Any) -> OidcFailure:
        return OidcFailure("code_refused")

    async def logout_of(self, token: str) -> Logout | OidcFailure:
        client = OidcClient(ISSUER, "console", None, "", transport=httpx.MockTransport(Provider()))
        return await client.logout_of(token)

    async def logout_url(self, **values: Any) -> None:
        return None


def addresses(world: ApiWorld) -> Iterator[tuple[str, str, str]]:
    """Yield (method, address, form) with each value in each parameter, the others as they should be."""
    for route in world.app.routes:
        if scopes_of(route.endpoint) or route.path in STREAMS:
            continue
        names = [parameter.alias for parameter in route.dependant.query_params]
        path, placeholder, _ = route.path.partition("{")
        for method in sorted(route.methods):
            if method == "POST":
                yield from ((method, path, f"{name}={value}") for name in FIELDS for value in VALUES)
            if placeholder:
                yield from ((method, path + value, "") for value in VALUES)
            for name in names:
                for value in VALUES:
                    query = dict.fromkeys(names, STATE) | {name: value}
                    yield method, f"{path}?{'&'.join(f'{key}={text}' for key, text in query.items())}", ""


def started_sign_in(world: ApiWorld) -> str:
    """Configure the provider; return the cookie of a started sign-in."""
    context = replace(world.context, people=NoPeople())  # type: ignore[arg-type]
    world.app.state.context = context
    pending = _Pending(STATE, "nonce", "verifier" * 8, "/console", False, world.now.timestamp() + 500)
    sealed = context.vault.seal(msgspec.json.encode(pending), place=_PLACE)
    return f"__Host-oidc={base64.urlsafe_b64encode(sealed).decode()}"


async def test_no_value_of_a_public_parameter_is_an_internal_error(world: ApiWorld) -> None:
    """The cookie of a started sign-in lets the callback compare its state."""
    cookie = started_sign_in(world)
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://testserver"}
    tried = 0
    for method, address, body in addresses(world):
        headers = {"Cookie": cookie, **(form if method == "POST" else {})}
        answer = await world.client.request(method, address, content=body.encode(), headers=headers)
        assert answer.status_code not in (500, 501), (method, address)
        tried += 1
    assert tried > 100


@pytest.mark.parametrize(("state", "status"), [(STATE, 403), ("%C3%A9", 400), ("%ff", 400)])
async def test_the_callback_compares_any_state(world: ApiWorld, state: str, status: int) -> None:
    """The right state reaches the provider; another is refused, whatever its letters."""
    cookie = started_sign_in(world)
    answer = await world.client.get(
        f"/console/oidc/callback?state={state}&code=x", headers={"Cookie": cookie, "Accept": "text/html"}
    )
    assert answer.status_code == status, answer.text
