"""Whether a sign-in sees an advertiser, whichever of Amazon's calls can tell."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import httpx

from app.amazon.accounts import CannotTell, NotVisible, Visible, find_advertiser
from app.amazon.client import EventsClient
from app.domain.destination import Region
from app.domain.outcomes.outcome import Unauthorized
from tests.tables import cases

QUERY, PROFILES, ADVERTISERS = "/adsApi/v1/query/advertiserAccounts", "/v2/profiles", "/dsp/advertisers"
GONE = httpx.Response(404)


def account(number: Any, name: str = "Acme") -> dict[str, Any]:
    return {
        "advertiserAccountId": f"amzn1.ads-account.g.a{number}",
        "displayName": name,
        "currencyCode": "EUR",
        "alternateIds": [
            {"countryCode": "DE", "dspAdvertiserId": number, "entityId": "ENTITY1", "profileId": 9}
        ],
    }


def profile(number: Any, kind: str = "agency") -> dict[str, Any]:
    return {"profileId": number, "countryCode": "DE", "accountInfo": {"type": kind, "name": "A"}}


class Amazon:
    """Answers each path with what a test says, and keeps what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        name = {QUERY: "query", PROFILES: "profiles", ADVERTISERS: "advertisers"}[request.url.path]
        answer = self.answers.get(name, GONE)
        if isinstance(answer, Callable):  # type: ignore[arg-type]
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, httpx.Response):
            answer = httpx.Response(200, content=json.dumps(answer).encode())
        return answer


async def find(amazon: Amazon, wanted: str = "123", token: str = "Atza|t") -> object:
    async with aclosing(EventsClient("client-1", None, httpx.MockTransport(amazon))) as client:
        return await find_advertiser(client, Region.EU, token, wanted)


def dsp(*numbers: Any, member: str = "response", **more: Any) -> dict[str, Any]:
    rows = [{"advertiserId": number, "name": "Acme", "currency": "EUR"} for number in numbers]
    return {"totalResults": len(rows), member: rows, **more}


def listed(*accounts: Any, **older: Any) -> Amazon:
    """Return an Amazon whose query gives these accounts."""
    return Amazon(query={"advertiserAccounts": list(accounts)}, **older)


def of_profile(*numbers: Any, **more: Any) -> dict[str, Any]:
    """Return the answers of the older calls: a profile with these advertisers."""
    return {"profiles": [profile(7)], "advertisers": dsp(*numbers, **more)}


def everywhere(answer: Any, **other: Any) -> Amazon:
    """Return an Amazon that gives this answer to the query and to the older calls."""
    return Amazon(**{"query": answer, "profiles": answer, **other})


FOUND = Visible("EUR", "Acme")


@cases(
    ("amazon", "found"),
    {
        "by the DSP number among its ids": (listed(account("123")), FOUND),
        "as a number, too": (listed(account(123)), FOUND),
        "not in a definite list: the others are named": (
            listed(account("9"), account("8")),
            NotVisible(("9", "8")),
        ),
        "a number that only contains it is another": (
            listed(account("1230"), account("0123")),
            NotVisible(("1230", "0123")),
        ),
        "by the older calls where the query is unknown": (Amazon(**of_profile("123")), FOUND),
        "under the list's other name": (Amazon(**of_profile(123, member="advertisers")), FOUND),
        "not among a profile's advertisers": (Amazon(**of_profile("9")), NotVisible(("9",))),
        "no profile in this region: nothing is visible": (Amazon(profiles=[]), NotVisible(())),
        "a seller's profile holds no DSP advertiser": (
            Amazon(profiles=[profile(7, "seller")]),
            NotVisible(()),
        ),
        "an empty query is checked against the older calls": (listed(**of_profile("123")), FOUND),
        "an empty query stands where those say nothing": (listed(), NotVisible(())),
        "a query that is forbidden": (Amazon(query=httpx.Response(403), **of_profile("123")), FOUND),
        "a query that gives no list": (Amazon(query={"advertiserAccounts": "?"}, **of_profile("123")), FOUND),
        "a token that neither takes": (everywhere(httpx.Response(401)), Unauthorized()),
        "forbidden everywhere": (everywhere(httpx.Response(403)), CannotTell("forbidden")),
        "failing everywhere": (
            everywhere(httpx.Response(500), profiles=httpx.Response(503)),
            CannotTell("amazon_error"),
        ),
        "no server": (everywhere(httpx.ConnectError("x")), CannotTell("connect")),
        "throttled": (everywhere(httpx.Response(429)), CannotTell("throttled")),
        "HTML": (everywhere(httpx.Response(200, text="<html>")), CannotTell("unreadable")),
        "a profile that fails leaves the list unfinished": (
            Amazon(profiles=[profile(7)], advertisers=httpx.Response(500)),
            CannotTell("amazon_error"),
        ),
        "profiles of any shape": (
            Amazon(profiles=[None, 5, {}, {"profileId": 1}, profile(True), profile("x\r\ny")]),
            NotVisible(()),
        ),
        "accounts of any shape": (
            listed(None, 5, {"alternateIds": 5}, {"advertiserAccountId": True}, account("123")),
            FOUND,
        ),
    },
)
async def test_an_advertiser_is(amazon: Amazon, found: object) -> None:
    """What is found for the advertiser 123."""
    assert await find(amazon) == found


