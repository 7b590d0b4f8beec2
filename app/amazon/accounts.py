"""Whether a sign-in sees an advertiser: asked once, when a destination is connected (contract §5.1).

Two ways lead to the answer. The account query is the current one; where it gives no list, the older profile
and DSP calls do, under the client header's older name (contract §8.4). No other path of Amazon's is called.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from app.amazon import messages
from app.amazon.client import EventsClient, HttpAnswer
from app.amazon.credentials import usable_token
from app.amazon.reading import read_json
from app.domain.destination import Region
from app.domain.outcomes.outcome import TransportError, Unauthorized

QUERY_PATH = "/adsApi/v1/query/advertiserAccounts"
PROFILES_PATH = "/v2/profiles"
ADVERTISERS_PATH = "/dsp/advertisers"

_DEADLINE_S = 10.0  # of one call; a person waits at the browser
_PAGE = 100
_MAX_PAGES = 50  # 5,000 accounts: the schema's own bound on profiles
_MAX_PROFILES = 50
_SHOWN = 20  # ids shown to someone who chose the wrong one


@dataclass(frozen=True, slots=True)
class Visible:
    """The sign-in sees the advertiser; what Amazon says of it."""

    currency: str | None
    name: str | None


@dataclass(frozen=True, slots=True)
class NotVisible:
    """The sign-in sees other advertisers, of which these are the first, or none (then `ids` is empty)."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CannotTell:
    """Amazon gave no list to look in. `why` is a machine word."""

    # 'connect' | 'timeout' | 'cut' | 'too_long' | 'forbidden' | 'throttled' | 'amazon_error' |
    # 'unreadable' | 'too_many' | 'unexpected'
    why: str


@dataclass(frozen=True, slots=True)
class _Account:
    """An advertiser under all its ids."""

    ids: tuple[str, ...]
    name: str | None
    currency: str | None


@dataclass(slots=True)
class _AccountList:
    """The accounts of a list so far, and whether the list came to its end."""

    accounts: list[_Account] = field(default_factory=list)
    whole: bool = True

    def find(self, advertiser_id: str) -> Visible | None:
        """Return the advertiser under any of its ids."""
        for account in self.accounts:
            if advertiser_id in account.ids:
                return Visible(account.currency, account.name)
        return None


_Missing = CannotTell | Unauthorized


async def find_advertiser(
    client: EventsClient, region: Region, access_token: str, advertiser_id: str
) -> Visible | NotVisible | CannotTell | Unauthorized:
    """Look for the advertiser among those that this sign-in sees in this region.

    What the account query lacks is asked of the older calls too, since accounts made before it may be missing
    there. Lists that were read to their end and lack the id are `NotVisible`.
    """
    if not usable_token(access_token):
        return Unauthorized()
    queried = await _query_accounts(client, region, access_token, advertiser_id)
    if isinstance(queried, _AccountList) and (found := queried.find(advertiser_id)):
        return found
    listed = await _list_by_profile(client, region, access_token, advertiser_id)
    match listed:
        case _AccountList():
            if found := listed.find(advertiser_id):
                return found
            if isinstance(queried, _AccountList):
                listed.accounts = [*queried.accounts, *listed.accounts]
                listed.whole = listed.whole and queried.whole
            return NotVisible(_ids(listed)) if listed.whole else CannotTell("too_many")
        case _ if isinstance(queried, _AccountList):
            return NotVisible(_ids(queried)) if queried.whole else CannotTell("too_many")
        case _:
            return listed


async def _query_accounts(
    client: EventsClient, region: Region, access_token: str, wanted: str
) -> _AccountList | _Missing:
    """Read the account query page by page until the advertiser is found or the list ends."""
    seen, token, tokens = _AccountList(), None, set[str]()
    for _ in range(_MAX_PAGES):
        body = {"maxResults": _PAGE} | ({"nextToken": token} if token else {})
        answer = await client.ask(
            region,
            "POST",
            QUERY_PATH,
            headers={**client.headers(access_token), "Content-Type": "application/json"},
            content=json.dumps(body).encode(),
            deadline_s=_DEADLINE_S,
        )
        page = _read(answer)
        if not isinstance(page, dict):
            return page if isinstance(page, CannotTell | Unauthorized) else CannotTell("unreadable")
        rows = page.get("advertiserAccounts")
        if not isinstance(rows, list):
            return CannotTell("unreadable")
        seen.accounts += [_account(row) for row in _objects(rows)]
        token = page.get("nextToken")
        if seen.find(wanted) or not token:
            return seen
        if not isinstance(token, str) or token in tokens:
            break  # a list that leads back into itself has no end to reach
        tokens.add(token)
    seen.whole = False
    return seen


