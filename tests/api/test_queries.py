"""Query parameters of every route: an unknown one and a repeated one are refused; HEAD answers as GET.

The routes are read from the application, so that a new one is tried as well.
"""

import asyncio
import re
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import Query

from app.api.access.secured_route import SecuredRoute, public
from app.api.http.query_parameters import (
    DeclaredParameters,
    _query_fields,
    parameters_of,
    refused_parameters,
    without_blanks,
)
from app.api.lists import cursor_of
from app.console.visits import SecuredPage
from tests.api.world import BOOTSTRAP, JSON, STREAMS, ApiWorld

# They take what another server wrote, or answer 404 to whatever address.
IGNORING = {"/oauth/amazon/callback", "/console/oidc/callback", "/console/{anywhere:path}"}
# They show what is measured during the request (connections, sizes, ages), so two answers differ in length.
MEASURED_NOW = {"/metrics", "/console/system"}


async def signed_in(world: ApiWorld) -> None:
    """Give the client a console session beside the key that it sends."""
    origin = {"Origin": "http://testserver"}
    answer = await world.client.post("/console/sign-in", data={"key": BOOTSTRAP}, headers=origin)
    assert answer.status_code == 303, answer.text
    # The session's cookie is for https only; the test speaks http to the application itself.
    for cookie in world.client.cookies.jar:
        cookie.secure = False


def routes(world: ApiWorld) -> list[tuple[str, str, Any]]:
    """Return (method, address, route) of every route, with something in place of its path parameters.

    Without GET of streams, which have no end.
    """
    return [
        (method, re.sub(r"\{\w+(:path)?\}", "x", route.path), route)
        for route in world.app.routes
        for method in sorted(route.methods)
        if not (method == "GET" and route.path in STREAMS)
    ]


def refused(answer: httpx.Response, *fields: tuple[str, str]) -> bool:
    """Tell whether an answer is the refusal of exactly these parameters."""
    if answer.status_code != 422:
        return False
    body = answer.json()
    found = [(one["field"], one["problem"]) for one in body["fields"]]
    return body["error"] == "invalid" and found == list(fields)


async def test_every_route_refuses_a_parameter_that_it_does_not_have_or_has_twice(world: ApiWorld) -> None:
    """Also one that differs in case only, and whatever the values; the OAuth callback ignores it.

    Where a list is declared, repeating is the way to write it.
    """
    await signed_in(world)
    tried = twice = 0
    for method, address, route in routes(world):
        if route.path in IGNORING:
            continue
        declared = parameters_of(route.dependant, route.endpoint)
        names = ["no_such_parameter", *(name.upper() for name in declared.names)]
        answer = await world.call(method, f"{address}?{'&'.join(f'{name}=1' for name in names)}")
        assert refused(answer, *((name, "unknown_parameter") for name in names)), (method, address)
        tried += 1
        for name in sorted(declared.names - declared.repeatable):
            answer = await world.call(method, f"{address}?{name}=&{name}=1")
            assert refused(answer, (name, "duplicate")), (method, address, name)
            twice += 1
    assert tried > 80
    assert twice > 40


@pytest.mark.reads_only
def test_no_api_route_takes_a_repeated_or_an_unknown_parameter(world: ApiWorld) -> None:
    """Only the callback, and filters of the console with several choices."""
    lenient = {
        route.path
        for _, _, route in routes(world)
        for declared in [parameters_of(route.dependant, route.endpoint)]
        if declared.ignores_unknown or (declared.repeatable and not isinstance(route, SecuredPage))
    }
    assert lenient == IGNORING


@pytest.mark.reads_only
async def test_what_a_name_holds_is_not_repeated(world: ApiWorld) -> None:
    """A name that does not look like one may be a person's."""
    answer = await world.call("GET", f"/keys?{quote('ada@example.com')}=1&{quote('+15551928493')}")
    assert refused(answer, ("?", "unknown_parameter"))
    assert "ada@" not in answer.text
    assert "1555" not in answer.text


async def test_a_since_that_is_no_time_is_named(world: ApiWorld, acme: JSON) -> None:
    """With the same word as in bodies."""
    for since in ("1795615270", "yesterday", "2026-11-24", "2026-11-24T10:00:00", "2026-W48-2T10:00:00Z", ""):
        for list_of in ("events", "consent-records"):
            answer = await world.call("GET", f"/destinations/{acme['id']}/{list_of}", params={"since": since})
            assert refused(answer, ("since", "not_a_time")), answer.text


async def test_a_boolean_is_true_or_false(world: ApiWorld, acme: JSON) -> None:
    """No other word is one: `discard=off` is no more written than `discard=ON`."""
    await signed_in(world)
    at = f"/destinations/{acme['id']}"
    tried = {
        ("POST", "/events", "dry_run"),
        ("GET", "/event-search", "dismissed"),
        ("GET", f"{at}/events", "dismissed"),
        ("GET", f"{at}/preflight", "ask"),
        ("DELETE", at, "discard"),
    }
    for method, address, name in tried:
        for word in ("yes", "1", "Tru", "off", "0", ""):
            answer = await world.call(method, f"{address}?{name}={word}")
            assert refused(answer, (name, "not_a_boolean")), (address, word, answer.text)
    answer = await world.call("GET", "/event-search?dismissed=True")
    assert answer.status_code == 200
    pages = {"fresh", "unsent", "failed", "dismissed"}
    fields = (field for _, _, route in routes(world) for field in _query_fields(route.dependant))
    declared = {name for name, annotation in fields if "bool" in str(annotation)}
    assert declared == pages | {name for _, _, name in tried}


