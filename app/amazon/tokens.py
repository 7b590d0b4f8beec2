"""OAuth sign-in at Amazon: authorization URL, code exchange, token refresh (contract §5, P14)."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import httpx
from pydantic import SecretStr
from tenacity import AsyncRetrying, retry_if_result, stop_after_attempt, wait_random_exponential

from app.amazon import messages
from app.amazon.transport import open_pools
from app.amazon.wire import endpoints, usable_token
from app.domain.destination import Region
from app.outbound import DIRECT, Outbound

SCOPE = "advertising::campaign_management"
MAX_LIFETIME_S = 86_400
# Used if Amazon states no lifetime. The usual lifetime is an hour; a much shorter value ensures that no
# expired token is used.
DEFAULT_LIFETIME_S = 600
_MAX_TOKEN_REPLY = 65_536
_TRIES = 3
_TRY_S = 8.0  # per call
_DEADLINE_S = 20.0  # for all calls and the waits between them
_FORM = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens from a sign-in or a refresh. A new refresh token replaces the stored refresh token (P14)."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    lifetime_s: int


@dataclass(frozen=True, slots=True)
class Revoked:
    """Amazon refused the refresh token with `invalid_grant`. The user must sign in again (P14)."""


@dataclass(frozen=True, slots=True)
class SignInRefused:
    """Amazon refused the code: it was used, has expired, or belongs to another redirect URI.

    `error` is a code of RFC 6749 §5.2.
    """

    error: str
    description: str


@dataclass(frozen=True, slots=True)
class InvalidClient:
    """Amazon does not accept AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The token server sent no usable reply. The sign-in may still be valid.

    `why` is a code and never Amazon's text.
    """

    # 'connect' | 'timeout' | 'cut' | 'amazon_error' | 'throttled' | 'unreadable' | 'unusable_token' |
    # 'no_refresh_token' | 'unexpected', or another word of RFC 6749 §5.2
    why: str


TokenReply = Tokens | SignInRefused | InvalidClient | Unavailable

_RETRYABLE = frozenset({"connect", "timeout", "cut", "amazon_error"})

# Error codes of RFC 6749 §5.2. Only `invalid_grant` means that the user's consent has ended (P14).
_CLIENT_ERRORS = frozenset({"invalid_client", "unauthorized_client"})
_GRANT_ERRORS = frozenset(
    {"invalid_grant", "invalid_request", "unsupported_grant_type", "invalid_scope", "access_denied"}
)


@dataclass(eq=False, repr=False)
class SignIn:
    """Signs one application in and refreshes its tokens, in every region.

    `transport` replaces the network in tests. `pause` waits between attempts.
    """

    client_id: str
    client_secret: SecretStr
    redirect_uri: str
    base_url: str | None = None
    transport: httpx.AsyncBaseTransport | None = None
    deadline_s: float = _DEADLINE_S
    outbound: Outbound = DIRECT
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep

    def __post_init__(self) -> None:
        pools = open_pools(self.transport, self.base_url, self.outbound, limit=_MAX_TOKEN_REPLY)
        self._clients = {
            region: httpx.AsyncClient(transport=pool, trust_env=False, follow_redirects=False, timeout=_TRY_S)
            for region, pool in pools.items()
        }

    def authorize_url(self, region: Region, *, state: str, code_verifier: str) -> str:
        """Return the URL of the page on which the user allows the access. It uses PKCE (S256)."""
        digest = hashlib.sha256(code_verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPE,
            "state": state,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return f"{endpoints(region, self.base_url).authorize}?{urlencode(query)}"

    async def exchange(self, region: Region, *, code: str, code_verifier: str) -> TokenReply:
        """Exchange the code of a sign-in for tokens. A code can be used once, within five minutes."""
        reply = await self._call(
            region,
            grant_type="authorization_code",
            code=code,
            code_verifier=code_verifier,
            redirect_uri=self.redirect_uri,
        )
        if isinstance(reply, Tokens) and reply.refresh_token is None:
            # Without a refresh token, deliveries would stop within an hour.
            return Unavailable("no_refresh_token")
        return reply

    async def refresh(
        self, region: Region, refresh_token: str
    ) -> Tokens | Revoked | InvalidClient | Unavailable:
        """Refresh an access token.

        Return Revoked only for `invalid_grant`, which means that the user's consent ended.
        """
        reply = await self._call(region, grant_type="refresh_token", refresh_token=refresh_token)
        match reply:
            case SignInRefused("invalid_grant"):
                return Revoked()
            case SignInRefused(error):
                return Unavailable(error)
            case _:
                return reply

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()

    async def _call(self, region: Region, **form: str) -> TokenReply:
        """Call the token server and return the last reply.

        A failed call is repeated a few times within one deadline.
        """
        retrying = AsyncRetrying(
            retry=retry_if_result(lambda reply: isinstance(reply, Unavailable) and reply.why in _RETRYABLE),
            stop=stop_after_attempt(_TRIES),
            wait=wait_random_exponential(multiplier=0.25, max=3),
            sleep=self.pause,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        try:
            async with asyncio.timeout(self.deadline_s):
                reply: TokenReply = await retrying(self._call_once, region, form)
        except TimeoutError:
            return Unavailable("timeout")
        return reply

    async def _call_once(self, region: Region, form: dict[str, str]) -> TokenReply:
        # The secret is part of the form. The token server rejects a call with an Authorization header.
        client = {"client_id": self.client_id, "client_secret": self.client_secret.get_secret_value()}
        try:
            async with asyncio.timeout(_TRY_S):
                response = await self._clients[region].post(
                    endpoints(region, self.base_url).token, data=form | client, headers=_FORM
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError):
            return Unavailable("connect")
        except (TimeoutError, httpx.TimeoutException):
            return Unavailable("timeout")
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            return Unavailable("cut")
        return read_token_reply(response.status_code, response.content)


def read_token_reply(status: int, body: bytes) -> TokenReply:
    """Parse a reply of the token server.

    An HTML page with status 200 is possible; it counts as unreadable.
    """
    if status >= 500 or status == 408:
        return Unavailable("amazon_error")
    if status == 429:
        return Unavailable("throttled")
    reply = messages.read_json(body)
    if not isinstance(reply, dict):
        return Unavailable("unreadable")
    if "error" in reply:
        return _read_refusal(reply)
    if status != 200:
        return Unavailable("unexpected")
    access, refresh = reply.get("access_token"), reply.get("refresh_token")
    if not usable_token(access) or not (refresh is None or usable_token(refresh)):
        return Unavailable("unusable_token")
    return Tokens(access, refresh, _lifetime(reply.get("expires_in")))


def _read_refusal(reply: dict[str, Any]) -> TokenReply:
    error = reply["error"]
    if not isinstance(error, str):
        return Unavailable("unexpected")
    if error in _CLIENT_ERRORS:
        return InvalidClient()
    if error in _GRANT_ERRORS:
        return SignInRefused(error, messages.scrub(reply.get("error_description")))
    return Unavailable("unexpected")


def _lifetime(stated: object) -> int:
    """Return a lifetime in seconds; Amazon may send it in quotes.

    Return DEFAULT_LIFETIME_S if it is not valid.
    """
    if isinstance(stated, str) and stated.isascii() and stated.isdigit() and len(stated) <= 9:
        stated = int(stated)
    if isinstance(stated, Decimal) and stated < 1_000_000_000:  # `3600.0`
        stated = int(stated)
    if isinstance(stated, bool) or not isinstance(stated, int) or stated <= 0:
        return DEFAULT_LIFETIME_S
    return min(stated, MAX_LIFETIME_S)
