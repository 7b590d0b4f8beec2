"""Signing in at Amazon and staying signed in, over a mocked network and a real socket."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import respx
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from pydantic import SecretStr

from app.amazon.tokens import (
    DEFAULT_LIFETIME_S,
    InvalidClient,
    Revoked,
    SignIn,
    SignInRefused,
    Tokens,
    Unavailable,
    read_token_reply,
)
from app.amazon.transport import CONNECTIONS
from app.domain.destination import Region
from tests.listening import Heard, Listen, content_of, says
from tests.tables import cases

GOOD = {"access_token": "Atza|a", "refresh_token": "Atzr|r", "token_type": "bearer", "expires_in": 3600}
REDIRECT = "https://conversions.example/oauth/amazon/callback"


async def one_round_trip(_: float) -> None:
    """Wait no time between tries."""


def sign_in(
    transport: httpx.AsyncBaseTransport | None = None, base_url: str | None = None, **more: Any
) -> SignIn:
    return SignIn(
        "client-1", SecretStr("s&cret="), REDIRECT, base_url, transport, pause=one_round_trip, **more
    )


def answering(*answers: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """Return a transport that gives these answers in turn, the last one for ever, and what it was asked."""
    requests: list[httpx.Request] = []
    left: Iterator[httpx.Response | Exception] = iter(answers)
    last = answers[-1]

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        one = next(left, last)
        if isinstance(one, Exception):
            raise one
        return httpx.Response(one.status_code, content=one.content, headers=one.headers)

    return httpx.MockTransport(answer), requests


give_tokens = says(content_of(json.dumps(GOOD).encode(), "200 OK"))


@respx.mock
async def test_respx_stands_in_for_the_token_server() -> None:
    """Over httpx's own transport, which respx replaces."""
    route = respx.post("https://api.amazon.co.uk/auth/o2/token").respond(json=GOOD)
    client = SignIn("client-1", SecretStr("s"), REDIRECT, transport=httpx.AsyncHTTPTransport())
    assert await client.refresh(Region.EU, "Atzr|r") == Tokens("Atza|a", "Atzr|r", 3600)
    assert route.call_count == 1


def test_the_sign_in_page_is_opened_with_pkce() -> None:
    """Contract §5: scope, code, the exact redirect address, S256."""
    state, verifier = "state-1", "v" * 64
    url = urlsplit(sign_in().authorize_url(Region.EU, state=state, code_verifier=verifier))
    assert (url.scheme, url.netloc, url.path) == ("https", "eu.account.amazon.com", "/ap/oa")
    assert parse_qs(url.query) == {
        "client_id": ["client-1"],
        "response_type": ["code"],
        "scope": ["advertising::campaign_management"],
        "redirect_uri": [REDIRECT],
        "state": [state],
        "code_challenge": [create_s256_code_challenge(verifier)],
        "code_challenge_method": ["S256"],
    }


async def test_the_token_call_is_on_the_wire_as_the_contract_says(listen: Listen) -> None:
    """A form with the client's secret in it, and no Authorization header: one would fail the call (P14)."""
    server = await listen(give_tokens)
    signing_in = sign_in(base_url=server.url)
    assert await signing_in.exchange(Region.NA, code="c|1", code_verifier="v" * 43) == Tokens(
        "Atza|a", "Atzr|r", 3600
    )
    assert await signing_in.refresh(Region.FE, "Atzr|r") == Tokens("Atza|a", "Atzr|r", 3600)
    await signing_in.aclose()
    exchanged, refreshed = server.heard
    assert exchanged.head.startswith("POST /na/auth/o2/token HTTP/1.1\r\n")
    assert refreshed.head.startswith("POST /fe/auth/o2/token HTTP/1.1\r\n")
    for heard in server.heard:
        assert "\r\nauthorization:" not in heard.head.lower()
        assert "\r\ncontent-type: application/x-www-form-urlencoded;charset=utf-8\r\n" in heard.head.lower()
    assert parse_qs(exchanged.body.decode()) == {
        "grant_type": ["authorization_code"],
        "code": ["c|1"],
        "redirect_uri": [REDIRECT],
        "code_verifier": ["v" * 43],
        "client_id": ["client-1"],
        "client_secret": ["s&cret="],
    }
    assert parse_qs(refreshed.body.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["Atzr|r"],
        "client_id": ["client-1"],
        "client_secret": ["s&cret="],
    }


def refusal(error: Any, status: int = 400) -> httpx.Response:
    return httpx.Response(
        status,
        json={"error": error, "error_description": "The request has an invalid grant parameter : code"},
    )


