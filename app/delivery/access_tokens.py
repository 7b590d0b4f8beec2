"""A fresh access token for each destination: kept in memory, refreshed early, once over all processes.

The network is asked between two transactions, never within one; the lease row keeps others from asking
the same meanwhile, who go on with the old token while it lives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, assert_never

import asyncpg

from app.amazon.tokens import InvalidClient, Revoked, Tokens, Unavailable
from app.crypto import CannotDecrypt, Vault
from app.domain.destination import Region
from app.domain.ids import DestinationId
from app.store import token_leases
from app.store.token_leases import access_place, refresh_place
from app.telemetry import Telemetry

REFRESH_EARLY_S = 300.0  # or a fifth of the token's life, whichever is shorter (interface §3)
_LEASE_S = 30.0  # longer than the token call's own deadline
_REREAD_S = 15.0  # how long a kept token is believed without a look at its row
_LAST_MOMENT_S = 5.0  # a token this close to its end may die on the way


@dataclass(frozen=True, slots=True, repr=False)
class Access:
    """An access token and the generation of the sign-in that it belongs to."""

    token: str
    generation: int
    forced: bool


@dataclass(frozen=True, slots=True)
class SignInLost:
    """The sign-in is no good; the destination was parked and waits for a person."""

    reason: str


@dataclass(frozen=True, slots=True)
class TokenUnavailable:
    """No token can be had now; ask again in `seconds`."""

    why: str
    seconds: float


class Refresher(Protocol):
    """Amazon's token server, as far as a refresh needs it."""

    async def refresh(
        self, region: Region, refresh_token: str
    ) -> Tokens | Revoked | InvalidClient | Unavailable: ...


@dataclass(frozen=True, slots=True, repr=False)
class _CachedToken:
    access: Access
    refresh_at: float
    dies_at: float
    reread_at: float


