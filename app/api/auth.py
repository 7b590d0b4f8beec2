"""Who is calling, and what may they do: API keys in three spellings, remembered for two seconds."""

import asyncio
import base64
import binascii
import hmac
import re
from collections.abc import Callable, Iterable

from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin.access import BOOTSTRAP, Caller, Scope
from app.admin.keys import digest_of
from app.admin.refusals import ErrorCode, Problem
from app.domain.ids import KeyId
from app.store import keys

REMEMBERED_S = 2.0  # a revoked key is refused everywhere within 5 s; this leaves the database its share
_NOTED_EVERY_S = 60.0
_MOST_REMEMBERED = 10_000
_LONGEST_KEY = 1_024


_FORM = re.compile(r"ack_[0-9A-Za-z]{43}", re.ASCII)


_BOOTSTRAP_CALLER = Caller(BOOTSTRAP, frozenset(Scope))  # made once: going through an enum is slow

Headers = Iterable[tuple[bytes, bytes]]


class KeyRing:
    """Tells who is calling; asks the database for each key at most every two seconds."""

    def __init__(
        self, engine: AsyncEngine, *, bootstrap: bytes | None, monotonic: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._bootstrap = bootstrap
        self._monotonic = monotonic
        self._known: dict[bytes, tuple[float, Caller]] = {}
        self._noted: dict[KeyId, float] = {}
        self._asking: dict[bytes, asyncio.Task[Caller | None]] = {}

    async def authenticate(self, headers: Headers) -> Caller | Problem:
        """Return the caller that the raw ASGI headers name, or the problem to answer with (400, 401)."""
        match _presented(headers):
            case Problem() as problem:
                return problem
            case str() as key:
                caller = await self._caller(key)
        return caller or Problem(ErrorCode.UNAUTHORIZED)

    def forget(self, key: KeyId) -> None:
        """Forget a key that was just revoked here, so that this process refuses it at once."""
        for digest in [digest for digest, (_, caller) in self._known.items() if caller.key == key]:
            del self._known[digest]

    async def _caller(self, key: str) -> Caller | None:
        digest = digest_of(key)
        if self._bootstrap is not None and hmac.compare_digest(digest, self._bootstrap):
            return _BOOTSTRAP_CALLER
        if not _FORM.fullmatch(key):
            return None
        known = self._known.get(digest)
        if known is not None and self._monotonic() < known[0]:
            return known[1]
        # One question at a time for each key; a caller who hangs up does not cancel it for the others.
        asking = self._asking.get(digest)
        if asking is None:
            asking = asyncio.create_task(self._ask(digest))
            self._asking[digest] = asking
            asking.add_done_callback(lambda _: self._asking.pop(digest, None))
        return await asyncio.shield(asking)

    async def _ask(self, digest: bytes) -> Caller | None:
        # Counted from before the question: what the answer says may be older than its arrival.
        until = self._monotonic() + REMEMBERED_S
        async with self._engine.begin() as connection:
            key = await keys.find_alive(connection, digest)
            if key is not None and self._noted.get(key.id, -_NOTED_EVERY_S) + _NOTED_EVERY_S <= until:
                await keys.note_use(connection, key.id)
                self._noted[key.id] = until
        self._known.pop(digest, None)
        if key is None:
            return None
        caller = Caller(
            key.id,
            frozenset(key.scopes),
            None if key.destination_ids is None else frozenset(key.destination_ids),
        )
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
            self._noted.clear()
        self._known[digest] = (until, caller)
        return caller


def _presented(headers: Headers) -> str | Problem:
    """Return the one key that the headers present, whatever its spelling, or what is wrong with them.

    Two of them are refused even when they agree: a proxy and this service could read different ones.
    """
    found = [(name, value) for name, value in headers if name in (b"authorization", b"x-api-key")]
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
    if not key or len(key) > _LONGEST_KEY:
        return Problem(ErrorCode.UNAUTHORIZED)
    return key


def _password(encoded: str) -> str:
    """Return the password of HTTP Basic, whatever the user name, or nothing when it cannot be read."""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
