"""Headers, queries, paths and forms that break a parser are the caller's fault on every route: no 500."""

import base64
import itertools
import re
from dataclasses import replace

import msgspec
import pytest

from app.api.access.secured_route import scopes_of
from app.api.http.headers import address_parts
from app.api.http.query_parameters import ORGANISATION, parameters_of
from app.console.access.sign_in import _PLACE, _Pending
from tests.api.test_queries import routes, signed_in
from tests.api.world import BOOTSTRAP, PUBLIC, ApiWorld
from tests.console.identity_provider import Provider
from tests.console.test_oidc_client import client_of

BRACKET = "http://["
SETS = {
    "an address that is none": {"Origin": BRACKET, "Referer": BRACKET, "Host": "[", "If-Match": '"'},
    "a port that is none": {
        "Origin": "http://testserver:99999999999",
        "Referer": "http://[::1%zone]:x/console",
    },
    "no UTF-8": dict.fromkeys(("Origin", "Referer", "Accept", "Cookie", "If-Match"), b"\xff\xfe\x80"),
    "weights": {
        "Accept": "text/html;q=nan,application/json;q=1e999,*/*;q=;;=",
        "Accept-Encoding": "gzip;q=x",
    },
    "media types": {"Content-Type": "multipart/form-data; boundary=\xff", "Content-Encoding": "\xe9"},
    "a form without a boundary": {"Content-Type": "multipart/form-data", "Origin": "http://testserver"},
    "an odd charset": {"Content-Type": "application/x-www-form-urlencoded; charset=\x7f", "HX-Request": "1"},
    "ids": {"X-Request-Id": "\xff" * 70, "traceparent": "00-" + "z" * 40, "If-Match": "9" * 5_000},
    "cookies": {"Cookie": 'console="\\777; =; ;;; console=\xff'},
    "numbers": {"If-None-Match": "W/", "Range": "bytes=9" + "9" * 40 + "-", "If-Modified-Since": "now"},
}


@pytest.mark.campaign
async def test_no_route_breaks_on_a_hostile_header(world: ApiWorld) -> None:
    """With a key and a session, so that all of a route's reading is reached.

    What a route reads with GET is read in one place, so that each gets three of the sets in turn.
    """
    await signed_in(world)
    tried, sets = 0, itertools.cycle(SETS.items())
    for method, address, route in routes(world):
        for name, headers in itertools.islice(sets, 3 if method == "GET" else len(SETS)):
            answer = await world.client.request(
                method,
                re.sub("/x", "/dst_00000000000000000000", address),
                content=b"a=b" if method in ("POST", "PATCH") else None,
                headers=[
                    (b"authorization", f"Bearer {BOOTSTRAP}".encode()),
                    *(
                        (n.encode(), v if isinstance(v, bytes) else v.encode("latin-1"))
                        for n, v in headers.items()
                    ),
                ],
            )
            fine = answer.status_code < 500 or (route.path == "/health/ready" and answer.status_code == 503)
            assert fine, (method, address, name, answer.text[:200])
            tried += 1
    assert tried > 250


VALUES = ("", "%00", "%ff%fe", "%ED%A0%80", "9" * 5_000, "1e999", "MQ MQ")
FIELDS = ("key", "next", "logout_token")  # of the forms without a key
STATE = "the-state-of-a-started-sign-in"


def started_sign_in(world: ApiWorld) -> str:
    """Configure a provider whose tokens have another nonce; return the cookie of a started sign-in."""
    context = replace(world.context, people=client_of(Provider(nonce="another")))
    world.app.state.context = context
    pending = _Pending(STATE, "nonce", "verifier" * 8, "/console", False, world.now.timestamp() + 500)
    sealed = context.vault.seal(msgspec.json.encode(pending), place=_PLACE)
    return f"__Host-oidc={base64.urlsafe_b64encode(sealed).decode()}"


@pytest.mark.campaign
async def test_no_route_breaks_on_a_hostile_query_or_path(world: ApiWorld) -> None:
    """Each declared parameter with each value, and each value as every id of the path.

    The cookie of a started sign-in lets the callback compare its state.
    """
    await signed_in(world)
    world.client.cookies.set(*started_sign_in(world).split("=", 1))
    made = await world.create_destination()
    tried = 0
    for method, address, route in routes(world):
        if route.path == "/health/ready":
            continue
        declared = parameters_of(route.dependant, route.endpoint).names
        declared -= {ORGANISATION} if tried else set()  # read in one place, before the route
        named = re.sub("^(.*/destinations)/x", rf"\1/{made['id']}", address)
        targets = [f"{named}?{name}={value}" for name in sorted(declared) for value in VALUES]
        targets += [re.sub("/x(?=/|$)", f"/{value}", address) for value in VALUES if "{" in route.path]
        for one in targets if method == "GET" else targets[:3]:
            answer = await world.call(method, one)
            assert answer.status_code < 500, (method, one, answer.text[:200])
            tried += 1
        if method == "POST" and not scopes_of(route.endpoint):
            for one in (f"{name}={value}" for name in FIELDS for value in VALUES):
                headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": PUBLIC}
                answer = await world.client.request(method, named, content=one, headers=headers)
                assert answer.status_code < 500, (named, one)
    assert tried > 300


@pytest.mark.reads_only
@pytest.mark.parametrize("header", ["Origin", "Referer"])
async def test_an_address_that_is_none_is_from_elsewhere(world: ApiWorld, header: str) -> None:
    """Signing in from it is refused; signing out leads to the sign-in page as without one."""
    answer = await world.client.post("/console/sign-in", data={"key": BOOTSTRAP}, headers={header: BRACKET})
    assert answer.status_code == 403
    answer = await world.client.post("/console/sign-out", headers={header: BRACKET})
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/console/sign-in?unsent=true&next=/console",
    )


def test_parts_of_what_is_no_address_are_empty() -> None:
    """The one place where a caller's address is split."""
    assert address_parts(BRACKET).netloc == ""
    assert address_parts("https://a.example:1/b?c").netloc == "a.example:1"


async def test_a_row_number_of_five_thousand_digits_is_no_row(world: ApiWorld) -> None:
    """A form's field names are the caller's too."""
    await signed_in(world)
    made = await world.create_destination()
    mapping = await world.create_mapping(made["id"])
    here = f"/console/destinations/{made['id']}/mappings/{mapping['id']}"
    page = (await world.client.get(here)).text
    token = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert token is not None
    form = {"csrf": token[1], "custom." + "9" * 5_000 + ".name": "brand"}
    answer = await world.client.post(f"{here}/preview", data=form, headers={"Origin": "http://testserver"})
    assert answer.status_code < 500, answer.text[:300]


@pytest.mark.parametrize(("state", "status"), [(STATE, 403), ("%C3%A9", 400), ("%ff", 400)])
async def test_the_callback_compares_any_state(world: ApiWorld, state: str, status: int) -> None:
    """The right state reaches the provider; another is refused, whatever its letters."""
    cookie = started_sign_in(world)
    answer = await world.client.get(
        f"/console/oidc/callback?state={state}&code=x", headers={"Cookie": cookie, "Accept": "text/html"}
    )
    assert answer.status_code == status, answer.text