@pytest.mark.parametrize("day", ["20261124", "2026-W48-2", "0001-01-01", "9999-12-31", "24.11.2026", "5"])
async def test_a_day_is_a_date_of_this_time(world: ApiWorld, day: str, acme: JSON) -> None:
    """The driver sends the last day of the calendar as infinity: a series of days up to it has no end."""
    reconciliation = f"/destinations/{acme['id']}/reconciliation"
    for address in ("/organisations/default/usage", reconciliation):
        for end in ("from", "to"):
            answer = await world.call("GET", address, params={end: day})
            assert refused(answer, (end, "invalid")), answer.text
    gap = {"day": day, "event_name": "Added to cart", "amazon_count": 3}
    assert refused(await world.call("POST", f"{reconciliation}/explain", gap), ("day", "invalid"))


@pytest.mark.reads_only
async def test_every_list_takes_limit_and_cursor(world: ApiWorld) -> None:
    """As the interface says of all of them."""
    described = world.app.openapi()
    schemas = described["components"]["schemas"]
    lists = 0
    for path, methods in described["paths"].items():
        content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        schema = schemas[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
        if "items" in schema.get("properties", {}):
            assert "next_cursor" in schema["properties"], path
            names = {one["name"] for one in methods["get"]["parameters"]}
            assert {"limit", "cursor"} <= names, path
            lists += 1
    assert lists > 8


@pytest.mark.reads_only
async def test_a_list_in_memory_is_paged_too(world: ApiWorld) -> None:
    """The destination types: one, and nothing behind it."""
    first = (await world.call("GET", "/catalog?limit=1")).json()
    assert (len(first["items"]), first["next_cursor"]) == (1, None)
    behind = cursor_of(world.context, 1)
    assert (await world.call("GET", f"/catalog?cursor={behind}")).json() == {"items": [], "next_cursor": None}
    assert refused(await world.call("GET", "/catalog?cursor=nonsense"), ("cursor", "invalid"))


async def test_head_answers_what_get_answers_without_a_body(world: ApiWorld) -> None:
    """On every route that takes GET: API, console, documentation, health, metrics."""
    await signed_in(world)
    tried = 0
    for method, address, route in routes(world):
        if method != "GET":
            continue
        got, head = await world.call("GET", address), await world.call("HEAD", address)
        assert head.status_code == got.status_code, address
        assert head.content == b"", address
        same = ("x-request-id", "content-length" if route.path in MEASURED_NOW else "")
        assert {n: v for n, v in head.headers.items() if n not in same} == {
            n: v for n, v in got.headers.items() if n not in same
        }, address
        tried += 1
    assert tried > 40
    async with asyncio.timeout(30):
        head = await world.call("HEAD", "/console/live")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


ALLOWED = {
    "/": "GET, HEAD",
    "/health/live": "GET, HEAD",
    "/console/no/such": "GET, HEAD",
    "/console": "GET, HEAD",
    "/console/sign-out": "POST",
    "/console/sign-in": "GET, HEAD, POST",
}


@pytest.mark.reads_only
async def test_another_method_gets_405_with_the_allowed_ones(world: ApiWorld) -> None:
    """OPTIONS too; HEAD wherever GET is."""
    for path, allowed in ALLOWED.items():
        answer = await world.call("OPTIONS", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path


@pytest.mark.reads_only
async def test_allow_names_the_methods_of_the_described_path(world: ApiWorld) -> None:
    """A path of words is not the path with a parameter that it also matches, such as `…/mappings/suggest`."""
    described = (await world.call("GET", "/openapi.json")).json()["paths"]
    for path, operations in described.items():
        methods = {method.upper() for method in operations}
        answer = await world.call("OPTIONS", path)
        expected = ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
        assert (answer.status_code, answer.headers["allow"]) == (405, expected), path


@pytest.mark.reads_only
async def test_a_method_without_get_takes_no_head(world: ApiWorld) -> None:
    """405 as before, without a body."""
    answer = await world.call("HEAD", "/events")
    assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "POST", b"")


def test_a_list_that_is_declared_may_repeat() -> None:
    """What a parameter is follows from the route's signature alone."""

    @public
    async def listing(state: Annotated[list[str] | None, Query()] = None, q: str = "") -> None: ...

    declared = parameters_of(SecuredRoute("/x", listing).dependant, listing)
    assert declared == DeclaredParameters(frozenset({"state", "q"}), frozenset({"state"}))
    assert refused_parameters(b"state=a&state=b&q=c", declared) is None
    assert refused_parameters(b"state=a&q=b&q=c", declared) is not None


def test_blank_fields_of_a_form_are_left_out() -> None:
    """The others keep their bytes."""
    assert without_blanks(b"q=&state=active&name=a%20%26%20%C3%A9&x") == b"state=active&name=a+%26+%C3%A9"


@pytest.mark.reads_only
async def test_the_list_of_accepted_parameters_is_complete(world: ApiWorld) -> None:
    """Every route with a key accepts `organisation_id`; a public one does not."""
    answer = await world.call("GET", "/destinations?qq=x")
    assert "Accepted parameters: cursor, limit, organisation_id, q, state." in answer.json()["detail"]
    answer = await world.call("POST", "/events?qq=x", [])
    assert "mapping_id, organisation_id, priority." in answer.json()["detail"]
    answer = await world.call("GET", "/health/live?qq=x", key=None)
    assert "Accepted parameters: none." in answer.json()["detail"]
