"""The calls by which an advertiser id is checked."""

from typing import Any

import pytest

from tests.tables import cases

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
