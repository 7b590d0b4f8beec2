"""`POST /{region}/auth/o2/token`: issue tokens for a code or a refresh token (contract §5)."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from sandbox import faults as menu
from sandbox.access import Access
from sandbox.signins import REVOKED, Grant, SignIns, TokenError
from sandbox.transport import MAX_FORM, TooLarge, json, read_body, read_form, refusal
from sandbox.vocabulary import REGIONS, Code


@dataclass(slots=True)
class TokenEndpoint:
    """Serve `POST /{region}/auth/o2/token` for codes and refresh tokens."""

    access: Access
    signins: SignIns
    faults: menu.FaultBook
    clock: Callable[[], float]

    async def __call__(self, request: Request) -> Response:
        region = REGIONS.get(request.path_params["region"])
        if region is None:
            return refusal(404, Code.NOT_FOUND, "No such region.")
        try:
            form = read_form(await read_body(request, MAX_FORM))
        except (TooLarge, ValueError):
            return _error(TokenError("invalid_request", "The body is not a readable form"))
        result = self._grant(request, region, form)
        named = self.access.named_by(result) if isinstance(result, Grant) else frozenset[str]()
        for fault in self.faults.strike_token(named, region):
            match fault:
                case menu.TokenSlow():
                    await asyncio.sleep(fault.ms / 1000)
                case menu.Token5xx():
                    return _error(TokenError("server_error", "Try again", fault.status))
                case menu.TokenInvalidGrant():
                    return _error(REVOKED)
                case menu.TokenMalformed(body="html"):
                    return Response("<html><body>Sign in</body></html>", media_type="text/html")
                case menu.TokenMalformed():
                    broken = {"access_token": "Atza|x\r\nX-Injected: y", "token_type": "bearer"}
                    return json(broken | {"expires_in": 3600}, headers=_NO_STORE)
                case _:
                    pass
        if isinstance(result, TokenError):
            return _error(result)
        return json(self._tokens(result), headers=_NO_STORE)

    def _grant(self, request: Request, region: str, form: Mapping[str, str]) -> Grant | TokenError:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/x-www-form-urlencoded":
            return TokenError("invalid_request", "The Content-Type must be application/x-www-form-urlencoded")
        if "authorization" in request.headers:
            # Contract §5 and §8.21: an Authorization header makes Amazon's token call fail.
            return TokenError("invalid_request", "The request must not carry an Authorization header")
        kind = form.get("grant_type")
        if kind is None:
            return TokenError("invalid_request", "The request is missing a required parameter : grant_type")
        if kind not in ("authorization_code", "refresh_token"):
            return TokenError("unsupported_grant_type", "The grant type is not supported")
        if not self.signins.known_client(form):
            return TokenError("invalid_client", "Client authentication failed", 401)
        needed = ("code", "redirect_uri") if kind == "authorization_code" else ("refresh_token",)
        for name in needed:
            if not form.get(name):
                return TokenError("invalid_request", f"The request is missing a required parameter : {name}")
        if kind == "authorization_code":
            return self.signins.redeem(region, form, self.clock())
        grant = self.signins.read_refresh(region, form)
        if isinstance(grant, Grant) and self.access.is_revoked(grant):
            return REVOKED
        return grant

    def _tokens(self, grant: Grant) -> dict[str, Any]:
        return {
            "access_token": self.signins.access_token(grant, self.clock()),
            "refresh_token": self.signins.refresh_token(grant),
            "token_type": "bearer",
            "expires_in": int(self.signins.access_life_s),
        }


_NO_STORE: Final = {"cache-control": "no-store", "pragma": "no-cache"}


def _error(error: TokenError) -> Response:
    content = {"error": error.error, "error_description": error.description}
    return json(content | {"request_id": secrets.token_hex(8)}, error.status, _NO_STORE)
