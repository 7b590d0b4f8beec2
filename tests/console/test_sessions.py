"""Sessions: a key exchanged for a cookie, its limits, its end; and what each role may reach."""

import re
from collections.abc import AsyncIterator
from time import process_time

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin import Scope
from app.api.access.secured_route import scopes_of
from app.console.access.sessions import safe_next
from app.console.router import MODULES
from app.console.visits import SecuredPage
from tests.api.world import BOOTSTRAP, PUBLIC, ApiWorld, make_world

PAGE = {"Accept": "text/html"}
COOKIE = "__Host-console"
ROUTES = [
    (route.path, method, scopes_of(route.endpoint))
    for module in MODULES
    for route in module.router.routes
    if isinstance(route, SecuredPage)
    for method in sorted(route.methods or ())
]
LOCKED = [route for route in ROUTES if route[2]]
WRITES = [route for route in LOCKED if route[1] == "POST"]


def new_browser(transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    """Return a browser that is not signed in."""
    return httpx.AsyncClient(transport=transport, base_url=PUBLIC, headers={**PAGE, "Origin": PUBLIC})


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncIterator[ApiWorld]:
    """The web, assembled, reached over https as in production."""
    made = make_world(engine)
    made.client = new_browser(made.client._transport)
    yield made
    await made.client.aclose()


async def sign_in(world: ApiWorld, key: str = BOOTSTRAP, **form: str) -> httpx.Response:
    return await world.client.post("/console/sign-in", data={"key": key, **form})


async def csrf(world: ApiWorld) -> str:
    page = (await world.client.get("/console/settings")).text
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert found is not None
    return found[1]


async def submit(world: ApiWorld, path: str, **fields: str) -> httpx.Response:
    """Send a form of the console."""
    return await world.client.post(path, data={"csrf": await csrf(world), **fields})


async def test_a_key_is_exchanged_for_a_cookie_that_scripts_cannot_read(world: ApiWorld) -> None:
    """Held to this host, over TLS, not read by scripts, not sent with other sites' forms; no key in it."""
    answer = await sign_in(world, next="/console/keys")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/keys")
    cookies = answer.headers.get_list("set-cookie")
    (cookie,) = [one for one in cookies if one.startswith(COOKIE) and "Max-Age=0" not in one]
    assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert BOOTSTRAP not in cookie
    (row,) = await world.sql("SELECT digest FROM console_sessions")
    assert cookie.split("=", 1)[1].split(";")[0].encode() not in bytes(row.digest)


async def test_a_wrong_key_opens_nothing(world: ApiWorld) -> None:
    """And says so on the page, without the key in it."""
    answer = await sign_in(world, "not-a-key-of-anybody")
    assert answer.status_code == 401
    assert "Invalid or revoked key" in answer.text
    assert "not-a-key-of-anybody" not in answer.text
    assert not world.client.cookies


CHARSETS = {
    **dict.fromkeys(("; charset=UTF-8", "; charset=utf8", "", "; charset*=utf-8''punycode"), 401),
    "; charset*0=puny; charset*1=code": 401,
    "; CHARSET=punycode": 415,
    **{f"; charset={name}": 415 for name in ("punycode", "undefined", "unicode_escape", "utf-16", "latin-1")},
}


@pytest.mark.parametrize("path", ["/console/sign-in", "/console/oidc/back-channel-logout"])
async def test_a_form_is_in_utf_8(world: ApiWorld, path: str) -> None:
    """Anybody can send these. Of punycode, 200 KB stopped the process for eight seconds."""
    body = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\na-%b\r\n--x--\r\n' % (b"a" * 200_000)
    for charset, status in CHARSETS.items():
        headers = {"Content-Type": f"multipart/form-data; boundary=x{charset}"}
        began = process_time()
        answer = await world.client.post(path, content=body, headers=headers)
        expected = 404 if status == 401 and path.endswith("logout") else status  # there is no provider
        assert answer.status_code == expected, (charset, answer.text)
        assert process_time() - began < 1, charset


@pytest.mark.parametrize("form", [{"key": "a\0"}, {"key": "a", "no\0te": ""}])
async def test_a_form_with_the_character_nul_is_refused(world: ApiWorld, form: dict[str, str]) -> None:
    """Postgres cannot store it, so a form that would be stored would end in a 500."""
    answer = await world.client.post("/console/sign-in", data=form)
    assert (answer.status_code, "contains the character NUL" in answer.text) == (400, True)


async def test_a_journeys_key_does_not_open_the_console(world: ApiWorld) -> None:
    """It may send events; the console takes reading."""
    answer = await sign_in(world, await world.key("events:write"))
    assert answer.status_code == 403
    assert "This key cannot open the console" in answer.text


async def test_signing_out_ends_the_session_here_and_in_the_browser(world: ApiWorld) -> None:
    """A copy of the cookie opens nothing afterwards."""
    await sign_in(world)
    copy = world.client.cookies[COOKIE]
    await world.client.post("/console/sign-out", data={"csrf": await csrf(world)})
    world.client.cookies.set(COOKIE, copy)
    assert (await world.client.get("/console/settings")).status_code == 303


async def test_revoking_the_key_ends_its_sessions(world: ApiWorld) -> None:
    """At the next request."""
    await sign_in(world, await world.key(*Scope))
    assert (await world.client.get("/console/settings")).status_code == 200
    await world.sql("UPDATE api_keys SET revoked_at = now()")
    assert (await world.client.get("/console/settings")).status_code == 303


async def test_another_bootstrap_key_ends_the_sessions_of_the_one_before(world: ApiWorld) -> None:
    """Replacing it in the environment is the way to lock everybody out."""
    await sign_in(world)
    await world.sql("UPDATE console_sessions SET key_digest = sha256('another')")
    assert (await world.client.get("/console/settings")).status_code == 303


@pytest.mark.parametrize(
    "aged",
    [
        "seen_at = now() - interval '31 minutes', created_at = now() - interval '31 minutes'",
        "seen_at = now(), created_at = now() - interval '12 hours 1 minute'",
    ],
    ids=["half an hour without use", "twelve hours in any case"],
)
async def test_a_session_ends_by_itself(world: ApiWorld, aged: str) -> None:
    """On the database's clock."""
    await sign_in(world)
    await world.sql(f"UPDATE console_sessions SET {aged}")
    assert (await world.client.get("/console/settings")).status_code == 303


@pytest.mark.reads_only
async def test_without_a_session_every_page_leads_to_the_sign_in(world: ApiWorld) -> None:
    """Before anything else is looked at."""
    for path, method, _ in LOCKED:
        answer = await world.client.request(method, re.sub(r"[{}]", "", path))
        location = answer.headers.get("location", "").split("?")[0]
        assert (answer.status_code, location) == (303, "/console/sign-in"), (method, path)


async def test_no_act_without_the_sessions_token_or_from_elsewhere(world: ApiWorld) -> None:
    """A form needs the token and the origin of a page of ours; one of them alone is refused."""
    await sign_in(world)
    before, token = await world.actions(), await csrf(world)
    for path, _, _ in WRITES:
        for data, origin in (
            ({}, PUBLIC),
            ({"csrf": "0" * 64}, PUBLIC),
            ({"csrf": token}, "https://elsewhere.example"),
            ({"csrf": token}, "null"),
        ):
            url = re.sub(r"[{}]", "", path)
            answer = await world.client.post(url, data=data, headers={"Origin": origin})
            assert answer.status_code == 403, (path, data, origin)
    assert await world.actions() == before


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ("/console/keys", "/console/keys"),
        ("/console/destinations/dst_1?x=1", "/console/destinations/dst_1?x=1"),
        ("https://elsewhere.example/console", "/console"),
        ("//elsewhere.example/console", "/console"),
        ("/console\\elsewhere", "/console"),
        ("/console\r\nSet-Cookie: a=b", "/console"),
        (None, "/console"),
    ],
)
def test_signing_in_never_leads_elsewhere(asked: str | None, taken: str) -> None:
    """Only to a path of the console."""
    assert safe_next(asked) == taken


async def test_every_page_has_a_policy_that_takes_nothing_inline_and_nothing_from_elsewhere(
    world: ApiWorld,
) -> None:
    """And no page brings a script or a style of its own."""
    await sign_in(world)
    for path in ("/console/sign-in", "/console/settings", "/console/keys", "/console/nowhere"):
        answer = await world.client.get(path, follow_redirects=False)
        if answer.status_code == 303:
            continue
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert not re.search(r"<script(?! src)|<style|\sstyle=|\son[a-z]+=", answer.text), path
