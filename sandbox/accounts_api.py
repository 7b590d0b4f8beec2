"""The account calls that verify an advertiser id (contract §5.1)."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sandbox.access import CLIENT_HEADER, OLD_CLIENT_HEADER, Access
from sandbox.advertisers import PROFILES, Advertiser, Advertisers
from sandbox.signins import Grant
from sandbox.transport import TooLarge, json, read_body, refusal
from sandbox.vocabulary import REGIONS, Code

_MAX_BODY: Final = 64 * 1024
_PAGE: Final = 100
_DIGITS: Final = 9


class _Include(msgspec.Struct):
    include: list[str | bool] = []


class _Query(msgspec.Struct):
    """The body of an accounts query. Amazon's other filters are accepted and ignored."""

    maxResults: int = _PAGE
    nextToken: str | None = None
    advertiserAccountIdFilter: _Include | None = None


@dataclass(slots=True)
class AccountCalls:
    """Serve the account calls. They show only the visible advertisers of the access token's region."""

    access: Access
    advertisers: Advertisers

    async def profiles(self, request: Request) -> Response:
        """`GET /v2/profiles`: one agency profile per region, or `[]` if no advertiser is visible."""
        grant = self._grant(request, (OLD_CLIENT_HEADER,))
        if isinstance(grant, Response):
            return grant
        if not self.advertisers.visible(grant.region):
            return json([])
        return json([_profile(grant.region)])

    async def dsp_advertisers(self, request: Request) -> Response:
        """`GET /dsp/advertisers?startIndex&count&advertiserIdFilter`."""
        grant = self._dsp_grant(request)
        if isinstance(grant, Response):
            return grant
        query = request.query_params
        start, count = _number(query.get("startIndex"), 0), _number(query.get("count"), _PAGE)
        if start is None or count is None or not 1 <= count <= _PAGE:
            return refusal(400, Code.BAD_REQUEST, "startIndex and count must be numbers, count 1 to 100.")
        wanted = [one for part in query.getlist("advertiserIdFilter") for one in part.split(",") if one]
        self.advertisers.welcome(grant.region, wanted)
        found = self.advertisers.visible(grant.region)
        if wanted:
            found = [one for one in found if one.advertiser_id in wanted]
            self._name(grant, found)
        page = [_dsp_advertiser(one) for one in found[start : start + count]]
        return json({"totalResults": len(found), "response": page})

    async def dsp_advertiser(self, request: Request) -> Response:
        """`GET /dsp/advertisers/{id}`: one advertiser, or 404 if it is not visible."""
        grant = self._dsp_grant(request)
        if isinstance(grant, Response):
            return grant
        one = self.advertisers.find(grant.region, request.path_params["advertiser_id"])
        if one is None:
            return refusal(404, Code.NOT_FOUND, "No such advertiser for this sign-in.")
        self._name(grant, [one])
        return json(_dsp_advertiser(one))

    async def query_accounts(self, request: Request) -> Response:
        """`POST /adsApi/v1/query/advertiserAccounts`: global accounts with their numeric ids."""
        # Contract §5.1 asks for the new header; Amazon's introduction sends the old header. Both work.
        grant = self._grant(request, (CLIENT_HEADER, OLD_CLIENT_HEADER))
        if isinstance(grant, Response):
            return grant
        try:
            query = msgspec.json.decode(await read_body(request, _MAX_BODY) or b"{}", type=_Query)
        except (TooLarge, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return refusal(400, Code.BAD_REQUEST, "The query cannot be read.")
        start = _number(query.nextToken, 0)
        if start is None or not 1 <= query.maxResults <= _PAGE:
            return refusal(400, Code.BAD_REQUEST, "nextToken or maxResults is not valid.")
        found = self.advertisers.visible(grant.region)
        if query.advertiserAccountIdFilter is not None:
            wanted = query.advertiserAccountIdFilter.include
            found = [one for one in found if one.global_id in wanted or one.advertiser_id in wanted]
            self._name(grant, found)
        end = start + query.maxResults
        content: dict[str, Any] = {"advertiserAccounts": [_account(one) for one in found[start:end]]}
        if end < len(found):
            content["nextToken"] = str(end)
        return json(content)

    def _grant(self, request: Request, client_headers: tuple[str, ...]) -> Grant | Response:
        region = REGIONS.get(request.path_params["region"])
        if region is None:
            return refusal(404, Code.NOT_FOUND, "No such region.")
        return self.access.grant(request, region, client_headers)

    def _dsp_grant(self, request: Request) -> Grant | Response:
        grant = self._grant(request, (OLD_CLIENT_HEADER,))
        if isinstance(grant, Response):
            return grant
        scope = request.headers.get("amazon-advertising-api-scope")
        if scope is None:
            return refusal(400, Code.BAD_REQUEST, "The header Amazon-Advertising-API-Scope is missing.")
        if scope != str(_profile(grant.region)["profileId"]):
            return refusal(403, Code.FORBIDDEN, "The profile of Amazon-Advertising-API-Scope is not visible.")
        return grant

    def _name(self, grant: Grant, found: list[Advertiser]) -> None:
        for one in found:
            self.access.name(grant, one.advertiser_id)


def _profile(region: str) -> dict[str, Any]:
    profile_id, country, currency = next(row for place, row in PROFILES.items() if place == region)
    return {
        "profileId": profile_id,
        "countryCode": country,
        "currencyCode": currency,
        "timezone": "UTC",
        "accountInfo": {
            "marketplaceStringId": f"SANDBOX{region}",
            "id": f"ENTITYSANDBOX{region}",
            "type": "agency",
            "name": f"Sandbox agency {region}",
            "validPaymentMethod": True,
        },
    }


def _dsp_advertiser(one: Advertiser) -> dict[str, Any]:
    return {
        "advertiserId": one.advertiser_id,
        "name": one.name,
        "currency": one.currency,
        "url": "https://advertiser.example",
        "country": one.country,
        "timezone": one.timezone,
    }


def _account(one: Advertiser) -> dict[str, Any]:
    return {
        "advertiserAccountId": one.global_id,
        "displayName": one.name,
        "currencyCode": one.currency,
        "isGlobalAccount": True,
        "status": "ACTIVE",
        "alternateIds": [
            {
                "countryCode": one.country,
                "region": one.region,
                "dspAdvertiserId": one.advertiser_id,
                "entityId": f"ENTITY{one.advertiser_id}",
                "profileId": str(PROFILES[one.region][0]),
            }
        ],
    }


def _number(text: str | None, default: int) -> int | None:
    """Read a non-negative integer from a query; None for any other text."""
    if text is None or text == "":
        return default
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
