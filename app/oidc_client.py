"""OpenID Connect client for the sign-in of people: discovery, code flow with PKCE, checks of ID tokens.

Authlib builds the requests and checks the claims of a token. joserfc checks its signature. The provider's
responses are limited in size and time. Tokens are neither logged nor stored.
"""

import asyncio
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from app.bounded_transport import BoundedTransport
from app.outbound import DIRECT, Outbound

with warnings.catch_warnings(record=True):
    # The import of Authlib warns that it prefers httpx2 and joserfc (see pyproject.toml).
    from authlib.common.security import generate_token
    from authlib.integrations.httpx_client import AsyncOAuth2Client
    from authlib.oidc.core import CodeIDToken

LEEWAY_S: Final = 60  # how far the provider's clock may differ from ours
_ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
_METADATA_S: Final = 3_600.0
_KEYS_RETRY_S: Final = 30.0  # after a token that could not be verified, read the keys at most this often
_TIMEOUT_S: Final = 8.0
_MAX_REPLY: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class OidcFailure:
    """A failed sign-in. `why` is a code. `is_provider` means that the provider failed or is unreachable."""

    why: str
    is_provider: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """A person whom the provider identified. `claims` may contain personal data."""

    subject: str
    name: str | None
    authenticated_at: float
    claims: Mapping[str, Any] = field(repr=False)


class _Unavailable(Exception):
    """The provider returned no usable response."""


