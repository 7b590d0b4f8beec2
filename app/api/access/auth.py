"""Authenticate requests with API keys. Three forms of headers can carry a key."""

import base64
import re
from collections.abc import Callable, Iterable, Sequence
from math import inf

from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin import BOOTSTRAP_CALLER, Caller, ErrorCode, Problem
from app.api.recent_rows import RecentRows
from app.crypto import same_secret, secret_digest
from app.domain.ids import KeyId
from app.store.access import keys

_USE_RECORD_SECONDS = 60.0
_MAX_KEY_LENGTH = 1_024
_KEY_HEADERS = frozenset({b"authorization", b"x-api-key"})
_KEY_FORM = re.compile(r"ack_[0-9A-Za-z]{43}", re.ASCII)

Headers = Iterable[tuple[bytes, bytes]]


class KeyRing:
    """Authenticates callers. It caches keys for a few seconds."""

    def __init__(
        self, engine: AsyncEngine, *, bootstrap: bytes | None, monotonic: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._bootstrap = bootstrap
        self._callers: RecentRows[bytes, Caller] = RecentRows(self._read, monotonic=monotonic)
        self._recorded_uses: dict[KeyId, float] = {}

    async def authenticate(self, headers: Headers) -> Caller | Problem:
        """Return the caller whose key is in the raw ASGI headers, or a problem (malformed, unauthorized)."""
        caller, is_current = self.known_caller(headers)
        if caller is not None and is_current:
            return caller
        key = _key_in(headers)
        if isinstance(key, Problem):
            return key
        if not _KEY_FORM.fullmatch(key):
            return Problem(ErrorCode.UNAUTHORIZED)
        return await self._callers.find(secret_digest(key)) or Problem(ErrorCode.UNAUTHORIZED)

    def known_caller(self, headers: Headers) -> tuple[Caller | None, bool]:
        """Return the caller whose key is in the raw ASGI headers, without a query, and whether it is current.

        A caller that is not current must be authenticated. It tells only who sent the request.
        """
        key = _key_in(headers)
        if isinstance(key, Problem):
            return None, False
        digest = secret_digest(key)
        if self._bootstrap is not None and same_secret(digest, self._bootstrap):
            return BOOTSTRAP_CALLER, True
        return self._callers.cached(digest)

    def forget(self, key: KeyId) -> None:
        """Drop a revoked key from the cache, so that this process refuses the key immediately."""
        self._callers.forget(*(digest for digest, caller, _ in self._callers.uses() if caller.key == key))

    async def refresh(self) -> None:
        """Read the recently used keys again, and record their use."""
        await self._callers.refresh()
        uses = {caller.key: used_at for _, caller, used_at in self._callers.uses()}
        recorded = {key: self._recorded_uses.get(key, -inf) for key in uses}
        new = {key: at for key, at in uses.items() if at - recorded[key] >= _USE_RECORD_SECONDS}
        if new:
            async with self._engine.begin() as connection:
                await keys.note_use(connection, list(new))
        self._recorded_uses = recorded | new

    async def _read(self, digests: Sequence[bytes]) -> dict[bytes, Caller]:
        async with self._engine.connect() as connection:
            found = await keys.find_alive(connection, digests)
        return {
            digest: Caller(
                key.id,
                frozenset(key.scopes),
                None if key.destination_ids is None else frozenset(key.destination_ids),
                key.organisation,
            )
            for digest, key in found.items()
        }


def _key_in(headers: Headers) -> str | Problem:
    """Return the key in the headers, in any of the three forms, or the problem with the headers.

    Several keys are refused, even if they are equal, because a proxy and this service could read different
    keys.
    """
    found = [header for header in headers if header[0] in _KEY_HEADERS]
    if not found:
        return Problem(ErrorCode.UNAUTHORIZED)
    if len(found) > 1:
        return Problem(ErrorCode.CREDENTIALS_AMBIGUOUS)
    name, value = found[0]
    key = value.decode("latin-1").strip()
    if name == b"authorization":
        scheme, _, rest = key.partition(" ")
        match scheme.lower():
            case "bearer":
                key = rest.strip()
            case "basic":
                key = _password(rest.strip())
            case _:
                key = ""
    if not key or len(key) > _MAX_KEY_LENGTH:
        return Problem(ErrorCode.UNAUTHORIZED)
    return key


def _password(encoded: str) -> str:
    """Return the password of an HTTP Basic header, for any user name.

    Return "" if the header cannot be decoded.
    """
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
