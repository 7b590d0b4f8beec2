"""A client of the stand-in: signs in like a user who clicks Allow, and sends the requests of the cases."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx

SCOPE: Final = "advertising::campaign_management"
RETURN_TO: Final = "http://127.0.0.1:1/oauth/amazon/callback"  # never followed
_MAX_THROTTLED: Final = 8  # 429 responses in a row


class Differs(Exception):
    """The stand-in's behaviour differs from the case; the text is for the person who runs it."""


@dataclass(slots=True)
class Caller:
    """One region of a stand-in. `token` is an access token once signed in."""

    http: httpx.Client
    base: str
    region: str
    client_id: str
    client_secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    advertiser_id: str = ""
    sent: int = 0

    def address(self, path: str) -> str:
        """Return the address of a path of this region's host."""
        return f"{self.base}/{self.region}{path}"

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send one request. Wait and retry after 429: rate limits are not part of the cases."""
        for _ in range(_MAX_THROTTLED):
            try:
                response = self.http.request(method, self.address(path), **more)
            except httpx.HTTPError as error:
                raise Differs(f"no response ({type(error).__name__})") from None
            if response.status_code != 429:
                return response
            wait = response.headers.get("retry-after", "1")
            time.sleep(min(int(wait) if wait.isdecimal() else 1, 10))
        raise Differs("returned 429 repeatedly")

    # -- signing in -------------------------------------------------------------------------------

    def authorize(self, decision: str, **changes: str) -> dict[str, str]:
        """Submit a decision on the sign-in page; return the query of the redirect."""
        asked = {
            "client_id": self.client_id,
            "scope": SCOPE,
            "response_type": "code",
            "redirect_uri": RETURN_TO,
            "state": "a-state",
            **changes,
        }
        # The query contains the request and the form contains the decision. Some pages read both from the
        # form.
        response = self.ask("POST", "/ap/oa", params=asked, data={**asked, "decision": decision})
        if not response.is_redirect:
            raise Differs(f"the sign-in page returned {response.status_code}, not a redirect")
        return {
            name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()
        }

    def exchange(self, form: Mapping[str, str], **more: Any) -> httpx.Response:
        """Post a form to the token endpoint, with the client's credentials unless the form contains some."""
        who = {"client_id": self.client_id, "client_secret": self.client_secret}
        return self.ask("POST", "/auth/o2/token", data={**who, **form}, **more)

    def redeem(self, code: str, **changes: str) -> httpx.Response:
        """Exchange a code for tokens."""
        return self.exchange(
            {"grant_type": "authorization_code", "code": code, "redirect_uri": RETURN_TO, **changes}
        )

    def sign_in(self) -> None:
        """Click Allow and store the tokens. Raises Differs."""
        code = self.authorize("allow").get("code")
        if code is None:
            raise Differs("the redirect after Allow contains no code")
        response = self.redeem(code)
        tokens = document(response)
        if response.status_code != 200 or not isinstance(tokens, dict) or "access_token" not in tokens:
            raise Differs(f"the token endpoint returned {response.status_code}, no tokens")
        self.token, self.refresh_token = str(tokens["access_token"]), str(tokens.get("refresh_token", ""))

    def find_advertiser(self) -> None:
        """Choose the first visible advertiser if none was given. Raises Differs."""
        if self.advertiser_id:
            return
        for response in (self.accounts({}), self.dsp_advertisers()):
            found = _advertisers(document(response)) if response.status_code == 200 else []
            if found:
                self.advertiser_id = found[0]
                return
        raise Differs("no advertiser is visible; set one with --advertiser")

    # -- calls ------------------------------------------------------------------------------------

    def profiles(self, **headers: str) -> httpx.Response:
        """Get the profiles. This call still requires the old client header."""
        own_headers = {
            "Authorization": f"Bearer {self.token}",
            "Amazon-Advertising-API-ClientId": self.client_id,
        }
        return self.ask("GET", "/v2/profiles", headers={**own_headers, **headers})

    def accounts(self, query: Mapping[str, Any]) -> httpx.Response:
        """Query the advertiser accounts."""
        own_headers = {"Authorization": f"Bearer {self.token}", "Amazon-Ads-ClientId": self.client_id}
        return self.ask("POST", "/adsApi/v1/query/advertiserAccounts", headers=own_headers, json=dict(query))

    def dsp_advertisers(self, profile: str | None = None) -> httpx.Response:
        """Get the advertisers of a profile, by default the first visible profile."""
        if profile is None:
            shown = document(self.profiles())
            profile = str(shown[0].get("profileId")) if isinstance(shown, list) and shown else "0"
        return self.ask(
            "GET",
            "/dsp/advertisers",
            params={"startIndex": "0", "count": "100"},
            headers={
                "Authorization": f"Bearer {self.token}",
                "Amazon-Advertising-API-ClientId": self.client_id,
                "Amazon-Advertising-API-Scope": profile,
            },
        )

    def send(self, events: Sequence[Any], *, without: str | None = None, **headers: str) -> httpx.Response:
        """Send events as the schema requires; `without` omits a header."""
        return self.send_body({"events": list(events)}, without=without, headers=headers)

    def send_body(
        self,
        body: Any,
        *,
        raw: bytes | None = None,
        without: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> httpx.Response:
        """Send any body to the events call. `raw` is a body that is not JSON."""
        own_headers = {
            "Authorization": f"Bearer {self.token}",
            "Amazon-Ads-ClientId": self.client_id,
            "Amazon-Ads-AccountId": self.advertiser_id,
            "Content-Type": "application/json",
            **headers,
        }
        own_headers.pop(without or "", None)
        what: dict[str, Any] = {"json": body} if raw is None else {"content": raw}
        self.sent += 1
        return self.ask("POST", "/adsApi/v1/create/events", headers=own_headers, **what)


def document(response: httpx.Response) -> Any:
    """Return the JSON of a response, or None."""
    try:
        return response.json()
    except ValueError:
        return None


def _advertisers(shown: Any) -> list[str]:
    if not isinstance(shown, dict):
        return []
    found = [
        str(other["dspAdvertiserId"])
        for account in shown.get("advertiserAccounts", ())
        for other in account.get("alternateIds", ())
        if other.get("dspAdvertiserId")
    ]
    listed: list[dict[str, Any]] = shown.get("response") or shown.get("advertisers") or []
    return found + [str(one["advertiserId"]) for one in listed]