class OidcClient:
    """The client of one OpenID Connect provider. `transport` replaces the network in tests."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        redirect_uri: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        outbound: Outbound = DIRECT,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._given_transport = transport
        self._outbound = outbound
        self._now = now
        self._monotonic = monotonic
        self._metadata: dict[str, Any] | None = None
        self._metadata_until = float("-inf")
        self._keys: KeySet | None = None
        self._keys_read_at = float("-inf")
        self._lock = asyncio.Lock()

    async def authorization_url(
        self, *, state: str, nonce: str, code_verifier: str, fresh: bool = False
    ) -> str | OidcFailure:
        """Return the URL of the provider's sign-in page.

        With `fresh`, the provider asks for the password even if the person has a session there.
        """
        try:
            # Read the metadata every time, so that nobody is redirected to an unreachable provider.
            metadata = await self._discovered(fresh=True)
        except _Unavailable:
            return OidcFailure("provider_unavailable", is_provider=True)
        extra = {"nonce": nonce} | ({"prompt": "login", "max_age": "0"} if fresh else {})
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"], state=state, code_verifier=code_verifier, **extra
            )
        return str(url)

    async def exchange(
        self, code: str, *, code_verifier: str, nonce: str, max_age: int | None = None
    ) -> Identity | OidcFailure:
        """Exchange an authorization code for the person's identity.

        `max_age` is the greatest age, in seconds, of the person's sign-in at the provider.
        """
        try:
            metadata = await self._discovered()
            async with self._client() as client, asyncio.timeout(_TIMEOUT_S):
                answer = await client.request(
                    "POST",
                    metadata["token_endpoint"],
                    withhold_token=True,
                    auth=client.client_auth("client_secret_basic" if self._client_secret else "none"),
                    data={
                        "grant_type": "authorization_code",
                        "code": code,
                        "redirect_uri": self._redirect_uri,
                        "code_verifier": code_verifier,
                        "client_id": self._client_id,
                    },
                )
            if answer.status_code >= 500:
                return OidcFailure("provider_unavailable", is_provider=True)
            body = _object(answer)
            if answer.status_code != 200 or not isinstance(body.get("id_token"), str):
                return OidcFailure("code_refused")
            return await self._identity(body["id_token"], nonce=nonce, max_age=max_age)
        except (httpx.HTTPError, TimeoutError, _Unavailable):
            return OidcFailure("provider_unavailable", is_provider=True)

    async def logout_url(self, *, back: str) -> str | None:
        """Return the URL that ends the session at the provider and then redirects to `back`.

        Returns None if the provider has no such page (RP-initiated logout) or is unreachable.
        """
        try:
            endpoint = (await self._discovered()).get("end_session_endpoint")
        except _Unavailable:
            return None
        if not isinstance(endpoint, str):
            return None
        query = urlencode({"client_id": self._client_id, "post_logout_redirect_uri": back})
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    def _transport(self) -> BoundedTransport:
        inner = self._given_transport or self._outbound.transport()
        return BoundedTransport(inner, limit=_MAX_REPLY)

    def _client(self) -> Any:
        return AsyncOAuth2Client(
            self._client_id,
            self._client_secret,
            redirect_uri=self._redirect_uri,
            scope="openid profile",
            code_challenge_method="S256",
            transport=self._transport(),
            timeout=_TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
        )

    async def _identity(self, token: str, *, nonce: str, max_age: int | None) -> Identity | OidcFailure:
        claims = await self._verified(token)
        if isinstance(claims, OidcFailure):
            return claims
        now = self._now()
        options: dict[str, Any] = {
            "iss": {"essential": True, "value": (await self._discovered())["issuer"]},
            "sub": {"essential": True},
            "aud": {"essential": True, "value": self._client_id},
            "nonce": {"essential": True, "value": nonce},
        }
        parameters = {"nonce": nonce, "client_id": self._client_id}
        if max_age is not None:
            parameters["max_age"] = str(max_age + LEEWAY_S)
        try:
            checked = CodeIDToken(dict(claims), {}, options, parameters)
            checked.validate(now=int(now), leeway=LEEWAY_S)
        except Exception as error:  # Authlib's errors have no common base class
            return OidcFailure(getattr(error, "error", type(error).__name__))
        at = claims.get("auth_time", claims.get("iat"))
        if max_age is not None and (not isinstance(at, int) or now - at > max_age + LEEWAY_S):
            return OidcFailure("too_long_ago")
        name = claims.get("name")
        return Identity(
            str(claims["sub"]),
            name if isinstance(name, str) else None,
            float(at) if isinstance(at, int | float) else now,
            claims,
        )

    async def _verified(self, token: str) -> Mapping[str, Any] | OidcFailure:
        """Check a token's signature and return its claims. After a failure, read the keys again once."""
        for refresh in (False, True):
            keys = await self._key_set(refresh=refresh)
            try:
                return jwt.decode(token, keys, algorithms=_ALGORITHMS).claims
            except InvalidKeyIdError:
                continue
            except (JoseError, ValueError):
                if refresh:
                    break
                # A provider may replace a key and keep its id.
                continue
        return OidcFailure("signature_invalid")

    async def _key_set(self, *, refresh: bool) -> KeySet:
        async with self._lock:
            may_read = self._monotonic() - self._keys_read_at >= _KEYS_RETRY_S
            if self._keys is None or (refresh and may_read):
                metadata = await self._discovered()
                self._keys = KeySet.import_key_set(await self._get(metadata["jwks_uri"]))  # type: ignore[arg-type]
                self._keys_read_at = self._monotonic()
            return self._keys

    async def _discovered(self, *, fresh: bool = False) -> dict[str, Any]:
        """Return the provider's metadata. Without `fresh`, it may come from an earlier read.

        Raises _Unavailable.
        """
        if not fresh and self._metadata is not None and self._monotonic() < self._metadata_until:
            return self._metadata
        try:
            found = await self._get(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        except _Unavailable:
            if fresh or self._metadata is None:
                raise
            return self._metadata  # it rarely changes
        endpoints = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        is_issuer = str(found.get("issuer")).rstrip("/") == self._issuer.rstrip("/")
        if not is_issuer or not all(_is_web(found.get(name)) for name in endpoints):
            raise _Unavailable
        self._metadata, self._metadata_until = found, self._monotonic() + _METADATA_S
        return found

    async def _get(self, url: str) -> dict[str, Any]:
        try:
            async with (
                asyncio.timeout(_TIMEOUT_S),
                httpx.AsyncClient(
                    transport=self._transport(), timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False
                ) as client,
            ):
                answer = await client.get(url, headers={"Accept": "application/json"})
        except (httpx.HTTPError, TimeoutError) as error:
            raise _Unavailable from error
        if answer.status_code != 200:
            raise _Unavailable
        return _object(answer)


def new_secret() -> str:
    """Return a random text that can serve as state, nonce or code verifier."""
    return str(generate_token(48))


def _object(answer: httpx.Response) -> dict[str, Any]:
    """Parse a response that must be a JSON object. Raises _Unavailable."""
    try:
        found = msgspec.json.decode(answer.content)
    except msgspec.DecodeError as error:
        raise _Unavailable from error
    if not isinstance(found, dict):
        raise _Unavailable
    return found


def _is_web(address: object) -> bool:
    return isinstance(address, str) and urlsplit(address).scheme in ("http", "https")