async def _list_by_profile(
    client: EventsClient, region: Region, access_token: str, wanted: str
) -> _AccountList | _Missing:
    """Read the DSP advertisers of every agency profile; a profile that fails leaves the list unfinished."""
    headers = client.headers(access_token, name="Amazon-Advertising-API-ClientId")
    profiles = _read(await client.ask(region, "GET", PROFILES_PATH, headers=headers, deadline_s=_DEADLINE_S))
    if not isinstance(profiles, list):
        return profiles if isinstance(profiles, CannotTell | Unauthorized) else CannotTell("unreadable")
    agencies = list(_agencies(profiles))
    seen = _AccountList(whole=len(agencies) <= _MAX_PROFILES)
    failed: _Missing | None = None
    for profile in agencies[:_MAX_PROFILES]:
        scoped = {**headers, "Amazon-Advertising-API-Scope": profile}
        missing = await _list_advertisers(client, region, scoped, wanted, seen)
        if seen.find(wanted):
            return seen
        failed = missing or failed
    return failed or seen


async def _list_advertisers(
    client: EventsClient, region: Region, headers: dict[str, str], wanted: str, seen: _AccountList
) -> _Missing | None:
    """Add one profile's advertisers to `seen`, or return why they could not be read.

    First the one that is wanted is asked for by its id; the whole list is read for who has to choose another.
    """
    start, filters = 0, {"advertiserIdFilter": wanted}
    for _ in range(_MAX_PAGES):
        params = {"startIndex": str(start), "count": str(_PAGE), **filters}
        page = _read(
            await client.ask(
                region, "GET", ADVERTISERS_PATH, headers=headers, params=params, deadline_s=_DEADLINE_S
            )
        )
        if isinstance(page, CannotTell | Unauthorized):
            return page
        rows, total = _rows(page)
        if rows is None:
            return CannotTell("unreadable")
        found = [one for row in _objects(rows) if (one := _account(row)) not in seen.accounts]
        if filters:
            filters = {}
            if not _AccountList(found).find(wanted):
                continue
        known = len(seen.accounts)
        seen.accounts += found
        start += len(rows)
        # A stand-in may ignore startIndex: a page with nothing new ends the list too.
        if seen.find(wanted) or not rows or len(seen.accounts) == known or start >= total:
            return None
    seen.whole = False
    return None


def _rows(page: Any) -> tuple[list[Any] | None, int]:
    """Return the rows of a page and how many there are in all; sources differ on the member's name (§5.1)."""
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
    """Yield the ids of the profiles that hold DSP advertisers: those of type `agency`."""
    for profile in _objects(profiles):
        account = profile.get("accountInfo")
        number = _id(profile.get("profileId"))
        if number and isinstance(account, dict) and account.get("type") == "agency":
            yield number


def _account(row: dict[str, Any]) -> _Account:
    """Return an advertiser of either call; ids are text or numbers."""
    found = [row.get("advertiserAccountId"), row.get("advertiserId")]
    found += [other.get("dspAdvertiserId") for other in _objects(row.get("alternateIds"))]
    name = messages.scrub(row.get("displayName") or row.get("name"), limit=200)
    currency = row.get("currencyCode") or row.get("currency")
    return _Account(
        tuple(dict.fromkeys(text for one in found if (text := _id(one)))),
        name or None,
        currency if isinstance(currency, str) and re.fullmatch("[A-Z]{3}", currency) else None,
    )


def _id(value: object) -> str | None:
    """Return an id as text that may stand in a header, or None."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"[A-Za-z0-9._-]{1,128}", text, re.ASCII) else None


def _objects(rows: Any) -> list[dict[str, Any]]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _ids(seen: _AccountList) -> tuple[str, ...]:
    """Return the ids that a destination can be given, the DSP number before the global id."""
    return tuple(dict.fromkeys(account.ids[-1] for account in seen.accounts if account.ids))[:_SHOWN]


_MEANS = {403: "forbidden", 429: "throttled"}


def _read(answer: HttpAnswer | TransportError) -> Any:
    """Return what an answer holds, or why it holds nothing."""
    match answer:
        case TransportError(why):
            return CannotTell(why)
        case HttpAnswer(status=200, body=body):
            read = read_json(body)
            return CannotTell("unreadable") if read is None else read
        case HttpAnswer(status=401):
            return Unauthorized()
        case HttpAnswer(status=status):
            return CannotTell(_MEANS.get(status, "amazon_error" if status >= 500 else "unexpected"))
