"""Store what Amazon reported about a destination's account, and what users confirmed about their set-up."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId
from app.store.rows import read_row
from app.store.statements import execute, fetch, fetch_one


@dataclass(frozen=True, slots=True)
class AmazonAccount:
    """The advertiser as Amazon reported it to the signed-in user. A field that Amazon left out is None."""

    name: str | None
    currency: str | None
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A user's statement that a preflight item (`what`) is set up at Amazon."""

    what: str
    by: str
    at: datetime


async def save(
    connection: AsyncConnection, destination: DestinationId, *, name: str | None, currency: str | None
) -> None:
    """Store the name and currency that Amazon reported, in place of earlier values."""
    await execute(
        connection,
        "INSERT INTO amazon_accounts (organisation_id, destination, name, currency) "
        "VALUES (acting_organisation(), :destination, :name, :currency) "
        "ON CONFLICT (destination) DO UPDATE SET name = excluded.name, "
        "currency = excluded.currency, seen_at = now()",
        destination=destination,
        name=name,
        currency=currency,
    )


async def find(connection: AsyncConnection, destination: str) -> AmazonAccount | None:
    """Return what Amazon last reported about a destination's account, or None before the first sign-in."""
    row = await fetch_one(
        connection,
        "SELECT name, currency, seen_at FROM amazon_accounts "
        "WHERE organisation_id = acting_organisation() AND destination = :destination",
        destination=destination,
    )
    return None if row is None else read_row(AmazonAccount, row)


async def confirm(connection: AsyncConnection, destination: DestinationId, what: str, by: str) -> bool:
    """Record that `by` confirmed the preflight item `what`. Return False if it was confirmed before."""
    inserted = await execute(
        connection,
        "INSERT INTO confirmations (organisation_id, destination, what, confirmed_by) "
        "VALUES (acting_organisation(), :destination, :what, :by) ON CONFLICT DO NOTHING",
        destination=destination,
        what=what,
        by=by,
    )
    return inserted == 1


async def withdraw(connection: AsyncConnection, destination: DestinationId, what: str) -> bool:
    """Delete the confirmation of a preflight item. Return False if there is none."""
    deleted = await execute(
        connection,
        "DELETE FROM confirmations WHERE organisation_id = acting_organisation() "
        "AND destination = :destination AND what = :what",
        destination=destination,
        what=what,
    )
    return deleted == 1


async def confirmations(connection: AsyncConnection, destination: str) -> dict[str, Confirmation]:
    """Return a destination's confirmations by preflight item."""
    rows = await fetch(
        connection,
        "SELECT what, confirmed_by AS by, confirmed_at AS at FROM confirmations "
        "WHERE organisation_id = acting_organisation() AND destination = :destination",
        destination=destination,
    )
    return {row["what"]: read_row(Confirmation, row) for row in rows}
