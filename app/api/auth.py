"""Authentication with API keys: three header forms. A key is read again every two seconds."""

import asyncio
import base64
import binascii
import hmac
import re
from collections.abc import Callable, Iterable
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin.access import BOOTSTRAP, Caller, Scope
from app.admin.keys import digest_of
from app.admin.refusals import ErrorCode, Problem
from app.domain.ids import KeyId
from app.store import keys

# A key is read again after this time, while requests go on with what was read before; without an answer they
# wait for one after the second time. A revoked key must be refused everywhere within 5 s.
REFRESH_SECONDS = 2.0
CACHE_SECONDS = 3.0
_USE_RECORD_SECONDS = 60.0
_MAX_CACHED = 10_000
_MAX_KEY_LENGTH = 1_024


_KEY_HEADERS = frozenset({b"authorization", b"x-api-key"})
_KEY_FORM = re.compile(r"ack_[0-9A-Za-z]{43}", re.ASCII)


_BOOTSTRAP_CALLER = Caller(BOOTSTRAP, frozenset(Scope))  # created once: iterating an enum is slow

Headers = Iterable[tuple[bytes, bytes]]


class KeyRing:
    """Authenticates callers; queries the database for each key at most every two seconds."""

    def __init__(
        self, engine: AsyncEngine, *, bootstrap: bytes | None, monotonic: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._bootstrap = bootstrap
        self._monotonic = monotonic
        self._cached: dict[bytes, tuple[float, Caller]] = {}
        self._use_recorded: dict[KeyId, float] = {}
        self._queries: dict[bytes, asyncio.Task[Caller | None]] = {}

    async def authenticate(self, headers: Headers) -> Caller | Problem:
        """Return the caller that the raw ASGI headers identify, or the problem (malformed, unauthorized)."""
        key = _key_in(headers)
        if isinstance(key, Problem):
            return key
        digest = digest_of(key)
        if self._bootstrap is not None and hmac.compare_digest(digest, self._bootstrap):
            return _BOOTSTRAP_CALLER
        if not _KEY_FORM.fullmatch(key):
            return Problem(ErrorCode.UNAUTHORIZED)
        cached = self._cached.get(digest)
        if cached is not None and (left := cached[0] - self._monotonic()) > 0:
            if left <= CACHE_SECONDS - REFRESH_SECONDS:
                self._query(digest)
            return cached[1]
        # A disconnecting client must not cancel the query for the others.
        return await asyncio.shield(self._query(digest)) or Problem(ErrorCode.UNAUTHORIZED)

    def forget(self, key: KeyId) -> None:
        """Drop a key from the cache so that this process refuses it immediately after its revocation."""
        for digest in [digest for digest, (_, caller) in self._cached.items() if caller.key == key]:
            del self._cached[digest]

    def _query(self, digest: bytes) -> "asyncio.Task[Caller | None]":
        """Return the running query for a key; start one if there is none."""
        query = self._queries.get(digest)
        if query is None:
            query = asyncio.create_task(self._find(digest))
            self._queries[digest] = query
            query.add_done_callback(partial(self._end_query, digest))
        return query

    def _end_query(self, digest: bytes, query: "asyncio.Task[Caller | None]") -> None:
        self._queries.pop(digest, None)
        if not query.cancelled():
            query.exception()  # of a query that nobody waits for: the next one fails or succeeds

    async def _find(self, digest: bytes) -> Caller | None:
        # Measured from the start of the query: its result may be older than its arrival.
        until = self._monotonic() + CACHE_SECONDS
        async with self._engine.begin() as connection:
            key = await keys.find_alive(connection, digest)
            if (
                key is not None
                and self._use_recorded.get(key.id, -_USE_RECORD_SECONDS) + _USE_RECORD_SECONDS <= until
            ):
                await keys.note_use(connection, key.id)
                self._use_recorded[key.id] = until
        self._cached.pop(digest, None)
        if key is None:
            return None
        caller = Caller(
            key.id,
            frozenset(key.scopes),
            None if key.destination_ids is None else frozenset(key.destination_ids),
            key.organisation,
        )
        if len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
            self._use_recorded.clear()
        self._cached[digest] = (until, caller)
        return caller


def _key_in(headers: Headers) -> str | Problem:
    """Return the one key in the headers, in any of its forms, or the problem with them.

    Several keys are refused even if they are equal: a proxy and this service could read different ones.
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
    """Return the password of HTTP Basic with any user name, or "" when it cannot be decoded."""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
