"""Sign-ins: one-time codes, access tokens and refresh tokens, as Login with Amazon issues them (contract §5).

Tokens are self-contained and signed with the sandbox's key, so a sign-in survives a restart if the key does.
The code does no I/O, but draws random bytes for new codes and tokens. Every time is an argument, in seconds
since 1970.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

CODE_LIFE_S: Final = 300
ACCESS_LIFE_S: Final = 3600
SCOPE: Final = "advertising::campaign_management"


@dataclass(frozen=True, slots=True)
class Ask:
    """The parameters of an authorisation request. A code is valid only for the same parameters."""

    region: str
    client_id: str
    redirect_uri: str
    challenge: str | None
    challenge_method: str | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A click on Allow. The tokens of a grant are valid for its region and client only."""

    grant_id: str
    region: str
    client_id: str
    issued_at: float


@dataclass(frozen=True, slots=True)
class TokenError:
    """An error of the token endpoint: RFC 6749 code, and the HTTP status that Amazon uses."""

    error: str
    description: str
    status: int = 400


class _Sealed(msgspec.Struct, frozen=True):
    """The content of a token."""

    kind: str
    grant: str
    region: str
    client: str
    issued: float
    expires: float | None = None
    serial: str = ""


@dataclass(frozen=True, slots=True)
class _Code:
    ask: Ask
    expires_at: float


@dataclass(slots=True)
class SignIns:
    """Issue and verify codes and tokens.

    `secrets_by_client` maps client id to secret; None accepts any client with a non-empty secret.
    """

    key: bytes = field(repr=False)
    access_life_s: float = ACCESS_LIFE_S
    secrets_by_client: Mapping[str, str] | None = field(default=None, repr=False)
    _codes: dict[str, _Code] = field(default_factory=dict, repr=False)

    def allow(self, ask: Ask, now: float) -> str:
        """Issue a one-time code for `ask`, valid for five minutes."""
        self._codes = {code: held for code, held in self._codes.items() if held.expires_at > now}
        code = "AN" + secrets.token_hex(10)
        self._codes[code] = _Code(ask, now + CODE_LIFE_S)
        return code

    def redeem(self, region: str, form: Mapping[str, str], now: float) -> Grant | TokenError:
        """Exchange a code for a grant. The first attempt uses up the code, even if it fails."""
        held = self._codes.pop(form.get("code", ""), None)
        wrong = TokenError("invalid_grant", "The request has an invalid grant parameter : code")
        if held is None or held.expires_at <= now:
            return wrong
        ask = held.ask
        if ask.region != region or ask.client_id != form.get("client_id"):
            return wrong
        if ask.redirect_uri != form.get("redirect_uri"):
            return TokenError("invalid_grant", "The request has an invalid grant parameter : redirect_uri")
        if not _verifies(ask, form.get("code_verifier")):
            return TokenError("invalid_grant", "The request has an invalid grant parameter : code_verifier")
        return Grant(secrets.token_hex(8), region, ask.client_id, now)

    def known_client(self, form: Mapping[str, str]) -> bool:
        client, secret = form.get("client_id", ""), form.get("client_secret", "")
        if not client or not secret or len(client) > 100:
            return False
        if self.secrets_by_client is None:
            return True
        expected = self.secrets_by_client.get(client)
        return expected is not None and hmac.compare_digest(expected.encode(), secret.encode())

    def access_token(self, grant: Grant, now: float) -> str:
        """Create a bearer token for `grant`. Each token is different."""
        return "Atza|" + self._seal(
            _Sealed(
                "access",
                grant.grant_id,
                grant.region,
                grant.client_id,
                grant.issued_at,
                now + self.access_life_s,
                secrets.token_hex(4),
            )
        )

    def refresh_token(self, grant: Grant) -> str:
        """Return the refresh token of `grant`: always the same, as Amazon returns it unchanged."""
        return "Atzr|" + self._seal(
            _Sealed("refresh", grant.grant_id, grant.region, grant.client_id, grant.issued_at)
        )

    def read_access(self, token: str, now: float) -> Grant | None:
        """Return the grant of a bearer token; None if it is invalid or expired."""
        sealed = self._open(token, "Atza|", "access")
        if sealed is None or sealed.expires is None or sealed.expires <= now:
            return None
        return Grant(sealed.grant, sealed.region, sealed.client, sealed.issued)

    def read_refresh(self, region: str, form: Mapping[str, str]) -> Grant | TokenError:
        """Return the grant of a refresh token, or an error if it belongs to another region or client."""
        sealed = self._open(form.get("refresh_token", ""), "Atzr|", "refresh")
        if sealed is None or sealed.region != region or sealed.client != form.get("client_id"):
            return REVOKED
        return Grant(sealed.grant, sealed.region, sealed.client, sealed.issued)

    def _seal(self, sealed: _Sealed) -> str:
        body = base64.urlsafe_b64encode(msgspec.json.encode(sealed)).rstrip(b"=").decode()
        return f"{body}.{self._mac(body)}"

    def _open(self, token: str, prefix: str, kind: str) -> _Sealed | None:
        body, dot, mac = token.removeprefix(prefix).partition(".")
        if not token.startswith(prefix) or not dot or not token.isascii():
            return None
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        sealed = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=_Sealed)
        return sealed if sealed.kind == kind else None

    def _mac(self, body: str) -> str:
        return hmac.new(self.key, body.encode(), hashlib.sha256).hexdigest()[:32]


REVOKED: Final = TokenError("invalid_grant", "The request has an invalid grant parameter : refresh_token")
"""Amazon's response to an unknown or expired refresh token."""


def _verifies(ask: Ask, verifier: str | None) -> bool:
    """Return whether the PKCE verifier fits the challenge. Without a challenge there must be no verifier."""
    if ask.challenge is None:
        return True
    if not verifier or not verifier.isascii() or not 43 <= len(verifier) <= 128:
        return False
    if ask.challenge_method == "plain":
        return hmac.compare_digest(verifier, ask.challenge)
    digest = hashlib.sha256(verifier.encode()).digest()
    return hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), ask.challenge)
