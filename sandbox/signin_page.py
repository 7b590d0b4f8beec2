"""`/{region}/ap/oa`: the sign-in page, with Allow and Deny."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sandbox.advertisers import Advertiser, Advertisers
from sandbox.pages import Pages
from sandbox.signins import SCOPE, Ask, SignIns
from sandbox.transport import MAX_FORM, TooLarge, read_body, read_form, refusal
from sandbox.vocabulary import REGION_NAMES, REGIONS, Code

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_.~-]{43,128}", re.ASCII).fullmatch
_FIELDS: Final = (
    "client_id",
    "scope",
    "response_type",
    "redirect_uri",
    "state",
    "code_challenge",
    "code_challenge_method",
)


@dataclass(frozen=True, slots=True)
class BadAsk:
    """The reason why the sign-in page cannot be shown. The sandbox then does not redirect."""

    problem: str


@dataclass(slots=True)
class SignInPage:
    """Show the sign-in page; its buttons redirect.

    `redirect_uris` is the exact allow-list; None accepts any absolute http or https address.
    """

    signins: SignIns
    advertisers: Advertisers
    pages: Pages
    clock: Callable[[], float]
    redirect_uris: frozenset[str] | None = None

    async def __call__(self, request: Request) -> Response:
        """GET shows the page; POST (the page's form, or a script) has `decision=allow|deny`."""
        region = REGIONS.get(request.path_params["region"])
        if region is None:
            return refusal(404, Code.NOT_FOUND, "No such region.")
        fields = dict(request.query_params)
        if request.method == "POST":
            try:
                fields |= read_form(await read_body(request, MAX_FORM))
            except (TooLarge, ValueError):
                return self.pages.problem(400, "The form cannot be read.")
        ask = self.read(region, fields)
        if isinstance(ask, BadAsk):
            return self.pages.problem(400, ask.problem)
        if request.method != "POST":
            return self._show(ask, region, fields)
        match fields.get("decision"):
            case "allow":
                extra = fields.get("advertiser_id", "").strip()
                if extra and (problem := self._add(region, extra)):
                    return self.pages.problem(400, problem)
                given = {"code": self.signins.allow(ask, self.clock()), "scope": SCOPE}
                return _back(ask, given, fields)
            case "deny":
                denied = {"error": "access_denied", "error_description": "The user denied the request"}
                return _back(ask, denied, fields)
            case _:
                return self.pages.problem(400, "The form must contain decision=allow or decision=deny.")

    def read(self, region: str, fields: Mapping[str, str]) -> Ask | BadAsk:
        """Check an authorisation request (contract §5)."""
        redirect_uri = fields.get("redirect_uri", "")
        challenge = fields.get("code_challenge") or None
        method = fields.get("code_challenge_method") or ("plain" if challenge else None)
        if not 1 <= len(fields.get("client_id", "")) <= 100:
            return BadAsk("client_id is missing or too long.")
        if fields.get("response_type") != "code":
            return BadAsk("response_type must be code.")
        if SCOPE not in fields.get("scope", "").split():
            return BadAsk(f"scope must contain {SCOPE}.")
        if not self._may_return_to(redirect_uri):
            return BadAsk("redirect_uri is missing or not allowed.")
        if method not in (None, "S256", "plain") or (method and not challenge):
            return BadAsk("code_challenge_method must be S256 or plain, with a code_challenge.")
        if challenge is not None and not _CHALLENGE(challenge):
            return BadAsk("code_challenge must be 43 to 128 URL-safe characters.")
        return Ask(region, fields["client_id"], redirect_uri, challenge, method)

    def _may_return_to(self, address: str) -> bool:
        if self.redirect_uris is not None:
            return address in self.redirect_uris
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError:
            return False
        printable = address.isascii() and address.isprintable() and not set(address) & set(" ;,'\"<>\\")
        fine_port = port is None or port > 0
        return printable and fine_port and parts.scheme in ("http", "https") and bool(parts.hostname)

    def _add(self, region: str, advertiser_id: str) -> str | None:
        known = self.advertisers.known(region, advertiser_id)
        if known is not None:
            return None
        one = Advertiser.of(advertiser_id, region)
        problem = one.problem()
        if problem is None:
            self.advertisers.add([one])
        return problem

    def _show(self, ask: Ask, region: str, fields: Mapping[str, str]) -> Response:
        target = urlsplit(ask.redirect_uri)
        return self.pages.show(
            "signin.html",
            form_targets=f"{target.scheme}://{target.netloc.rpartition('@')[2]}",
            region=REGION_NAMES[region],
            client_id=ask.client_id,
            return_to=target.netloc.rpartition("@")[2],
            fields={name: fields[name] for name in _FIELDS if name in fields},
            advertisers=self.advertisers.visible(region),
        )


def _back(ask: Ask, given: dict[str, str], fields: Mapping[str, str]) -> Response:
    state = {"state": fields["state"]} if "state" in fields else {}
    parts = urlsplit(ask.redirect_uri)
    query = "&".join(part for part in (parts.query, urlencode(given | state)) if part)
    response = RedirectResponse(urlunsplit(parts._replace(query=query)), 302)
    response.headers["cache-control"] = "no-store"
    response.headers["referrer-policy"] = "no-referrer"
    return response
