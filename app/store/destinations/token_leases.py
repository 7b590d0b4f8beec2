"""Refresh each access token only once over all processes, by a lease on the row of the sign-in."""

from dataclasses import dataclass
from typing import Final

from app.domain.ids import DestinationId
from app.store import PipelineConnection, execute, fetch_row, read_sql

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True, repr=False)
class SignInRow:
    """A sign-in with encrypted tokens. `generation` grows with every new access token.

    `left_s` is the remaining life of the access token in seconds, negative after its expiry. `forced` is true
    after a 401.
    """

    refresh_token: bytes
    access_token: bytes | None
    generation: int
    left_s: float
    lifetime_s: int
    forced: bool


async def read(connection: PipelineConnection, destination: DestinationId) -> SignInRow | None:
    """Return the sign-in of a destination, or None."""
    return await fetch_row(connection, SignInRow, SQL["read"], destination)


async def acquire(
    connection: PipelineConnection, destination: DestinationId, generation: int, owner: str, *, seconds: float
) -> bool:
    """Lease the refresh of this generation. Return False if another process has it or refreshed the token."""
    return await execute(connection, SQL["acquire"], destination, generation, owner, seconds) == 1


async def release(
    connection: PipelineConnection, destination: DestinationId, owner: str, *, pause: float
) -> None:
    """End a lease without new tokens. No process refreshes the token for `pause` seconds."""
    await connection.execute(SQL["release"], destination, owner, pause)


async def store_tokens(
    connection: PipelineConnection,
    destination: DestinationId,
    generation: int,
    *,
    access_token: bytes,
    refresh_token: bytes | None,
    lifetime_s: int,
) -> bool:
    """Store refreshed tokens as the next generation.

    Return False if later tokens are stored, of another process or of a new sign-in. The lease may have ended:
    otherwise tokens that a locked row delays would be lost.
    """
    arguments = (destination, generation, access_token, refresh_token, lifetime_s)
    return await execute(connection, SQL["store_tokens"], *arguments) == 1


async def record_refusal(connection: PipelineConnection, destination: DestinationId, generation: int) -> bool:
    """Record that Amazon answered 401 to the access token of a generation.

    The first 401 expires the token, so that the next use refreshes it. Return True if the 401 concerns the
    refreshed token: the sign-in is then invalid. A 401 to an older generation is ignored.

    It does not wait for the destination, which an action may have locked.
    """
    if await execute(connection, SQL["record_refusal"], destination, generation):
        return False
    return bool(await connection.fetchval(SQL["was_refreshed"], destination, generation))


async def confirm_token(connection: PipelineConnection, destination: DestinationId, generation: int) -> bool:
    """Record that Amazon accepted the access token of a generation, so that the next 401 is the first.

    Return False if the sign-in has changed meanwhile.
    """
    return await execute(connection, SQL["confirm_token"], destination, generation) == 1


async def park(
    connection: PipelineConnection,
    destination: DestinationId,
    generation: int,
    reason: str,
    *,
    probe_in: float | None = None,
) -> bool:
    """Send nothing for a destination until a user reconnects it, because its sign-in is broken for `reason`.

    With the reason `endpoint_not_found`, one request is sent as a probe in `probe_in` seconds. Returns False
    if a user has reconnected the destination since this generation. Call it in a transaction.
    """
    # A separate statement, because one that waits for the destination reads its sign-in as it was before.
    await connection.execute(SQL["lock_destination"], destination)
    return await execute(connection, SQL["park"], destination, generation, reason, probe_in) == 1


async def endpoint_found(connection: PipelineConnection, destination: DestinationId) -> bool:
    """Resume a destination that waited for its endpoint, after Amazon answered a probe.

    Return False if the destination was not waiting for a probe.
    """
    return await execute(connection, SQL["endpoint_found"], destination) == 1
