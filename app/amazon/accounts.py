"""Find an advertiser among the accounts that a sign-in has access to (contract §5.1).

The account query is Amazon's current call. It may not list older accounts, so this module also uses the older
profile and DSP calls. The older calls need an older header for the client id (contract §8.4).
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from app.amazon import messages
from app.amazon.client import EventsClient
from app.amazon.messages import objects, read_json
from app.amazon.wire import usable_token
from app.domain.destination import Region
from app.domain.outcomes.outcome import TransportError, Unauthorized

QUERY_PATH = "/adsApi/v1/query/advertiserAccounts"
PROFILES_PATH = "/v2/profiles"
ADVERTISERS_PATH = "/dsp/advertisers"

_DEADLINE_S = 10.0  # per call: a user waits in the browser
# For all calls: a slow Amazon may need hundreds of them. Shorter than the 60 seconds that a proxy waits.
_TOTAL_DEADLINE_S = 45.0
_PAGE = 100
_MAX_PAGES = 50  # 5,000 accounts, the limit of Amazon's schema for profiles
_MAX_PROFILES = 50
_MAX_IDS = 20  # suggestions for a user who chose the wrong advertiser


@dataclass(frozen=True, slots=True)
class Visible:
    """The sign-in has access to the advertiser.

    `currency` and `name` are None if Amazon did not report them.
    """

    currency: str | None
    name: str | None


@dataclass(frozen=True, slots=True)
class NotVisible:
    """The sign-in has no access to the advertiser.

    `ids` are some advertisers that the sign-in has access to.
    """

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CannotTell:
    """Amazon returned no complete list of advertisers. `why` is a code for the cause."""

    # 'connect' | 'timeout' | 'cut' | 'too_long' | 'forbidden' | 'throttled' | 'amazon_error' |
    # 'unreadable' | 'too_many' | 'unexpected'
    why: str


@dataclass(frozen=True, slots=True)
class _Account:
    ids: tuple[str, ...]
    name: str | None
    currency: str | None


@dataclass(slots=True)
class _AccountList:
    """Accounts that Amazon listed, in its order. `is_complete` is true if Amazon listed all accounts."""

    accounts: dict[_Account, None] = field(default_factory=dict)
    is_complete: bool = True

    def find(self, advertiser_id: str) -> Visible | None:
        """Return the account with this id, or None if the list does not contain it."""
        for account in self.accounts:
            if advertiser_id in account.ids:
                return Visible(account.currency, account.name)
        return None


_Missing = CannotTell | Unauthorized
Visibility = Visible | NotVisible | CannotTell | Unauthorized


async def find_advertiser(
    client: EventsClient,
    region: Region,
    access_token: str,
    advertiser_id: str,
    *,
    deadline_s: float = _TOTAL_DEADLINE_S,
) -> Visibility:
    """Find an advertiser among the accounts that this sign-in has access to in this region.

    First use the account query. If it does not list the advertiser, use the older calls. Return `NotVisible`
    only if the lists are complete and do not contain the id.
    """
    if not usable_token(access_token):
        return Unauthorized()
    try:
        async with asyncio.timeout(deadline_s):
            return await _search(client, region, access_token, advertiser_id)
    except TimeoutError:
        return CannotTell("timeout")


async def _search(client: EventsClient, region: Region, access_token: str, wanted: str) -> Visibility:
    queried = await _query_accounts(client, region, access_token, wanted)
    if isinstance(queried, _AccountList) and (found := queried.find(wanted)):
        return found
    listed = await _list_by_profile(client, region, access_token, wanted)
    if isinstance(listed, _AccountList) and (found := listed.find(wanted)):
        return found
    lists = [each for each in (queried, listed) if isinstance(each, _AccountList)]
    if lists:
        is_complete = all(each.is_complete for each in lists)
        return NotVisible(_ids(lists)) if is_complete else CannotTell("too_many")
    assert not isinstance(listed, _AccountList)
    return listed


async def _query_accounts(
    client: EventsClient, region: Region, access_token: str, wanted: str
) -> _AccountList | _Missing:
    """Read the account query, page by page, until the advertiser is found or the list ends."""
    listing, token, tokens = _AccountList(), None, set[str]()
    for _ in range(_MAX_PAGES):
        body = {"maxResults": _PAGE} | ({"nextToken": token} if token else {})
        response = await client.call(
            region,
            "POST",
            QUERY_PATH,
            access_token=access_token,
            headers={"Content-Type": "application/json"},
            content=json.dumps(body).encode(),
            deadline_s=_DEADLINE_S,
        )
        page = _read(response)
        if not isinstance(page, dict):
            return page if isinstance(page, CannotTell | Unauthorized) else CannotTell("unreadable")
        rows = page.get("advertiserAccounts")
        if not isinstance(rows, list):
            return CannotTell("unreadable")
        listing.accounts |= dict.fromkeys(map(_account, objects(rows)))
        token = page.get("nextToken")
        if listing.find(wanted) or not token:
            return listing
        if not isinstance(token, str) or token in tokens:
            break  # the pages form a loop
        tokens.add(token)
    listing.is_complete = False
    return listing


async def _list_by_profile(
    client: EventsClient, region: Region, access_token: str, wanted: str
) -> _AccountList | _Missing:
    """Read the DSP advertisers of every agency profile until the advertiser is found.

    If the advertiser is not found and a profile could not be read, return the failure of that profile.
    """
    get = partial(
        client.call,
        region,
        "GET",
        access_token=access_token,
        client_id_header="Amazon-Advertising-API-ClientId",
        deadline_s=_DEADLINE_S,
    )
    profiles = _read(await get(PROFILES_PATH, headers={}))
    if not isinstance(profiles, list):
        return profiles if isinstance(profiles, CannotTell | Unauthorized) else CannotTell("unreadable")
    agencies = list(_agencies(profiles))
    listing = _AccountList(is_complete=len(agencies) <= _MAX_PROFILES)
    failed: _Missing | None = None
    for profile in agencies[:_MAX_PROFILES]:
        scope = {"Amazon-Advertising-API-Scope": profile}
        missing = await _list_advertisers(partial(get, ADVERTISERS_PATH, headers=scope), wanted, listing)
        if listing.find(wanted):
            return listing
        failed = missing or failed
    return failed or listing


async def _list_advertisers(
    get: Callable[..., Awaitable[httpx.Response | TransportError]], wanted: str, listing: _AccountList
) -> _Missing | None:
    """Add the DSP advertisers of one profile to `listing`. If they cannot be read, return the failure.

    `get` requests a page of them.

    The first request asks only for the wanted id. If no advertiser matches, the next requests read the
    complete list, because users get its ids as suggestions.
    """
    start, filters = 0, {"advertiserIdFilter": wanted}
    for _ in range(_MAX_PAGES):
        params = {"startIndex": str(start), "count": str(_PAGE), **filters}
        page = _read(await get(params=params))
        if isinstance(page, CannotTell | Unauthorized):
            return page
        rows, total = _rows(page)
        if rows is None:
            return CannotTell("unreadable")
        found = dict.fromkeys(map(_account, objects(rows)))
        if filters:
            filters = {}
            if not _AccountList(found).find(wanted):
                continue
        before = len(listing.accounts)
        listing.accounts |= found
        start += len(rows)
        # A server may ignore `startIndex`, so a page without a new account also ends the list.
        if listing.find(wanted) or not rows or len(listing.accounts) == before or start >= total:
            return None
    listing.is_complete = False
    return None


def _rows(page: Any) -> tuple[list[Any] | None, int]:
    """Return the rows of a page, and the total number of rows on all pages. The rows are None if the page is
    invalid.

    Amazon's documents use different names for the member with the rows (contract §5.1).
    """
    if isinstance(page, list):
        return page, len(page)
    if not isinstance(page, dict):
        return None, 0
    rows = page.get("response", page.get("advertisers"))
    if not isinstance(rows, list):
        return None, 0
    total = page.get("totalResults")
    return rows, total if type(total) is int else len(rows)


def _agencies(profiles: list[Any]) -> Iterator[str]:
    """Yield the ids of the profiles of type `agency`; only they have DSP advertisers."""
    for profile in objects(profiles):
        account = profile.get("accountInfo")
        number = _id(profile.get("profileId"))
        if number and isinstance(account, dict) and account.get("type") == "agency":
            yield number


def _account(row: dict[str, Any]) -> _Account:
    """Convert a row of the account query or of the DSP call to an account.

    An id may be a text or a number.
    """
    found = [row.get("advertiserAccountId"), row.get("advertiserId")]
    found += [other.get("dspAdvertiserId") for other in objects(row.get("alternateIds"))]
    name = messages.scrub(row.get("displayName") or row.get("name"), limit=200)
    currency = row.get("currencyCode") or row.get("currency")
    return _Account(
        tuple(dict.fromkeys(text for value in found if (text := _id(value)))),
        name or None,
        currency if isinstance(currency, str) and re.fullmatch("[A-Z]{3}", currency) else None,
    )


def _id(value: object) -> str | None:
    """Return an id as text, or None if the id is not valid in a header."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"[A-Za-z0-9._-]{1,128}", text, re.ASCII) else None


def _ids(lists: Sequence[_AccountList]) -> tuple[str, ...]:
    """Return the ids to suggest to a user: for each account its DSP number, or else its global id."""
    accounts = [account for each in lists for account in each.accounts]
    return tuple(dict.fromkeys(account.ids[-1] for account in accounts if account.ids))[:_MAX_IDS]


_WHY = {403: "forbidden", 429: "throttled"}


def _read(response: httpx.Response | TransportError) -> Any:
    """Return the JSON value of a response. For a failed or unreadable response, return the failure."""
    match response:
        case TransportError(why):
            return CannotTell(why)
        case httpx.Response(status_code=200, content=body):
            read = read_json(body)
            return CannotTell("unreadable") if read is None else read
        case httpx.Response(status_code=401):
            return Unauthorized()
        case httpx.Response(status_code=status):
            return CannotTell(_WHY.get(status, "amazon_error" if status >= 500 else "unexpected"))