async def test_an_advertiser_is_found_by_its_global_id() -> None:
    """P2 takes both kinds of id."""
    assert await find(listed(account("5")), "amzn1.ads-account.g.a5") == FOUND


async def test_the_query_is_read_page_by_page() -> None:
    """Each page names the next, and the last none."""

    def page(request: httpx.Request) -> Any:
        start = int(json.loads(request.content).get("nextToken", "0"))
        accounts = [account(str(n), f"No {n}") for n in range(start, start + 100)]
        return {"advertiserAccounts": accounts} | ({"nextToken": str(start + 100)} if start < 300 else {})

    amazon = Amazon(query=page)
    assert await find(amazon, "345") == Visible("EUR", "No 345")
    assert [json.loads(request.content).get("nextToken") for request in amazon.requests] == [
        None,
        "100",
        "200",
        "300",
    ]
    missing = await find(Amazon(query=page), "9999")
    assert isinstance(missing, NotVisible)
    assert len(missing.ids) == 20


async def test_a_list_that_leads_back_into_itself_ends() -> None:
    """It is not definite, so the older calls decide; without a result from them, the answer is unknown."""
    circle = {"advertiserAccounts": [account("9")], "nextToken": "again"}
    amazon = Amazon(query=circle)
    assert await find(amazon) == CannotTell("too_many")
    assert len(amazon.requests) == 3
    assert await find(Amazon(query=circle, profiles=[profile(7)], advertisers=dsp("123"))) == FOUND


async def test_a_profiles_advertisers_are_read_page_by_page() -> None:
    """By startIndex, up to the total that Amazon names."""

    def page(request: httpx.Request) -> Any:
        start = int(request.url.params["startIndex"])
        return dsp(*range(start, min(start + 100, 250)), totalResults=250)

    amazon = Amazon(profiles=[profile(7)], advertisers=page)
    assert await find(amazon, "249") == FOUND
    by_name, *pages = amazon.requests[2:]
    assert by_name.url.params["advertiserIdFilter"] == "249"
    assert [request.url.params.get("startIndex") for request in pages] == ["0", "100", "200"]
    assert not any("advertiserIdFilter" in request.url.params for request in pages)


async def test_a_list_that_ignores_its_start_ends() -> None:
    """The same page twice holds nothing new."""
    amazon = Amazon(profiles=[profile(7)], advertisers=dsp("9", totalResults=10**9))
    assert await find(amazon) == NotVisible(("9",))
    assert len(amazon.requests) == 5


async def test_an_advertiser_asked_for_by_its_id_is_found_at_once() -> None:
    """However long the list is, and though the account query lacks it."""

    def answer(request: httpx.Request) -> Any:
        return dsp("123") if request.url.params.get("advertiserIdFilter") == "123" else dsp("9")

    amazon = Amazon(query={"advertiserAccounts": [account("9")]}, profiles=[profile(7)], advertisers=answer)
    assert await find(amazon) == FOUND
    assert len(amazon.requests) == 3


async def test_each_call_names_the_client_as_it_wants_to_be_named() -> None:
    """The new header for the new call, the old one for the old (contract §8.4)."""
    amazon = Amazon(profiles=[profile(7), profile("8")], advertisers=dsp("9"))
    await find(amazon)
    query, profiles, *listed = amazon.requests
    assert [request.method for request in amazon.requests] == ["POST", *["GET"] * 5]
    assert {request.url.host for request in amazon.requests} == {"advertising-api-eu.amazon.com"}
    assert query.headers["Amazon-Ads-ClientId"] == "client-1"
    assert "Amazon-Advertising-API-ClientId" not in query.headers
    for request in (profiles, *listed):
        assert request.headers["Amazon-Advertising-API-ClientId"] == "client-1"
        assert "Amazon-Ads-ClientId" not in request.headers
    assert "Amazon-Advertising-API-Scope" not in profiles.headers
    scopes = [request.headers["Amazon-Advertising-API-Scope"] for request in listed]
    assert scopes == ["7", "7", "8", "8"]
    assert {request.headers["Authorization"] for request in amazon.requests} == {"Bearer Atza|t"}


async def test_a_token_that_no_header_can_carry_is_unauthorized_without_a_call() -> None:
    """As for sending."""
    amazon = Amazon()
    assert await find(amazon, token="a\r\nb") == Unauthorized()
    assert amazon.requests == []


async def test_one_deadline_covers_all_calls() -> None:
    """Each of a hundred pages may come in time, while a user waits in the browser."""

    async def answer(request: httpx.Request) -> httpx.Response:
        pages.append(request)
        await asyncio.sleep(0)
        page = {"advertiserAccounts": [account(len(pages))], "nextToken": f"t{len(pages)}"}
        return httpx.Response(200, json=page)

    pages: list[httpx.Request] = []
    async with aclosing(EventsClient("client-1", None, httpx.MockTransport(answer))) as client:
        found = await find_advertiser(client, Region.EU, "Atza|t", "none", deadline_s=0)
        assert found == CannotTell("timeout")
        assert len(pages) == 1