class AccessTokens:
    """Hands out access tokens by destination. One per worker process."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        vault: Vault,
        amazon: Refresher,
        owner: str,
        monotonic: Callable[[], float],
        telemetry: Telemetry,
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._amazon = amazon
        self._owner = owner
        self._monotonic = monotonic
        self._telemetry = telemetry
        self._kept: dict[DestinationId, _CachedToken] = {}

    async def access(
        self,
        destination: DestinationId,
        region: Region,
        *,
        begins_refresh: Callable[[], None] = lambda: None,
    ) -> Access | SignInLost | TokenUnavailable:
        """Return a token that lives long enough to be used now.

        Calls `begins_refresh` before the token server is asked, which may take long.
        """
        return self.kept(destination) or await self._from_row(destination, region, begins_refresh)

    def kept(self, destination: DestinationId) -> Access | None:
        """Return the token that may be used without looking at anything; None where there is none."""
        kept = self._kept.get(destination)
        if kept is None or self._monotonic() >= min(kept.refresh_at, kept.dies_at, kept.reread_at):
            return None
        return kept.access

    def forget(self, destination: DestinationId) -> None:
        """Look at the row before the next use: the kept token was refused, or something changed."""
        self._kept.pop(destination, None)

    async def refused(self, destination: DestinationId, access: Access) -> bool:
        """Take note of a 401. Returns True when the destination had to be parked."""
        self.forget(destination)
        async with self._pool.acquire() as connection, connection.transaction():
            if not await token_leases.record_refusal(connection, destination, access.generation):
                return False
            return await token_leases.park(connection, destination, access.generation, "unauthorized")

    async def forbidden(self, destination: DestinationId, access: Access) -> bool:
        """Take note of a 403: the destination is parked."""
        self.forget(destination)
        async with self._pool.acquire() as connection, connection.transaction():
            return await token_leases.park(connection, destination, access.generation, "forbidden")

    async def endpoint_not_found(
        self, destination: DestinationId, access: Access, *, probe_in: float
    ) -> bool:
        """Park a destination whose requests are answered 404; returns True when it was."""
        self.forget(destination)
        async with self._pool.acquire() as connection:
            return await token_leases.park(
                connection, destination, access.generation, "endpoint_not_found", probe_in=probe_in
            )

    async def endpoint_found(self, destination: DestinationId) -> bool:
        """Let such a destination go on; returns True when it was waiting."""
        async with self._pool.acquire() as connection:
            return await token_leases.endpoint_found(connection, destination)

    async def worked(self, destination: DestinationId, access: Access) -> None:
        """Take note of a good answer, where the token came of a 401."""
        if access.forced:
            self.forget(destination)
            async with self._pool.acquire() as connection:
                await token_leases.confirm_token(connection, destination, access.generation)

    async def _from_row(
        self, destination: DestinationId, region: Region, begins_refresh: Callable[[], None]
    ) -> Access | SignInLost | TokenUnavailable:
        async with self._pool.acquire() as connection:
            row = await token_leases.read(connection, destination)
        if row is None:
            return SignInLost("disconnected")
        if row.left_s > _early(row.lifetime_s) and row.access_token is not None:
            kept = self._keep(destination, row)
            if isinstance(kept, Access):
                return kept
            # The stored access token is damaged: the refresh token gives another.
        refreshed = await self._refresh(destination, region, row, begins_refresh)
        if (
            isinstance(refreshed, TokenUnavailable)
            and row.access_token is not None
            and row.left_s > _LAST_MOMENT_S
        ):
            # Somebody else refreshes, or Amazon's token server is away: the old token still lives.
            return self._keep(destination, row)
        return refreshed

    async def _refresh(
        self,
        destination: DestinationId,
        region: Region,
        row: token_leases.SignInRow,
        begins_refresh: Callable[[], None],
    ) -> Access | SignInLost | TokenUnavailable:
        async with self._pool.acquire() as connection:
            if not await token_leases.acquire(
                connection, destination, row.generation, self._owner, seconds=_LEASE_S
            ):
                return TokenUnavailable("refreshing", 0.2)
        try:
            refresh_token = self._vault.open(row.refresh_token, place=refresh_place(destination)).decode()
        except CannotDecrypt:
            return await self._give_up(destination, "unopenable", 30.0)
        begins_refresh()
        answer = await self._amazon.refresh(region, refresh_token)
        self._telemetry.log(
            "token.refreshed",
            destination=destination,
            generation=row.generation,
            answer=type(answer).__name__,
        )
        match answer:
            case Tokens():
                return await self._store(destination, row, answer)
            case Revoked():
                return await self._park(destination, row.generation, "revoked")
            case InvalidClient():
                return await self._give_up(destination, "invalid_client", 30.0)
            case Unavailable(why):
                return await self._give_up(destination, why, 2.0)
            case _:
                assert_never(answer)

    async def _store(
        self, destination: DestinationId, row: token_leases.SignInRow, tokens: Tokens
    ) -> Access | TokenUnavailable:
        access = self._vault.seal(tokens.access_token.encode(), place=access_place(destination))
        refresh = tokens.refresh_token and self._vault.seal(
            tokens.refresh_token.encode(), place=refresh_place(destination)
        )
        async with self._pool.acquire() as connection:
            kept = await token_leases.store_tokens(
                connection,
                destination,
                row.generation,
                self._owner,
                access_token=access,
                refresh_token=refresh or None,
                lifetime_s=tokens.lifetime_s,
            )
            fresh = await token_leases.read(connection, destination)
        if not kept or fresh is None:
            return TokenUnavailable("reconnected", 0.05)
        return self._keep(destination, fresh)

    async def _park(
        self, destination: DestinationId, generation: int, reason: str
    ) -> SignInLost | TokenUnavailable:
        self.forget(destination)
        async with self._pool.acquire() as connection, connection.transaction():
            await token_leases.release(connection, destination, self._owner, pause=0)
            parked = await token_leases.park(connection, destination, generation, reason)
        return SignInLost(reason) if parked else TokenUnavailable("reconnected", 0.05)

    async def _give_up(self, destination: DestinationId, why: str, pause: float) -> TokenUnavailable:
        async with self._pool.acquire() as connection:
            await token_leases.release(connection, destination, self._owner, pause=pause)
        return TokenUnavailable(why, pause)

    def _keep(self, destination: DestinationId, row: token_leases.SignInRow) -> Access | TokenUnavailable:
        assert row.access_token is not None
        try:
            token = self._vault.open(row.access_token, place=access_place(destination)).decode()
        except CannotDecrypt:
            return TokenUnavailable("unopenable", 30.0)
        access, now = Access(token, row.generation, row.forced), self._monotonic()
        self._kept[destination] = _CachedToken(
            access,
            refresh_at=now + max(row.left_s - _early(row.lifetime_s), _REREAD_S / 3),
            # One that lives for moments only is used all the same: the lane comes back for it.
            dies_at=now + max(row.left_s - _LAST_MOMENT_S, row.left_s / 2),
            reread_at=now + _REREAD_S,
        )
        return access


def _early(lifetime_s: int) -> float:
    return min(REFRESH_EARLY_S, lifetime_s / 5)
