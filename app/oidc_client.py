"""OpenID Connect client for the sign-in of people.

Authlib's client does the code flow with PKCE and nonce, and checks the tokens. This module adds what Authlib
does not have: limits of size and time, short caches of the provider's metadata and keys, the import of each
key by itself, and logout tokens. Tokens are neither logged nor stored.
"""

import asyncio
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec
from joserfc.errors import BadSignatureError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwk import KeySet

from app.domain.sign_in import Identity, Logout, OidcFailure
from app.outbound import DIRECT, REMOVED_HEADERS, Outbound

with warnings.catch_warnings(record=True):
    # The import of Authlib warns that it prefers httpx2 (see pyproject.toml).
    from authlib.common.urls import add_params_to_uri
    from authlib.integrations.base_client.async_app import AsyncOAuth2Mixin
    from authlib.integrations.base_client.async_openid import AsyncOpenIDMixin
    from authlib.integrations.base_client.errors import OAuthError
    from authlib.integrations.base_client.sync_app import OAuth2Base
    from authlib.integrations.httpx_client import AsyncOAuth2Client
    from authlib.oauth2.claims import JWTClaims
    from authlib.oidc.core import CodeIDToken

LEEWAY_S: Final = 60  # how far the provider's clock may differ from ours
MAX_TOKEN_AGE_S: Final = 600
MAX_ID: Final = 255  # characters of `sub` (OpenID Connect Core §2)
_ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
# Providers have the first four addresses, and some have the last one (RP-initiated logout).
_ADDRESSES: Final = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint")
_LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
_METADATA_S: Final = 10.0  # also after a failure, so that callers without a key cannot flood the provider
_KEYS_S: Final = 3_600.0
_KEYS_RETRY_S: Final = 30.0  # after a token that could not be verified, read the keys at most this often
_TIMEOUT_S: Final = 8.0
_MOST_KEYS: Final = 100  # of a provider: to read one takes up to a millisecond
_MAX_REPLY: Final = 512 * 1024
# With `max_age`, a provider must return the claim `auth_time` (OpenID Connect Core §3.1.2.1). So long an age
# forces no new sign-in.
_ANY_AGE_S: Final = 30 * 86_400


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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redirect_uri = redirect_uri
        self._transport = _BoundedTransport(transport or outbound.transport())
        self._provider = _Provider(issuer, client_id, client_secret, self._transport, monotonic)

    async def aclose(self) -> None:
        """Close the connections to the provider."""
        await self._transport.inner.aclose()

    async def authorization_url(
        self, *, state: str, nonce: str, code_verifier: str, fresh: bool = False
    ) -> str | OidcFailure:
        """Return the URL of the provider's sign-in page.

        With `fresh`, the provider asks for the password even if the person has a session there.
        """
        age = {"prompt": "login", "max_age": "0"} if fresh else {"max_age": str(_ANY_AGE_S)}
        try:
            # No browser is redirected to a provider that was unreachable seconds ago.
            await self._provider.load_server_metadata(reachable=True)
            created = await self._provider.create_authorization_url(
                self._redirect_uri, state=state, nonce=nonce, code_verifier=code_verifier, **age
            )
        except _Unavailable:
            return OidcFailure("provider_unavailable", is_provider=True)
        return str(created["url"])

    async def exchange(
        self, code: str, *, code_verifier: str, nonce: str, fresh: bool = False
    ) -> Identity | OidcFailure:
        """Exchange an authorization code for the person's identity.

        With `fresh`, the person must have signed in at the provider within the last minute.
        """
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                token = await self._provider.fetch_access_token(
                    self._redirect_uri,
                    code=code,
                    code_verifier=code_verifier,
                    grant_type="authorization_code",
                )
        except (httpx.HTTPError, TimeoutError, _Unavailable):
            return OidcFailure("provider_unavailable", is_provider=True)
        except OAuthError:
            return OidcFailure("code_refused")
        except Exception:  # Authlib does not check that the response is a JSON object
            return OidcFailure("response_unreadable")
        if not isinstance(token.get("id_token"), str):
            return OidcFailure("id_token_missing")
        claims = await self._claims(token, _IdToken, nonce)
        if isinstance(claims, OidcFailure):
            return claims
        at = min(claims.get("auth_time", 0.0), time.time())
        if fresh and time.time() - at > LEEWAY_S:
            return OidcFailure("sign_in_too_old")
        name = claims.get("name")
        return Identity(
            claims["sub"], name if isinstance(name, str) else None, at, _id_of(claims.get("sid")), claims
        )

    async def logout_of(self, token: str) -> Logout | OidcFailure:
        """Check a logout token (OpenID Connect Back-Channel Logout §2.6) and return what it signs out."""
        claims = await self._claims({"id_token": token}, _LogoutToken, "")
        if isinstance(claims, OidcFailure):
            return claims
        return Logout(claims["jti"], claims.get("sub"), claims.get("sid"))

    async def logout_url(self, *, back: str) -> str | None:
        """Return the URL that ends the session at the provider and then redirects to `back`.

        Returns None if the provider has no such page (RP-initiated logout) or is unreachable.
        """
        try:
            endpoint = (await self._provider.load_server_metadata()).get("end_session_endpoint")
        except _Unavailable:
            return None
        query = [("client_id", self._provider.client_id), ("post_logout_redirect_uri", back)]
        return None if endpoint is None else str(add_params_to_uri(endpoint, query))

    async def _claims(
        self, token: Mapping[str, Any], kind: type[JWTClaims], nonce: str
    ) -> Mapping[str, Any] | OidcFailure:
        """Check a token's signature and its claims. After a wrong signature, read the keys again once."""
        provider = self._provider
        try:
            options = {
                "iss": {"essential": True, "value": (await provider.load_server_metadata())["issuer"]},
                "aud": {"essential": True, "value": provider.client_id},
            }
            parse = partial(
                provider.parse_id_token,
                token,
                nonce,
                claims_options=options,
                claims_cls=kind,
                leeway=LEEWAY_S,
            )
            try:
                return dict(await parse())
            except (BadSignatureError, ValueError):
                # A provider may replace a key and keep its id. ValueError: no key fits the token.
                await provider.fetch_jwk_set(force=True)
                return dict(await parse())
        except _Unavailable:
            return OidcFailure("provider_unavailable", is_provider=True)
        except JoseError as error:
            claim = getattr(error, "claim", None)
            return OidcFailure(error.error if claim is None else f"{error.error}_{claim}")
        except Exception:  # the parts of a forged token can be of any type
            return OidcFailure("token_unreadable")


