"""Sign-in and tokens beside what the conformance cases hold: what Login with Amazon promises, and a clock.

Also the calls by which an advertiser id is checked.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import create_sandbox
from tests.tables import cases

VERIFIER = "correct-horse-battery-staple-correct-horse-battery"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


async def test_the_page_is_unmistakably_a_sandbox_and_asks_nothing_of_another_host(caller: Any) -> None:
    page = await caller.http.get("/na/ap/oa", params=caller.ask(state='"><script>'))
    assert page.status_code == 200
    assert "SANDBOX" in page.text
    assert '<button class="allow" name="decision" value="allow">Allow</button>' in page.text
    assert 'value="deny">Deny</button>' in page.text
    assert "<script" not in page.text
    assert "src=" not in page.text
    # Links lead to pages of the sandbox only.
    assert not re.search(r'href="(?!/)|href="//', page.text)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self' http://product.example:8000" in policy


async def test_allow_returns_code_scope_and_state_to_the_redirect_address(caller: Any) -> None:
    form = caller.ask(state="a b&c", redirect_uri="http://product.example/cb?x=1") | {"decision": "allow"}
    answer = await caller.http.post("/na/ap/oa", data=form)
    there = httpx.URL(answer.headers["location"])
    assert answer.status_code == 302
    assert str(there).startswith("http://product.example/cb?x=1&")
    assert there.params["state"] == "a b&c"
    assert there.params["scope"] == "advertising::campaign_management"
    assert there.params["code"]


@cases(
    "changes",
    {
        "a client id is required": {"client_id": ""},
        "a client id has at most 100 characters": {"client_id": "c" * 101},
        "only the code flow exists": {"response_type": "token"},
        "the advertising scope is required": {"scope": "profile"},
        "a redirect address is required": {"redirect_uri": ""},
        "a redirect address is http or https": {"redirect_uri": "javascript:alert(1)"},
        "a redirect address is absolute": {"redirect_uri": "/cb"},
        "a redirect address can be read": {"redirect_uri": "http://[bad/cb"},
        "a redirect address has a real port": {"redirect_uri": "http://a.example:99999/"},
        "an address holds no line": {"redirect_uri": "http://a.example/\r\nx: y"},
        "a host cannot extend the policy": {"redirect_uri": "http://a.example;script-src/"},
        "a challenge has 43 characters at least": {"code_challenge": "short"},
        "a method wants a challenge": {"code_challenge_method": "S256"},
        "the method is known": {"code_challenge": CHALLENGE, "code_challenge_method": "S5"},
        "it is ASCII": {"code_challenge": "é" * 43, "code_challenge_method": "plain"},
    },
)
async def test_a_bad_authorization_request_gets_a_page_and_no_redirect(
    caller: Any, changes: dict[str, str]
) -> None:
    for answer in (
        await caller.http.get("/na/ap/oa", params=caller.ask(**changes)),
        await caller.http.post("/na/ap/oa", data=caller.ask(**changes) | {"decision": "allow"}),
    ):
        assert answer.status_code == 400
        assert "location" not in answer.headers


async def test_an_undecided_form_is_refused(caller: Any) -> None:
    assert (await caller.http.post("/na/ap/oa", data=caller.ask())).status_code == 400


async def test_a_redirect_allow_list_is_exact(a_caller: Callable[..., Any]) -> None:
    sandbox = create_sandbox(redirect_uris=frozenset({"https://a.example/cb"}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(sandbox), base_url="http://s") as http:
        caller = a_caller(http)
        fine = await http.get("/na/ap/oa", params=caller.ask(redirect_uri="https://a.example/cb"))
        near = await http.get("/na/ap/oa", params=caller.ask(redirect_uri="https://a.example/cb/"))
    assert (fine.status_code, near.status_code) == (200, 400)


async def test_a_code_buys_tokens_of_amazons_form(caller: Any) -> None:
    answer = await caller.redeem(await caller.code())
    tokens = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert tokens["access_token"].startswith("Atza|")
    assert tokens["refresh_token"].startswith("Atzr|")
    assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 3600)
    assert max(len(tokens["access_token"]), len(tokens["refresh_token"])) <= 2048


async def test_a_code_lives_five_minutes(caller: Any, clock: Any) -> None:
    young, old = await caller.code(), await caller.code()
    clock.now += 299
    assert (await caller.redeem(young)).status_code == 200
    clock.now += 1
    assert (await caller.redeem(old)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("verifier", ["", "é" * 50, CHALLENGE], ids=["none", "beyond ASCII", "the challenge"])
async def test_a_challenged_code_wants_its_verifier(caller: Any, verifier: str) -> None:
    code = await caller.code(code_challenge=CHALLENGE, code_challenge_method="S256")
    answer = await caller.redeem(code, code_verifier=verifier)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


@cases(
    ("fields", "headers", "status", "error"),
    {
        "another client's code": ({"client_id": "other"}, {}, 400, "invalid_grant"),
        "another redirect address": ({"redirect_uri": "http://x/"}, {}, 400, "invalid_grant"),
        "no redirect address": ({"redirect_uri": ""}, {}, 400, "invalid_request"),
        "no client secret": ({"client_secret": ""}, {}, 401, "invalid_client"),
        "no client id": ({"client_id": ""}, {}, 401, "invalid_client"),
        "no grant type": ({"grant_type": ""}, {}, 400, "invalid_request"),
        "stray credentials": ({}, {"authorization": "Basic eDp5"}, 400, "invalid_request"),
        "not a form": ({}, {"content-type": "application/json"}, 400, "invalid_request"),
    },
)
async def test_the_token_endpoint_refuses(
    caller: Any, fields: dict[str, str], headers: dict[str, str], status: int, error: str
) -> None:
    answer = await caller.redeem(await caller.code(), headers=headers, **fields)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"]


async def test_a_refresh_gives_another_access_token_and_the_same_refresh_token(caller: Any) -> None:
    fresh = (await caller.refresh()).json()
    assert fresh["refresh_token"] == caller.tokens["refresh_token"]
    assert fresh["access_token"] != caller.tokens["access_token"]


@cases(
    "change",
    {
        "a changed signature": lambda t: t[:-1] + ("0" if t[-1] != "0" else "1"),
        "another kind's prefix": lambda t: t.replace("Atzr|", "Atza|"),
        "an empty token": lambda t: "Atzr|",
        "a token beyond ASCII": lambda t: "Atzr|é.é",
        "a made-up token": lambda t: "Atzr|e30.00",
    },
)
async def test_a_refresh_token_that_was_not_given_out_is_invalid(
    caller: Any, change: Callable[[str], str]
) -> None:
    answer = await caller.refresh(refresh_token=change(caller.tokens["refresh_token"]))
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_grant"
    assert answer.json()["error_description"].endswith(": refresh_token")


async def test_an_access_token_is_no_refresh_token(caller: Any) -> None:
    swapped = caller.tokens["access_token"].replace("Atza|", "Atzr|")
    assert (await caller.refresh(refresh_token=swapped)).json()["error"] == "invalid_grant"


async def test_a_refresh_token_belongs_to_its_client_and_region(
    caller: Any, a_caller: Callable[..., Any]
) -> None:
    assert (await caller.refresh(client_id="other")).json()["error"] == "invalid_grant"
    abroad = a_caller(caller.http, "eu", tokens=caller.tokens)
    assert (await abroad.refresh()).json()["error"] == "invalid_grant"


async def test_an_access_token_lives_an_hour(caller: Any, clock: Any, event: Any) -> None:
    clock.now += 3599
    assert (await caller.send(event())).status_code == 207
    clock.now += 1
    assert (await caller.send(event())).status_code == 401
    caller.tokens = (await caller.refresh()).json()
    assert (await caller.send(event())).status_code == 207


async def test_client_secrets_are_required_if_configured(a_caller: Callable[..., Any]) -> None:
    sandbox = create_sandbox(client_secrets={"me": "right"})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(sandbox), base_url="http://s") as http:
        caller = a_caller(http, client_id="me")
        wrong = await caller.redeem(await caller.code(), client_secret="wröng")
        right = await caller.redeem(await caller.code(), client_secret="right")
    assert (wrong.status_code, wrong.json()["error"], right.status_code) == (401, "invalid_client", 200)


async def test_sign_ins_and_added_advertisers_outlive_a_restart(
    tmp_path: Path, a_caller: Callable[..., Any]
) -> None:
    """Given a folder, a new sandbox knows the tokens of the one before it; without, it does not."""

    async def restarted(state_dir: Path | None, tokens: dict[str, Any]) -> tuple[int, bool]:
        sandbox = create_sandbox(state_dir=state_dir)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(sandbox), base_url="http://s") as http:
            known = (await http.get("/_sandbox/advertisers")).json()["items"]
            answer = await a_caller(http, tokens=tokens).refresh()
            return answer.status_code, any(one["advertiser_id"] == "77" for one in known)

    first = create_sandbox(state_dir=tmp_path / "state")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(first), base_url="http://s") as http:
        caller = await a_caller(http).sign_in()
        added = await http.post(
            "/_sandbox/advertisers", json={"advertisers": [{"advertiser_id": "77", "region": "NA"}]}
        )
        assert added.status_code == 201
    assert await restarted(tmp_path / "state", caller.tokens) == (200, True)
    assert await restarted(None, caller.tokens) == (400, False)
    assert (tmp_path / "state" / "signing.key").stat().st_mode & 0o077 == 0


OLD = "amazon-advertising-api-clientid"


def old_headers(caller: Any, **more: str) -> dict[str, str]:
    """The headers of the older calls."""
    given = {"authorization": f"Bearer {caller.tokens['access_token']}", OLD: caller.client_id}
    return given | {name.replace("_", "-"): value for name, value in more.items()}


async def profile_id(caller: Any) -> str:
    answer = await caller.http.get(f"/{caller.region}/v2/profiles", headers=old_headers(caller))
    return str(answer.json()[0]["profileId"])


async def test_a_region_without_visible_advertisers_has_no_profiles(caller: Any) -> None:
    known = (await caller.http.get("/_sandbox/advertisers")).json()["items"]
    hidden = [one | {"hidden": True} for one in known if one["region"] == "NA"]
    await caller.http.post("/_sandbox/advertisers", json={"advertisers": hidden})
    assert (await caller.http.get("/na/v2/profiles", headers=old_headers(caller))).json() == []


async def test_dsp_advertisers_are_listed_filtered_and_paged(caller: Any) -> None:
    headers = old_headers(caller, amazon_advertising_api_scope=await profile_id(caller))

    async def listed(query: str) -> dict[str, Any]:
        return dict((await caller.http.get(f"/na/dsp/advertisers{query}", headers=headers)).json())

    everything = await listed("")
    ids = [one["advertiserId"] for one in everything["response"]]
    assert ids == ["1000000001", "1000000002", "1000000003"]
    assert everything["totalResults"] == 3
    assert set(everything["response"][0]) == {
        "advertiserId", "name", "currency", "url", "country", "timezone"
    }  # fmt: skip
    second = await listed("?startIndex=1&count=1")
    assert ([one["advertiserId"] for one in second["response"]], second["totalResults"]) == ([ids[1]], 3)
    chosen = await listed("?advertiserIdFilter=1000000003,2000000001,x")
    assert [one["advertiserId"] for one in chosen["response"]] == ["1000000003"]
    welcomed = await listed("?advertiserIdFilter=55501")
    assert [one["advertiserId"] for one in welcomed["response"]] == ["55501"]
    one = await caller.http.get("/na/dsp/advertisers/1000000002", headers=headers)
    assert one.json()["name"] == "Example Bikes"
    other = await caller.http.get("/na/dsp/advertisers/2000000001", headers=headers)
    assert other.status_code == 404


@cases(
    ("scope", "query", "status"),
    {
        "a profile scope is required": ("", "", 400),
        "a foreign profile is refused": ("1", "", 403),
        "a count is at least 1": ("mine", "?count=0", 400),
        "a count is at most 100": ("mine", "?count=101", 400),
        "a start is not negative": ("mine", "?startIndex=-1", 400),
        "a start is a number one can count to": ("mine", "?startIndex=" + "9" * 30, 400),
    },
)
async def test_dsp_advertisers_refuse(caller: Any, scope: str, query: str, status: int) -> None:
    given = await profile_id(caller) if scope == "mine" else scope
    headers = old_headers(caller) | ({"amazon-advertising-api-scope": given} if given else {})
    assert (await caller.http.get(f"/na/dsp/advertisers{query}", headers=headers)).status_code == status


@pytest.mark.parametrize("header", ["amazon-ads-clientid", OLD])
async def test_accounts_are_queried_with_either_client_id_header(caller: Any, header: str) -> None:
    headers = {"authorization": f"Bearer {caller.tokens['access_token']}", header: caller.client_id}
    path = "/na/adsApi/v1/query/advertiserAccounts"
    first = (await caller.http.post(path, headers=headers, json={"maxResults": 2})).json()
    assert len(first["advertiserAccounts"]) == 2
    rest = await caller.http.post(
        path, headers=headers, json={"maxResults": 2, "nextToken": first["nextToken"]}
    )
    [last] = rest.json()["advertiserAccounts"]
    assert "nextToken" not in rest.json()
    [alternate] = last["alternateIds"]
    assert (alternate["dspAdvertiserId"], alternate["region"]) == ("1000000003", "NA")
    assert last["advertiserAccountId"].startswith("amzn1.ads-account.g.")
    wanted = {"advertiserAccountIdFilter": {"include": [last["advertiserAccountId"]]}}
    chosen = (await caller.http.post(path, headers=headers, json=wanted)).json()["advertiserAccounts"]
    assert [one["displayName"] for one in chosen] == ["Example Maple"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"maxResults":0}', b'{"nextToken":"x"}', b"[" * 5000])
async def test_an_unreadable_query_is_400(caller: Any, body: bytes) -> None:
    path = "/na/adsApi/v1/query/advertiserAccounts"
    assert (await caller.http.post(path, headers=caller.headers(), content=body)).status_code == 400


async def test_the_sign_in_page_can_add_the_advertiser_one_types(caller: Any, event: Any) -> None:
    form = caller.ask() | {"decision": "allow", "advertiser_id": "123456789"}
    assert (await caller.http.post("/na/ap/oa", data=form)).status_code == 302
    assert (await caller.send(event(), amazon_ads_accountid="123456789")).status_code == 207
    bad = caller.ask() | {"decision": "allow", "advertiser_id": "ENTITY1"}
    assert (await caller.http.post("/na/ap/oa", data=bad)).status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"advertisers":[{"advertiser_id":"5","region":"NA"}]}', 201),
        (b'{"advertisers":[{"advertiser_id":"x","region":"NA"}]}', 422),
        (b'{"advertisers":[{"advertiser_id":"5","region":"XX"}]}', 422),
        (b'{"advertisers":[{"advertiser_id":"5","region":"NA","currency":"XXX"}]}', 422),
        (b'{"advertisers":[{"advertiser_id":"5","region":"NA","country":"UK"}]}', 422),
        (b'{"advertisers":[{"advertiser_id":"5","region":"NA","more":1}]}', 422),
        (b"{", 400),
    ],
)
async def test_adding_an_advertiser(caller: Any, body: bytes, status: int) -> None:
    """An advertiser has a numeric id, a region, and Amazon's currencies and countries."""
    assert (await caller.http.post("/_sandbox/advertisers", content=body)).status_code == status