DESCRIBED = "The request has an invalid grant parameter : code"


@cases(
    ("answer", "refreshed", "exchanged"),
    {
        "invalid_grant alone means reconnect": (refusal("invalid_grant"), Revoked(), "invalid_grant"),
        "with any status": (refusal("invalid_grant", 401), Revoked(), "invalid_grant"),
        "invalid_request revokes nothing": (
            refusal("invalid_request"),
            Unavailable("invalid_request"),
            "invalid_request",
        ),
    },
)
async def test_a_refused_code_and_a_refused_refresh_differ(
    answer: httpx.Response, refreshed: object, exchanged: str
) -> None:
    """A sign-in repeats Amazon's words; a refresh says whether the sign-in is lost."""
    assert await answers_to(answer) == (refreshed, SignInRefused(exchanged, DESCRIBED))


@cases(
    ("answer", "outcome"),
    {
        "invalid_client speaks of our own settings": (refusal("invalid_client", 401), InvalidClient()),
        "unauthorized_client likewise": (refusal("unauthorized_client"), InvalidClient()),
        "a word that only resembles it": (refusal("INVALID_GRANT"), Unavailable("unexpected")),
        "a list": (refusal(["invalid_grant"]), Unavailable("unexpected")),
        "a bare 403": (httpx.Response(403), Unavailable("unreadable")),
        "429": (httpx.Response(429), Unavailable("throttled")),
        "a redirect is not followed": (
            httpx.Response(302, headers={"Location": "https://elsewhere.example/"}),
            Unavailable("unreadable"),
        ),
        "HTML with status 200": (httpx.Response(200, text="<html>"), Unavailable("unreadable")),
        "a list with status 200": (httpx.Response(200, json=[]), Unavailable("unreadable")),
        "two tokens": (
            httpx.Response(200, content=b'{"access_token":"a","access_token":"b"}'),
            Unavailable("unreadable"),
        ),
        "a token with status 400": (httpx.Response(400, json=GOOD), Unavailable("unexpected")),
        "a 500 that says invalid_grant": (
            httpx.Response(500, json={"error": "invalid_grant"}),
            Unavailable("amazon_error"),
        ),
    },
)
async def test_any_other_answer_revokes_nothing_and_is_no_token(
    answer: httpx.Response, outcome: object
) -> None:
    """It is read the same for a refresh and for a code."""
    assert await answers_to(answer) == (outcome, outcome)


async def answers_to(answer: httpx.Response) -> tuple[object, object]:
    """Return what a refresh and a code become if the token server answers so, both at one address."""
    transport, requests = answering(answer)
    refreshed = await sign_in(transport).refresh(Region.NA, "Atzr|r")
    exchanged = await sign_in(transport).exchange(Region.NA, code="c", code_verifier="v" * 43)
    assert len({str(request.url) for request in requests}) == 1
    return refreshed, exchanged


@pytest.mark.parametrize(
    "token",
    ["", "a b", "Atza|x\r\nX: y", "Atza|x\n", "Atza|\x01", "Atza|é", "t" * 2_049, 5, None, ["a"], {"a": "b"}],
)
@pytest.mark.parametrize("member", ["access_token", "refresh_token"])
def test_a_token_that_could_break_a_header_is_refused(member: str, token: object) -> None:
    """It is never stored nor placed anywhere."""
    reply = read_token_reply(200, json.dumps({**GOOD, member: token}).encode())
    absent = member == "refresh_token" and token is None
    assert reply == (Tokens("Atza|a", None, 3600) if absent else Unavailable("unusable_token"))


@pytest.mark.parametrize(
    ("stated", "lifetime"),
    [
        (3600, 3600),
        ("3600", 3600),
        (3600.0, 3600),
        (10**30, 86_400),
        *((bad, DEFAULT_LIFETIME_S) for bad in (None, 0, -1, True, "soon", "", "٣", [], {}, 0.5, 1e300)),
    ],
)
def test_a_lifetime_that_is_not_stated_is_a_short_one(stated: object, lifetime: int) -> None:
    """Too short costs a refresh; too long costs a 401."""
    assert read_token_reply(200, json.dumps({**GOOD, "expires_in": stated}).encode()) == Tokens(
        "Atza|a", "Atzr|r", lifetime
    )
    assert read_token_reply(200, b'{"access_token":"a"}') == Tokens("a", None, DEFAULT_LIFETIME_S)


