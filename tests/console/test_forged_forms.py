"""Forms that another site sends with the cookie of a signed-in person, and sign-ins that it starts.

The act is to create a key: it needs the role admin, and its row in the audit shows that it was done. Tests of
a form also send the genuine form, which creates one.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx
import pytest

from tests.api.world import PUBLIC, ApiWorld
from tests.console.test_sessions import COOKIE, csrf, sign_in
from tests.console.test_sessions_of_people import Signing, signing

__all__ = ["signing"]  # a fixture
KEYS: Final = "/console/keys"
FORM: Final = {"name": "forged", "purpose": "journey"}
HOST: Final = PUBLIC.removeprefix("https://")


@pytest.fixture(autouse=True)
def _as_in_production(world: ApiWorld) -> None:
    """In development, the browser may use another name of the host."""
    world.app.state.context = replace(world.app.state.context, development=False)


async def created(world: ApiWorld) -> int:
    return (await world.actions()).count("key.created")


async def begin(world: ApiWorld) -> tuple[str, int]:
    """Sign in; return the token of the session, and how many keys there are."""
    await sign_in(world)
    return await csrf(world), await created(world)


async def refused(world: ApiWorld, answer: httpx.Response, before: int, name: str = "") -> None:
    assert await created(world) == before, (name, answer.status_code)
    assert answer.status_code >= 400 or "csrf" in answer.headers.get("location", "sign-in csrf")


async def genuine(world: ApiWorld, token: str) -> None:
    before = await created(world)
    await world.client.post(KEYS, data=FORM | {"csrf": token})
    assert await created(world) == before + 1


ORIGINS: Final = [
    "",
    "null",
    f"http://{HOST}",
    f"https://{HOST}:444",
    f"https://{HOST}/",
    f"https://{HOST}.evil.example",
    f"https://evil-{HOST}",
    f"https://evil.example#{PUBLIC}",
    f"https://{HOST}@evil.example",
    f"{PUBLIC} https://evil.example",
    f" {PUBLIC}x",
]


async def test_a_form_of_another_origin_is_refused(world: ApiWorld) -> None:
    """Although it carries the right token. Neither Host nor Referer nor headers of proxies help."""
    token, before = await begin(world)
    for origin in ORIGINS:
        proxied = {"X-Forwarded-Host": origin or HOST, "X-Forwarded-Proto": "http"}
        for more in ({}, {"Referer": PUBLIC + KEYS}, proxied):
            headers = {"Origin": origin, **more}
            answer = await world.client.post(KEYS, data=FORM | {"csrf": token}, headers=headers)
            assert answer.status_code == 403, origin
    assert await created(world) == before
    await genuine(world, token)


@pytest.mark.parametrize("foreign_first", [True, False])
async def test_two_origins_are_refused(world: ApiWorld, foreign_first: bool) -> None:
    token, before = await begin(world)
    origins = ["https://evil.example", PUBLIC] if foreign_first else [PUBLIC, "https://evil.example"]
    body = urlencode(FORM | {"csrf": token})
    headers = [("Content-Type", "application/x-www-form-urlencoded"), *(("Origin", each) for each in origins)]
    request = httpx.Request("POST", PUBLIC + KEYS, content=body, headers=headers)
    request.headers["Cookie"] = f"{COOKIE}={world.client.cookies[COOKIE]}"
    await refused(world, await world.client.send(request), before)
    await genuine(world, token)


def form_bodies(token: str) -> Mapping[str, dict[str, Any]]:
    """Return the requests of a page that knows the token but not where it belongs, or does not know it."""
    with_token = FORM | {"csrf": token}
    plain = urlencode(with_token)
    return {
        "no token": {"data": FORM},
        "an empty token": {"data": FORM | {"csrf": ""}},
        "another name of the field": {"data": FORM | {"CSRF": token}},
        "an array": {"data": FORM | {"csrf[]": token}},
        "in upper case": {"data": FORM | {"csrf": token.upper()}},
        "half of it": {"data": FORM | {"csrf": token[:32]}},
        "twice as long": {"data": FORM | {"csrf": token * 2}},
        "with a zero byte": {"data": FORM | {"csrf": token + "\0"}},
        "not ASCII": {"data": FORM | {"csrf": "é" * 64}},
        "in the query": {"data": FORM, "params": {"csrf": token}},
        "in a header": {"data": FORM, "headers": {"X-CSRF-Token": token}},
        "in a cookie": {"data": FORM, "headers": {"Cookie": f"csrf={token}"}},
        "as a file": {"data": FORM, "files": {"csrf": ("csrf", token)}},
        "as JSON": {"json": with_token},
        "as text": {"content": plain, "headers": {"Content-Type": "text/plain"}},
        "without a type": {"content": plain},
        "as another type": {
            "content": plain,
            "headers": {"Content-Type": "application/x-www-form-urlencoded-2"},
        },
        "a wrong token behind it": {"content": f"{plain}&csrf={'0' * 64}", "headers": FORM_TYPE},
    }


FORM_TYPE: Final = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_a_form_without_the_token_in_its_place_is_refused(world: ApiWorld) -> None:
    """The origin is right, as if a script of another origin could choose it."""
    token, before = await begin(world)
    for name, request in form_bodies(token).items():
        if "Cookie" in request.get("headers", {}):
            request["headers"]["Cookie"] += f"; {COOKIE}={world.client.cookies[COOKIE]}"
        await refused(world, await world.client.post(KEYS, **request), before, name)
    await genuine(world, token)


async def test_a_token_of_another_session_is_refused(world: ApiWorld) -> None:
    """Also that of an earlier session of the same key, and that of a session that has ended."""
    await sign_in(world)
    earlier = await csrf(world)
    token, before = await begin(world)
    assert token != earlier
    await refused(world, await world.client.post(KEYS, data=FORM | {"csrf": earlier}), before)
    await genuine(world, token)


async def test_another_method_does_nothing(world: ApiWorld) -> None:
    """Nor with a header or a field that names the method POST. A GET needs no token."""
    token, before = await begin(world)
    methods = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
    overrides = [{f"X-{name}Method-Override": "POST"} for name in ("HTTP-", "")]
    addresses = (KEYS, f"{KEYS}?{urlencode(FORM | {'csrf': token, '_method': 'POST'})}")
    for method, headers, address in product(methods, [{}, *overrides], addresses):
        await world.client.request(method, address, headers=headers, data=FORM | {"csrf": token})
    assert await created(world) == before
    await genuine(world, token)


COOKIES: Final = {
    "in upper case": "__HOST-CONSOLE={0}",
    "with a letter more": COOKIE + "={0}a",
    "inside another cookie": "a=b" + COOKIE + "={0}",
}


async def test_another_cookie_is_no_session(world: ApiWorld) -> None:
    token, before = await begin(world)
    session = world.client.cookies[COOKIE]
    for name, cookie in COOKIES.items():
        async with httpx.AsyncClient(transport=world.client._transport, base_url=PUBLIC) as other:
            headers = {"Origin": PUBLIC, "Cookie": cookie.format(session)}
            answer = await other.post(KEYS, data=FORM | {"csrf": token}, headers=headers)
        assert answer.headers["location"].startswith("/console/sign-in"), name
    assert await created(world) == before
    await genuine(world, token)


async def test_the_cookie_of_the_console_opens_no_route_of_the_api(world: ApiWorld) -> None:
    """So no other site can use it there: the API checks no origin."""
    await sign_in(world)
    before = await created(world)
    for headers in ({}, {"Authorization": f"Bearer {world.client.cookies[COOKIE]}"}):
        for address in ("/keys", "/subjects/erase", "/destinations"):
            answer = await world.client.post(
                address, json={"name": "x", "scopes": ["events:write"]}, headers=headers
            )
            assert answer.status_code == 401
    assert await created(world) == before


async def test_a_sign_in_belongs_to_the_browser_that_started_it(signing: Signing) -> None:
    """Neither the state nor the cookie nor the code of another browser completes it, in any combination."""
    victim, attacker = signing.browser(), signing.browser()
    theirs = await signing.start(victim)
    own = await signing.start(attacker)  # the provider's next token has the nonce of this one
    path = "/console/oidc/callback"
    for state in (own, quote(own), f"{theirs[:-1]}x", theirs.swapcase(), ""):
        await victim.get(path, params={"state": state, "code": "c"})
        assert not await signing.is_signed_in(victim)
    # The attacker's code in the victim's sign-in: its token has another nonce.
    await victim.get(path, params={"state": theirs, "code": "c"})
    assert not await signing.is_signed_in(victim)
    await attacker.get(path, params={"state": own, "code": "c"})
    assert await signing.is_signed_in(attacker)


async def test_a_sign_in_ends_once_and_in_ten_minutes(signing: Signing) -> None:
    """A second callback, a late one, one with an error, and one with another cookie are refused."""
    browser, path = signing.browser(), "/console/oidc/callback"
    state = await signing.start(browser)
    assert (await browser.get(path, params={"state": state, "code": "c", "error": "x"})).status_code == 403
    state = await signing.start(browser)
    assert (await browser.get(path, params={"state": state, "code": "c"})).status_code == 303
    assert (await browser.get(path, params={"state": state, "code": "c"})).status_code == 400
    late = signing.browser()
    state = await signing.start(late)
    pending = late.cookies["__Host-oidc"]
    signing.world.elapsed += 601
    for cookie in (pending[:-4] + "AAAA", pending[4:], pending + pending, "a" * 300, browser.cookies[COOKIE]):
        headers = {"Cookie": f"__Host-oidc={cookie}"}
        answer = await signing.browser().get(path, params={"state": state, "code": "c"}, headers=headers)
        assert answer.status_code == 400
