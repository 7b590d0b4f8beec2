"""One token refresh per destination and expiry over all processes: a lease on the sign-in's row."""

from dataclasses import dataclass

from app.domain.ids import DestinationId
from app.store import PipelineConnection
from app.store.rows import read_row


def refresh_place(destination: DestinationId) -> str:
    """Return the sealing context of a refresh token."""
    return f"sign_ins.refresh_token/{destination}"


def access_place(destination: DestinationId) -> str:
    """Return the sealing context of an access token."""
    return f"sign_ins.access_token/{destination}"


@dataclass(frozen=True, slots=True, repr=False)
class SignInRow:
    """A stored sign-in with sealed tokens. `left_s` may be negative; `forced` is true after a 401."""

    refresh_token: bytes
    access_token: bytes | None
    generation: int
    left_s: float
    lifetime_s: int
    forced: bool


async def read(connection: PipelineConnection, destination: DestinationId) -> SignInRow | None:
    """Return the sign-in of a destination, or None."""
    row = await connection.fetchrow(
        """
        SELECT refresh_token, access_token, generation, coalesce(lifetime_s, 0) AS lifetime_s,
        coalesce(extract(epoch FROM access_until - clock_timestamp()), -1)::float8 AS left_s,
        forced_at IS NOT NULL AS forced FROM sign_ins WHERE destination = $1
        """,
        destination,
    )
    return None if row is None else read_row(SignInRow, row)


async def acquire(
    connection: PipelineConnection, destination: DestinationId, generation: int, owner: str, *, seconds: float
) -> bool:
    """Lease the refresh of this generation. Return False if it is taken or the generation is old."""
    status = await connection.execute(
        """
        UPDATE sign_ins SET refresh_owner = $3,
          refresh_until = clock_timestamp() + make_interval(secs => $4::float8)
        WHERE destination = $1 AND generation = $2
        AND (refresh_until IS NULL OR refresh_until < clock_timestamp())
        """,
        destination,
        generation,
        owner,
        seconds,
    )
    return status == "UPDATE 1"


async def release(
    connection: PipelineConnection, destination: DestinationId, owner: str, *, pause: float
) -> None:
    """End a lease without new tokens; no process refreshes for `pause` seconds."""
    await connection.execute(
        """
        UPDATE sign_ins SET refresh_owner = NULL,
          refresh_until = clock_timestamp() + make_interval(secs => $3::float8)
        WHERE destination = $1 AND refresh_owner = $2
        """,
        destination,
        owner,
        pause,
    )


async def store_tokens(
    connection: PipelineConnection,
    destination: DestinationId,
    generation: int,
    owner: str,
    *,
    access_token: bytes,
    refresh_token: bytes | None,
    lifetime_s: int,
) -> bool:
    """Store refreshed tokens as the next generation. Return False if the lease or the generation was lost."""
    status = await connection.execute(
        """
        UPDATE sign_ins SET access_token = $4, refresh_token = coalesce($5, refresh_token), lifetime_s = $6,
        access_until = clock_timestamp() + make_interval(secs => $6::integer), issued_at = now(),
        generation = generation + 1, refresh_owner = NULL, refresh_until = NULL
        WHERE destination = $1 AND generation = $2 AND refresh_owner = $3
        """,
        destination,
        generation,
        owner,
        access_token,
        refresh_token,
        lifetime_s,
    )
    return status == "UPDATE 1"


async def record_refusal(connection: PipelineConnection, destination: DestinationId, generation: int) -> bool:
    """Record a 401 for a token.

    Return True if the token was already refreshed because of a 401. The first 401 expires the token, so that
    the next use refreshes it. A second 401, for the refreshed token, means that the sign-in is invalid. A 401
    for an older generation is ignored.
    """
    row = await connection.fetchrow(
        """
        -- The previous state, locked: whether the token was refreshed because of a 401 and is not expired.
        WITH before AS (SELECT destination, forced_at,
            forced_at IS NOT NULL AND access_until > clock_timestamp() AS is_refreshed
          FROM sign_ins WHERE destination = $1 AND generation = $2 FOR UPDATE)
        UPDATE sign_ins s SET forced_at = coalesce(s.forced_at, now()),
          access_until = CASE WHEN b.forced_at IS NULL THEN now() ELSE s.access_until END
        FROM before b WHERE s.destination = b.destination RETURNING b.is_refreshed
        """,
        destination,
        generation,
    )
    return row is not None and bool(row["is_refreshed"])


async def confirm_token(connection: PipelineConnection, destination: DestinationId, generation: int) -> None:
    """Record that a token refreshed because of a 401 works."""
    await connection.execute(
        "UPDATE sign_ins SET forced_at = NULL WHERE destination = $1 AND generation = $2",
        destination,
        generation,
    )


async def park(
    connection: PipelineConnection,
    destination: DestinationId,
    generation: int,
    reason: str,
    *,
    probe_in: float | None = None,
) -> bool:
    """Park a destination: its sign-in is broken for `reason`. Nothing is sent until it is reconnected.

    For the reason `endpoint_not_found`, one request is sent as a probe in `probe_in` seconds. Returns False
    when the user has reconnected meanwhile.
    """
    status = await connection.execute(
        """
        UPDATE destinations SET sign_in = 'broken', sign_in_reason = $3, version = version + 1,
          updated_at = now(), endpoint_probe_at = clock_timestamp() + make_interval(secs => $4::float8)
        WHERE id = $1 AND sign_in = 'valid'
        AND EXISTS (SELECT FROM sign_ins WHERE destination = $1 AND generation = $2)
        """,
        destination,
        generation,
        reason,
        probe_in,
    )
    return status == "UPDATE 1"


async def endpoint_found(connection: PipelineConnection, destination: DestinationId) -> bool:
    """Reactivate a destination whose endpoint was not found, after Amazon answered a probe."""
    status = await connection.execute(
        """
        UPDATE destinations SET sign_in = 'valid', sign_in_reason = NULL, endpoint_probe_at = NULL,
          version = version + 1, updated_at = now()
        WHERE id = $1 AND sign_in = 'broken' AND sign_in_reason = 'endpoint_not_found'
        """,
        destination,
    )
    return status == "UPDATE 1"