@pytest.mark.parametrize(
    ("answer", "why", "tries"),
    [
        (httpx.Response(503), "amazon_error", 3),
        (httpx.ConnectError("x"), "connect", 3),
        (httpx.ReadTimeout("x"), "timeout", 3),
        (httpx.ReadError("x"), "cut", 3),
        (httpx.RemoteProtocolError("x"), "cut", 3),
        (httpx.Response(429), "throttled", 1),
        (httpx.Response(200, text="<html>"), "unreadable", 1),
    ],
)
async def test_trouble_is_tried_again_and_says_nothing_of_the_sign_in(
    answer: httpx.Response | Exception, why: str, tries: int
) -> None:
    """Three tries, of which the last may succeed. One only where another would press a throttled server."""
    transport, requests = answering(answer)
    assert await sign_in(transport).refresh(Region.NA, "Atzr|r") == Unavailable(why)
    assert len(requests) == tries
    assert len({request.content for request in requests}) == 1
    transport, _ = answering(*[answer] * (tries - 1), httpx.Response(200, json=GOOD))
    assert await sign_in(transport).refresh(Region.NA, "Atzr|r") == Tokens("Atza|a", "Atzr|r", 3600)


async def test_a_token_server_that_never_answers_is_left_in_time(listen: Listen) -> None:
    """The deadline is for all tries together."""

    async def never(heard: Heard, _: asyncio.StreamWriter) -> None:
        await heard.reader.read()

    server = await listen(never)
    async with asyncio.timeout(15):
        signing_in = sign_in(base_url=server.url, deadline_s=0.3)
        assert await signing_in.refresh(Region.EU, "Atzr|r") == Unavailable("timeout")
        await signing_in.aclose()


async def test_a_sign_in_without_a_refresh_token_is_none() -> None:
    """It would fall silent within the hour; a refresh may leave it out, and the old one stays."""
    transport, _ = answering(httpx.Response(200, json={"access_token": "Atza|a", "expires_in": 3600}))
    signing_in = sign_in(transport)
    assert await signing_in.exchange(Region.NA, code="c", code_verifier="v" * 43) == Unavailable(
        "no_refresh_token"
    )
    assert await signing_in.refresh(Region.NA, "Atzr|r") == Tokens("Atza|a", None, 3600)


async def test_many_refreshes_at_once_do_not_take_each_others_tokens() -> None:
    """One client serves all destinations."""

    async def echo(request: httpx.Request) -> httpx.Response:
        [token] = parse_qs(request.content.decode())["refresh_token"]
        for _ in range(len(token) % 7):
            await asyncio.sleep(0)
        return httpx.Response(200, json={**GOOD, "access_token": f"for-{token}"})

    signing_in = sign_in(httpx.MockTransport(echo))
    wanted = ["r" * length for length in range(1, 40)]
    got = await asyncio.gather(*(signing_in.refresh(Region.NA, token) for token in wanted))
    assert [one.access_token for one in got if isinstance(one, Tokens)] == [
        f"for-{token}" for token in wanted
    ]


def test_tokens_do_not_speak() -> None:
    """No log line and no traceback shows one."""
    assert repr(Tokens("Atza|a", "Atzr|r", 3600)) == "Tokens(lifetime_s=3600)"
    assert "s&cret" not in repr(sign_in()) + repr(vars(sign_in()))


async def test_a_region_whose_token_server_hangs_holds_up_no_other(listen: Listen) -> None:
    """Connections are counted by region: however many calls of one hang, another's is answered."""
    release = asyncio.Event()

    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        if "/na/" in heard.head.split("\r\n", 1)[0]:
            await release.wait()
        await give_tokens(heard, writer)

    server = await listen(script)
    sign_in = SignIn("client", SecretStr("s"), "http://x/cb", server.url)
    hanging = [asyncio.create_task(sign_in.refresh(Region.NA, "Atzr|1")) for _ in range(2 * CONNECTIONS)]
    try:
        while len(server.heard) < CONNECTIONS:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(15):
            assert isinstance(await sign_in.refresh(Region.EU, "Atzr|1"), Tokens)
        assert len(server.heard) == CONNECTIONS + 1
    finally:
        release.set()
        await asyncio.gather(*hanging)
        await sign_in.aclose()


async def test_a_reply_that_is_too_long_is_no_token(listen: Listen) -> None:
    server = await listen(says(content_of(b" " * 100_000, "200 OK")))
    assert await sign_in(base_url=server.url).refresh(Region.NA, "Atzr|r") == Unavailable("cut")
