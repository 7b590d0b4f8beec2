"""Valid access tokens for destinations, cached in memory and refreshed before they expire.

A destination is parked if Amazon refuses its sign-in, or does not know its endpoint.

Only the process that has a lease on the row of a sign-in refreshes its token. Other processes use the old
token until it expires. No transaction is open during a call of the token server.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

from app.amazon.tokens import InvalidClient, Revoked, SignIn, Tokens, Unavailable
from app.amazon.wire import usable_token
from app.crypto import CannotDecrypt
from app.delivery.worker import Worker
from app.domain.destination import Region
from app.domain.ids import DestinationId
from app.domain.outcomes import outcome
from app.domain.outcomes.settle import ENDPOINT_POLICY, EndpointPolicy, MissingRun, has_answered
from app.store import PipelineConnection
from app.store.destinations import token_leases
from app.store.due_work import DestinationQueue
from app.store.encryption import access_place, refresh_place
from app.store.errors import DRIVER_ERRORS

REFRESH_EARLY_S = 300.0  # or a fifth of the token's lifetime, whichever is shorter (interface §3)
_LEASE_S = 30.0  # longer than the token call's own deadline
_REREAD_S = 15.0  # how long a cached token is used before its row is read again
_EXPIRY_MARGIN_S = 5.0  # a token is not used in its last seconds: it could expire during the request


@dataclass(frozen=True, slots=True, repr=False)
class Access:
    """An access token of a destination."""

    token: str
    generation: int  # increases with each new sign-in
    forced: bool  # the token was refreshed because of a 401
    usable_until: float  # then its row is read again, or the token is refreshed


@dataclass(frozen=True, slots=True)
class NoToken:
    """No token is available now. Try again in `retry_in_s` seconds.

    With `is_parked`, the sign-in is not valid: the destination is parked until a user signs in again.
    """

    reason: str
    retry_in_s: float = 1.0
    is_parked: bool = False


_Write = Callable[[PipelineConnection, DestinationId], Awaitable[bool]]
"""Changes the sign-in of a destination. Returns False if the sign-in has changed meanwhile."""


@dataclass(eq=False, repr=False, kw_only=True)
class AccessTokens:
    """Returns the access tokens of destinations. Each worker process has one."""

    worker: Worker
    amazon: SignIn
    endpoint: EndpointPolicy = ENDPOINT_POLICY
    _cache: dict[DestinationId, Access] = field(init=False, default_factory=dict)
    # The 404s in a row of each destination. Each worker process counts on its own.
    _missing: dict[DestinationId, MissingRun] = field(init=False, default_factory=dict)
    # The writes that are not committed, for example because another session has locked the sign-in.
    _unwritten: list[tuple[DestinationId, _Write]] = field(init=False, default_factory=list)

    def cached(self, destination: DestinationId) -> Access | None:
        """Return the cached token, which is valid long enough for a request. Return None without one."""
        access = self._cache.get(destination)
        return access if access is not None and self.worker.monotonic() < access.usable_until else None

    def forget(self, destination: DestinationId) -> None:
        """Drop the cached token: Amazon refused it, or the destination has changed."""
        self._cache.pop(destination, None)

    async def replied(
        self, queue: DestinationQueue, access: Access, reply: outcome.Reply, now: float
    ) -> bool:
        """Change the sign-in after a reply. Return whether the destination is parked because of 404s.

        A 401 forces a refresh, and parks the destination if the token came from such a refresh. A 403 parks
        it. After a success, a token that was refreshed because of a 401 is known to be valid.
        """
        match reply:
            case outcome.Unauthorized():
                self.forget(queue.id)
                await self._write(queue.id, partial(_refuse, generation=access.generation))
            case outcome.Forbidden():
                await self._park_after_reply(queue.id, access, "forbidden")
            case outcome.PerItemReply() | outcome.Divisible() | outcome.Unexpected() if access.forced:
                self.forget(queue.id)
                await self._record(
                    queue.id, partial(token_leases.confirm_token, generation=access.generation)
                )
            case _:
                pass
        is_counted = queue.is_probe or queue.id in self._missing or isinstance(reply, outcome.Missing)
        return is_counted and await self._endpoint_waits(queue, access, reply, now)

    async def _endpoint_waits(
        self, queue: DestinationQueue, access: Access, reply: outcome.Reply, now: float
    ) -> bool:
        """Count a reply, also one to a probe. Return whether the destination is parked because of 404s."""
        if queue.is_probe:
            if has_answered(reply) and await self._record(queue.id, token_leases.endpoint_found):
                self.worker.telemetry.log("destination.endpoint_found", destination_id=queue.id)
            return isinstance(reply, outcome.Missing)
        run = self._missing.pop(queue.id, MissingRun(now)).after(reply, now)
        if not run.is_too_long(self.endpoint, now):
            if run.times:
                self._missing[queue.id] = run
            return False
        is_parked = await self._park_after_reply(
            queue.id, access, "endpoint_not_found", probe_in=self.endpoint.probe_every
        )
        if is_parked:
            self.worker.telemetry.log(
                "destination.endpoint_not_found", level=30, destination_id=queue.id, replies=run.times
            )
        return is_parked

    async def _record(self, destination: DestinationId, write: _Write) -> bool | None:
        """Change the sign-in, and return the result. After an error of the database, log it and return None.

        The caller goes on. The result of a request must be stored: otherwise events that Amazon accepted
        would be sent again.
        """
        try:
            async with self.worker.pool.acquire() as connection, connection.transaction():
                return await write(connection, destination)
        except DRIVER_ERRORS as error:
            self.worker.telemetry.failed("sign_in.write_failed", error, level=30, destination_id=destination)
            return None

    async def _write(self, destination: DestinationId, write: _Write) -> bool | None:
        """Write what no later reply shows again, and return the result.

        Returns None after an error of the database. `write_again` then repeats the write. Until it succeeds,
        `fetch` returns no token, so that no request gets the same reply again.
        """
        self._unwritten.append((destination, write))
        result = await self._record(destination, write)
        if result is not None:
            self._discard(destination, write)
        return result

    async def write_again(self) -> None:
        """Repeat the writes that failed."""
        for destination, write in tuple(self._unwritten):
            if await self._record(destination, write) is not None:
                self._discard(destination, write)

    def _discard(self, destination: DestinationId, write: _Write) -> None:
        """Forget a write that is committed, also if two calls of it were under way."""
        with suppress(ValueError):
            self._unwritten.remove((destination, write))

    async def _park_after_reply(
        self, destination: DestinationId, access: Access, reason: str, *, probe_in: float | None = None
    ) -> bool:
        """Park a destination, now or as soon as possible. Return False if its sign-in has changed."""
        self.forget(destination)
        park = partial(token_leases.park, generation=access.generation, reason=reason, probe_in=probe_in)
        return await self._write(destination, park) is not False

    async def fetch(
        self, destination: DestinationId, region: Region, *, on_refresh: Callable[[], None]
    ) -> Access | NoToken:
        """Read or refresh a token and cache it. Return it, or the reason why no token is available.

        `on_refresh` is called before a call of the token server, because that call may be slow.
        """
        if any(destination == unwritten for unwritten, _ in self._unwritten):
            return NoToken("not_written")
        async with self.worker.pool.acquire() as connection:
            row = await token_leases.read(connection, destination)
        if row is None:
            return NoToken("disconnected", is_parked=True)
        if row.left_s > _early(row.lifetime_s) and row.access_token is not None:
            stored = self._open_and_cache(destination, row)
            if isinstance(stored, Access):
                return stored
            # The stored access token cannot be decrypted, or no header can carry it: refresh it.
        refreshed = await self._refresh(destination, region, row, on_refresh)
        if (
            isinstance(refreshed, NoToken)
            and not refreshed.is_parked
            and row.access_token is not None
            and row.left_s > _EXPIRY_MARGIN_S
        ):
            # Another process refreshes the token or locks its row, or the token server is down. The old token
            # is still valid.
            return self._open_and_cache(destination, row)
        return refreshed

    async def _refresh(
        self,
        destination: DestinationId,
        region: Region,
        row: token_leases.SignInRow,
        on_refresh: Callable[[], None],
    ) -> Access | NoToken:
        acquire = partial(
            token_leases.acquire, generation=row.generation, owner=self.worker.name, seconds=_LEASE_S
        )
        if not await self._record(destination, acquire):
            return NoToken("refreshing", 0.2)
        try:
            refresh_token = self.worker.vault.open(
                row.refresh_token, place=refresh_place(destination)
            ).decode()
        except CannotDecrypt:
            return await self._release(destination, "unopenable", 30.0)
        on_refresh()
        reply = await self.amazon.refresh(region, refresh_token)
        self.worker.telemetry.log(
            "token.refreshed",
            destination_id=destination,
            generation=row.generation,
            result=type(reply).__name__,
        )
        match reply:
            case Tokens():
                return await self._store(destination, row, reply)
            case Revoked():
                self.forget(destination)
                async with self.worker.pool.acquire() as connection, connection.transaction():
                    parked = await token_leases.park(connection, destination, row.generation, "revoked")
                    await token_leases.release(connection, destination, self.worker.name, pause=0)
                return NoToken("revoked", is_parked=True) if parked else NoToken("reconnected", 0.05)
            case InvalidClient():
                return await self._release(destination, "invalid_client", 30.0)
            case Unavailable(why):
                return await self._release(destination, why, 2.0)
            case _:
                assert_never(reply)

    async def _store(
        self, destination: DestinationId, row: token_leases.SignInRow, tokens: Tokens
    ) -> Access | NoToken:
        access = self.worker.vault.seal(tokens.access_token.encode(), place=access_place(destination))
        refresh = tokens.refresh_token and self.worker.vault.seal(
            tokens.refresh_token.encode(), place=refresh_place(destination)
        )
        store = partial(
            token_leases.store_tokens,
            generation=row.generation,
            access_token=access,
            refresh_token=refresh or None,
            lifetime_s=tokens.lifetime_s,
        )
        # A server may accept a refresh token once: without the new one, the sign-in would end.
        is_stored = await self._write(destination, store)
        if is_stored is None:
            return NoToken("not_written")
        async with self.worker.pool.acquire() as connection:
            fresh = await token_leases.read(connection, destination)
        if not is_stored or fresh is None:
            return NoToken("reconnected", 0.05)
        return self._open_and_cache(destination, fresh)

    async def _release(self, destination: DestinationId, reason: str, pause: float) -> NoToken:
        """End the refresh lease without a new token. No process refreshes for `pause` seconds."""
        async with self.worker.pool.acquire() as connection:
            await token_leases.release(connection, destination, self.worker.name, pause=pause)
        return NoToken(reason, pause)

    def _open_and_cache(self, destination: DestinationId, row: token_leases.SignInRow) -> Access | NoToken:
        assert row.access_token is not None
        try:
            token = self.worker.vault.open(row.access_token, place=access_place(destination)).decode()
        except CannotDecrypt:
            return NoToken("unopenable", 30.0)
        if not usable_token(token):
            return NoToken("unusable_token", 30.0)
        usable_s = min(
            _REREAD_S,
            max(row.left_s - _early(row.lifetime_s), _REREAD_S / 3),
            # If less than twice the margin is left, the token is used for half of the time left.
            max(row.left_s - _EXPIRY_MARGIN_S, row.left_s / 2),
        )
        access = Access(token, row.generation, row.forced, self.worker.monotonic() + usable_s)
        self._cache[destination] = access
        return access


async def _refuse(connection: PipelineConnection, destination: DestinationId, *, generation: int) -> bool:
    """Record a 401 to the access token of a generation. Park the destination if the token was refreshed."""
    if not await token_leases.record_refusal(connection, destination, generation):
        return False
    return await token_leases.park(connection, destination, generation, "unauthorized")


def _early(lifetime_s: int) -> float:
    """Return how many seconds before its expiry a token is refreshed."""
    return min(REFRESH_EARLY_S, lifetime_s / 5)