class _Unavailable(Exception):
    """The provider returned no usable response."""


class _BoundedTransport(httpx.AsyncBaseTransport):
    """A transport whose responses have at most `_MAX_REPLY` bytes. They have no cookies.

    It asks for no compression and never decompresses a body, because a megabyte of gzip can expand to a
    gigabyte. It stays open when one of its clients closes: Authlib opens a client for each call.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the complete response. Raises httpx.ReadError if it is too long."""
        request.headers["Accept-Encoding"] = "identity"
        response = await self.inner.handle_async_request(request)
        body = bytearray()
        try:
            assert isinstance(response.stream, httpx.AsyncByteStream)
            async for chunk in response.stream:
                body += chunk
                if len(body) > _MAX_REPLY:
                    raise httpx.ReadError("the response is too long")
        finally:
            await response.aclose()
        headers = [
            (name, value) for name, value in response.headers.raw if name.lower() not in REMOVED_HEADERS
        ]
        return httpx.Response(response.status_code, headers=headers, content=bytes(body), request=request)


class _Provider(AsyncOAuth2Mixin, AsyncOpenIDMixin, OAuth2Base):  # type: ignore[misc]
    """Authlib's client with caches for metadata and keys. Both methods raise _Unavailable."""

    client_cls = AsyncOAuth2Client

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        transport: httpx.AsyncBaseTransport,
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(
            None,
            client_id=client_id,
            client_secret=client_secret,
            client_kwargs={
                "scope": "openid profile",
                "code_challenge_method": "S256",
                "transport": transport,
                "timeout": _TIMEOUT_S,
                "trust_env": False,
                "follow_redirects": False,
            },
        )
        self._issuer = issuer.rstrip("/")
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._is_reachable = False
        self._metadata_until = float("-inf")
        self._keys: dict[str, Any] | None = None
        self._keys_read_at = float("-inf")

    async def load_server_metadata(self, *, reachable: bool = False) -> dict[str, Any]:
        """Return the provider's metadata. With `reachable`, the last attempt to read them succeeded."""
        async with self._lock:
            if self._monotonic() >= self._metadata_until:
                try:
                    self.server_metadata = await self._discovered()
                    self._is_reachable = True
                except _Unavailable:
                    self._is_reachable = False
                self._metadata_until = self._monotonic() + _METADATA_S
        if not self.server_metadata or (reachable and not self._is_reachable):
            raise _Unavailable
        return dict(self.server_metadata)

    async def fetch_jwk_set(self, force: bool = False) -> dict[str, Any]:
        """Return the keys that can be read (RFC 7517 §5). With `force`, read again, but not too often."""
        uri = (await self.load_server_metadata())["jwks_uri"]
        async with self._lock:
            longest = _METADATA_S if self._keys is None else _KEYS_RETRY_S if force else _KEYS_S
            if self._monotonic() - self._keys_read_at >= longest:
                with suppress(_Unavailable):  # then earlier keys stay valid
                    found = (await self._get(uri)).get("keys")
                    listed = found[:_MOST_KEYS] if isinstance(found, list) else []
                    readable = [key for key in listed if _is_readable(key)]
                    self._keys = {"keys": readable} if readable else self._keys
                self._keys_read_at = self._monotonic()
        if not self._keys:
            raise _Unavailable
        return self._keys

    async def _discovered(self) -> dict[str, Any]:
        found = await self._get(self._issuer + "/.well-known/openid-configuration")
        if str(found.get("issuer")).rstrip("/") != self._issuer:
            raise _Unavailable
        if not all(_is_web(found.get(name)) for name in _ADDRESSES[:4]):
            raise _Unavailable
        # Authlib passes all metadata to the HTTP client, where other names could be options.
        addresses = {name: found[name] for name in _ADDRESSES if _is_web(found.get(name))}
        return addresses | {"id_token_signing_alg_values_supported": _ALGORITHMS}

    async def _get(self, url: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_TIMEOUT_S), self._get_session() as client:
                answer = await client.request("GET", url, withhold_token=True)
            found = msgspec.json.decode(answer.content)
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            TimeoutError,
            msgspec.DecodeError,
            RecursionError,
        ) as error:
            raise _Unavailable from error
        if answer.status_code != 200 or not isinstance(found, dict):
            raise _Unavailable
        return found


