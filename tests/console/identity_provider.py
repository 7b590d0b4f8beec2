"""A provider of OpenID Connect in this process. It answers with the claims and the key that a test sets."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

ISSUER = "https://login.example"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


def from_now(seconds: int) -> Callable[[], int]:
    """Return a function for a time relative to the moment at which a token is made."""
    return lambda: int(time.time()) + seconds


@dataclass
class Provider:
    """A provider for the client `console`. `keys` replaces the published keys, and `token` the ID token."""

    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    claims: dict[str, Any] = field(default_factory=dict)
    signed_with: RSAKey | None = None
    header: dict[str, Any] = field(default_factory=dict)
    away: bool = False
    asked: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    keys: Any = None
    token: str | None = None
    nonce: str = "nonce-1"

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.away:
            raise httpx.ConnectError("away")
        match request.url.path:
            case "/.well-known/openid-configuration":
                addresses = {
                    "issuer": ISSUER,
                    "authorization_endpoint": ISSUER + "/auth",
                    "token_endpoint": ISSUER + "/token",
                    "jwks_uri": ISSUER + "/keys",
                    "end_session_endpoint": ISSUER + "/end",
                }
                return httpx.Response(200, json=addresses | self.metadata)
            case "/keys":
                keys = KeySet([self.key]).as_dict(private=False) if self.keys is None else self.keys
                return httpx.Response(200, json=keys)
            case _:
                assert len(parse_qs(request.content.decode())["code_verifier"][0]) >= 43
                token = self.token or self.signed({"nonce": self.nonce, "name": "Ada"} | self.claims)
                answer = {"id_token": token, "access_token": "a", "token_type": "Bearer"}
                return httpx.Response(200, json=answer)

    def signed(self, claims: dict[str, Any]) -> str:
        """Return a token with these claims; None removes a claim, and a function gives its value."""
        usual = {"iss": ISSUER, "sub": "ada", "aud": "console", "exp": from_now(300), "iat": from_now(0)}
        whole = {name: value() if callable(value) else value for name, value in (usual | claims).items()}
        key = self.signed_with or self.key
        header = {"alg": "RS256", "kid": key.kid} | self.header
        given = {name: value for name, value in header.items() if value is not None}
        return jwt.encode(given, {name: value for name, value in whole.items() if value is not None}, key)

    def logout_token(self, **claims: Any) -> str:
        """Return a logout token for `ada`; None removes a claim."""
        return self.signed({"jti": "jti-1", "events": {LOGOUT_EVENT: {}}} | claims)
