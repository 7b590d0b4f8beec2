"""Authorization: the bearer token, the client id header, and the advertisers of a sign-in."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from sandbox.advertisers import Advertisers
from sandbox.faults import FaultBook
from sandbox.signins import Grant, SignIns
from sandbox.transport import refusal
from sandbox.vocabulary import Code

CLIENT_HEADER: Final = "Amazon-Ads-ClientId"
OLD_CLIENT_HEADER: Final = "Amazon-Advertising-API-ClientId"
_REMEMBERED_GRANTS: Final = 100_000


@dataclass(slots=True)
class Access:
    """Check tokens and record the advertisers that each sign-in was used for.

    A token does not contain advertisers. The record decides which sign-ins the fault `revoked` applies to.
    """

    signins: SignIns
    advertisers: Advertisers
    faults: FaultBook
    clock: Callable[[], float]
    _named: OrderedDict[str, set[str]] = field(default_factory=OrderedDict, repr=False)

    def grant(self, request: Request, region: str, client_headers: tuple[str, ...]) -> Grant | Response:
        """Return the grant of a request, or Amazon's 401. One of `client_headers` must have the client id."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return refusal(401, Code.UNAUTHORIZED, "No bearer token.")
        grant = self.signins.read_access(token.strip(), self.clock())
        if grant is None or grant.region != region:
            return refusal(
                401, Code.UNAUTHORIZED, "The access token is unknown, expired or of another region."
            )
        client = next((request.headers[name] for name in client_headers if name in request.headers), None)
        if client is None:
            return refusal(401, Code.UNAUTHORIZED, f"The header {client_headers[0]} is missing.")
        if client != grant.client_id:
            return refusal(401, Code.UNAUTHORIZED, "The token was given to another client.")
        if self.is_revoked(grant):
            return refusal(401, Code.UNAUTHORIZED, "The sign-in was revoked.")
        return grant

    def account(self, grant: Grant, account_id: str | None) -> str | Response:
        """Return the numeric advertiser id that `grant` may send for, or Amazon's refusal."""
        if not account_id:
            return refusal(400, Code.BAD_REQUEST, "The header Amazon-Ads-AccountId is missing.")
        found = self.advertisers.find(grant.region, account_id)
        if found is None:
            return refusal(403, Code.FORBIDDEN, "The sign-in has no access to this advertiser account.")
        self.name(grant, found.advertiser_id)
        if self.is_revoked(grant):
            return refusal(401, Code.UNAUTHORIZED, "The sign-in was revoked.")
        return found.advertiser_id

    def name(self, grant: Grant, advertiser_id: str) -> None:
        """Record that a sign-in was used for an advertiser."""
        self._named.setdefault(grant.grant_id, set()).add(advertiser_id)
        if len(self._named) > _REMEMBERED_GRANTS:
            self._named.popitem(last=False)

    def named_by(self, grant: Grant) -> set[str]:
        return self._named.get(grant.grant_id, set())

    def is_revoked(self, grant: Grant) -> bool:
        return self.faults.revoked(self.named_by(grant), grant.region, grant.issued_at)