class _IdToken(CodeIDToken):  # type: ignore[misc]
    """The claims of an ID token."""

    def validate(self, now: int | None = None, leeway: int = 0) -> None:
        super().validate(now, leeway)
        _require_recent(self, "jwt")
        if _id_of(self["sub"]) is None:
            raise InvalidClaimError("sub")
        if "auth_time" in self and not _is_past(self["auth_time"]):
            raise InvalidClaimError("auth_time")


class _LogoutToken(JWTClaims):  # type: ignore[misc]
    """The claims of a logout token (OpenID Connect Back-Channel Logout §2.4)."""

    def validate(self, now: int | None = None, leeway: int = 0) -> None:
        super().validate(now, leeway)
        _require_recent(self, "jwt", "logout+jwt")
        events = self.get("events")
        if not (isinstance(events, dict) and isinstance(events.get(_LOGOUT_EVENT), dict)):
            raise InvalidClaimError("events")
        if "nonce" in self:  # forbidden, so that no logout token passes as an ID token
            raise InvalidClaimError("nonce")
        for name in ("jti", "sub", "sid"):
            if name in self and _id_of(self[name]) is None:
                raise InvalidClaimError(name)
        if "jti" not in self or not ("sub" in self or "sid" in self):
            raise MissingClaimError("sub" if "jti" in self else "jti")


def _require_recent(claims: JWTClaims, *types: str) -> None:
    """Raise JoseError for a token of another type, and for a token that was issued long ago."""
    if "typ" in claims.header and str(claims.header["typ"]).lower() not in types:
        raise InvalidClaimError("typ")
    at = claims.get("iat")
    if not _is_past(at) or time.time() - at > MAX_TOKEN_AGE_S + LEEWAY_S:
        raise InvalidClaimError("iat")


def _is_past(value: object) -> bool:
    # NaN and infinity are refused too.
    return isinstance(value, int | float) and 0 <= value <= time.time() + LEEWAY_S


def _id_of(value: object) -> str | None:
    """Return an id that can be stored and shown, or None."""
    return value if isinstance(value, str) and 0 < len(value) <= MAX_ID and value.isprintable() else None


def _is_readable(key: object) -> bool:
    with suppress(Exception):  # joserfc raises errors of several kinds
        return all(each.raw_value for each in KeySet.import_key_set({"keys": [key]}))  # type: ignore[list-item]
    return False


def _is_web(address: object) -> bool:
    with suppress(ValueError):  # such as half a pair of brackets
        return isinstance(address, str) and urlsplit(address).scheme in ("http", "https")
    return False
